"""The jobs: one JSON object a line, each with a graph in the API format and what is different in this job.

    {"id": "anna-1", "picture": "anna.png", "sound": "anna.wav", "changes": {"Prompt.text": "She smiles."}}

| key | |
|---|---|
| `id` | a name of its own for each job; what is done under it is not done again |
| `workflow` | a file, or the graph itself; else the one that all jobs share |
| `picture`, `sound` | files, for the graph's only picture and sound loader |
| `changes` | `{"NODE.INPUT": value}`, NODE by title or id; a value `{"file": "..."}` is a file for the server |
| `output` | name of the video in the folder of the results; else the id |

Paths are relative to the file of the jobs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

Graph = dict[str, dict[str, Any]]

KEYS = {"id", "workflow", "picture", "sound", "changes", "output"}
PICTURE_LOADERS = {"LoadImage": "image"}
SOUND_LOADERS = {"InfiniteTalkLoadAudio": "audio", "LoadAudio": "audio"}
SAMPLER = "InfiniteTalkSampler"
SAVER = "SaveVideoWithAudio"
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp")
"""What else stands behind a dot belongs to the name."""
LONGEST_NAME_BYTES = 230
"""File systems take 255; the suffix, and what marks a file in the making, need some."""
NOT_IN_NAMES = re.compile(r'[<>:"|?*\\\x00-\x1f\ud800-\udfff]|[. ]$|^\s*$')


class JobError(ValueError):
    """A job that cannot be done; the message is one sentence."""


@dataclass(frozen=True)
class Media:
    """A file that a node of the graph reads."""

    node: str
    input_name: str
    file: Path


@dataclass(frozen=True)
class Job:
    """What a worker is to make.

    Attributes:
        id: the job's name.
        graph: in the API format, with all changes but the media.
        media: files that the graph reads; the worker brings them to its server.
        target: where the video goes, its suffix left to the graph where it has none of a video; None keeps no video.
        part: `k/n`, where it is one of n shares of another job, else empty.
    """

    id: str
    graph: Graph
    media: tuple[Media, ...] = ()
    target: Path | None = None
    part: str = ""
    digest: str = field(init=False, default="")

    def __post_init__(self) -> None:
        content = [self.graph, [[one.node, one.input_name, str(one.file)] for one in self.media], str(self.target)]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        object.__setattr__(self, "digest", digest[:16])


@dataclass(frozen=True)
class Fault:
    """A line that is no job: its number, its id if it has one, and the sentence."""

    line: int
    id: str | None
    sentence: str


def read_jobs(file: Path, output: Path, workflow: Path | None) -> tuple[list[Job], list[Fault]]:
    """All jobs of a file, and what is wrong with the other lines.

    Args:
        file: JSON lines; empty ones are passed over.
        output: folder of the videos.
        workflow: for the jobs that name none.

    Raises:
        JobError: the file itself cannot be read.
    """
    try:
        lines = file.read_bytes().decode("utf-8-sig").split("\n")  # a text may hold what else breaks lines
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"The jobs {file} cannot be read ({error}): give the path of a UTF-8 text file.") from error
    jobs: list[Job] = []
    faults: list[Fault] = []
    seen: dict[str, int] = {}  # the line of each id and each target
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        identity = None
        try:
            fields = _fields(line)
            identity = fields["id"]
            job = _job(fields, file.absolute().parent, output.absolute(), workflow)
            names = [("output", f"output {name.casefold()}") for name in _possible_names(job.target)]
            for what, name in (("id", f"id {job.id}"), *names):
                if seen.setdefault(name, number) != number:
                    raise JobError(f"its {what} is that of line {seen[name]}: give each job one of its own.")
            jobs.append(job)
        except (JobError, RecursionError) as error:
            told = error if isinstance(error, JobError) else "it is nested too deeply for any graph: mend its workflow."
            faults.append(Fault(number, identity, f"Line {number} of {file.name}: {told}"))
    return jobs, faults


def parts_of(job: Job, count: int) -> list[Job]:
    """The shares of a job for `count` workers: the same graph with the sampler's `part`; none if it has no sampler."""
    samplers = [name for name, node in job.graph.items() if node["class_type"] == SAMPLER]
    if count < 2 or not samplers:
        return []
    parts = []
    for share in [f"{number}/{count}" for number in range(1, count + 1)]:
        graph = copy.deepcopy(job.graph)
        for sampler in samplers:
            graph[sampler]["inputs"]["part"] = share
        parts.append(replace(job, id=f"{job.id} part {share}", graph=graph, target=None, part=share))
    return parts


def _fields(line: str) -> dict[str, Any]:
    """The object of a line, with an id."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise JobError(f"it is not JSON ({error}): write one object on the line.") from error
    if not isinstance(fields, dict):
        raise JobError('it is no JSON object: write {"id": ..., "picture": ..., "sound": ...}.')
    identity = fields.get("id")
    if not isinstance(identity, str) or not identity.strip():
        raise JobError(f"its id is {identity!r}: give it a text of its own as `id`.")
    return fields


def _job(fields: dict[str, Any], folder: Path, output: Path, workflow: Path | None) -> Job:
    if unknown := fields.keys() - KEYS:
        raise JobError(f"it has {', '.join(sorted(unknown))}, which no job has: choose from {', '.join(sorted(KEYS))}.")
    graph = _graph(fields.get("workflow", workflow), folder)
    media: list[Media] = []
    for key, loaders in (("picture", PICTURE_LOADERS), ("sound", SOUND_LOADERS)):
        if key in fields:
            media.append(_loader_media(graph, key, loaders, _file(fields[key], key, folder)))
    changes = fields.get("changes", {})
    if not isinstance(changes, dict):
        raise JobError('its changes are no object: write {"NODE.INPUT": value}.')
    for place, value in changes.items():
        node, input_name = find_input(graph, place)
        if isinstance(value, dict) and value.keys() == {"file"}:
            media.append(Media(node, input_name, _file(value["file"], place, folder)))
        elif isinstance(value, dict | list) or value is None:
            raise JobError(f'{place} is {json.dumps(value)}: give a text, a number, true, false or {{"file": "..."}}.')
        else:
            graph[node]["inputs"][input_name] = value
    name = _output_name(fields)
    _check_format(graph, name)
    return Job(fields["id"], graph, tuple(media), output / name)


def has_video_suffix(name: PurePath) -> bool:
    """Whether a name says what kind of video it is."""
    return name.suffix.lower() in VIDEO_SUFFIXES


def _possible_names(target: Path | None) -> list[str]:
    """The files that a job may make; which one, its graph decides."""
    if target is None or has_video_suffix(target):
        return [str(target)]
    return [f"{target}{suffix}" for suffix in VIDEO_SUFFIXES]


def _check_format(graph: Graph, name: PurePath) -> None:
    """Refuse a name of another kind of video than the graph saves, as far as that is known by now."""
    formats = [node["inputs"].get("format") for node in graph.values() if node["class_type"] == SAVER]
    if len(formats) == 1 and isinstance(formats[0], str) and has_video_suffix(name):
        kind = formats[0].partition(" ")[0]
        if name.suffix.lower() != f".{kind}":
            raise JobError(f"its output is {name}, and its graph saves {kind} files: change one of the two.")


def _output_name(fields: dict[str, Any]) -> PurePosixPath:
    """The name of the video, which stays inside of its folder on every system."""
    given = fields.get("output", fields["id"])
    if not isinstance(given, str):
        raise JobError(f"its output is {given!r}: give the name of a file.")
    parts = PurePosixPath(given).parts
    outside = given.startswith("/") or given.endswith("/")
    if not parts or outside or any(part in ("..", ".") or NOT_IN_NAMES.search(part) for part in parts):
        raise JobError(f"{given!r} cannot be the name of a file in the folder of the results: give another `output`.")
    if any(len(part.encode()) > LONGEST_NAME_BYTES for part in parts):
        raise JobError(
            f"its output {given[:20]}… has a name of more than {LONGEST_NAME_BYTES} bytes: shorten `output`."
        )
    return PurePosixPath(given)


def _graph(workflow: object, folder: Path) -> Graph:
    """A copy of a job's graph."""
    if workflow is None:
        raise JobError("it has no workflow: name a file in the API format as `workflow`, or one for all by --workflow.")
    graph, name = workflow, "its workflow"
    if isinstance(workflow, str | Path):
        name = f"the workflow {workflow}"
        try:
            graph = json.loads((folder / workflow).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise JobError(f"{name} cannot be read ({error}): give a graph in the API format.") from error
    nodes = list(graph.values()) if isinstance(graph, dict) else []
    if not nodes or not all(isinstance(node, dict) and isinstance(node.get("inputs"), dict) for node in nodes):
        raise JobError(f"{name} is no graph in the API format: export it from the editor with File, Export (API).")
    if not all(isinstance(node.get("class_type"), str) for node in nodes):
        raise JobError(f"{name} has a node without class_type: export it from the editor with File, Export (API).")
    return copy.deepcopy(graph)


def _file(value: object, what: str, folder: Path) -> Path:
    if not isinstance(value, str) or not value:
        raise JobError(f"its {what} is {value!r}: give the path of a file.")
    return folder / value


def _loader_media(graph: Graph, what: str, loaders: dict[str, str], file: Path) -> Media:
    found = [(name, node["class_type"]) for name, node in graph.items() if node["class_type"] in loaders]
    if len(found) != 1:
        raise JobError(
            f"its {what} has {len(found)} places in the graph ({', '.join(loaders)}): name the node in `changes` as "
            '{"NODE.INPUT": {"file": "..."}}.'
        )
    node, kind = found[0]
    return Media(node, loaders[kind], file)


def find_input(graph: Graph, place: str) -> tuple[str, str]:
    """Id of the node and name of the input that `NODE.INPUT` means, NODE being a title or an id.

    Raises:
        JobError: there is no such node or input, or more than one.
    """
    name, _, input_name = place.rpartition(".")
    found = [node_id for node_id in graph if name in (node_id, title_of(graph, node_id))]
    if len(found) != 1:
        titles = ", ".join(dict.fromkeys(title_of(graph, node_id) for node_id in graph))
        raise JobError(f"the graph has {len(found)} nodes {name!r} for {place!r}: one is needed, of {titles}.")
    inputs = graph[found[0]]["inputs"]
    if input_name not in inputs:
        raise JobError(f"the node {name!r} has no input {input_name!r}: choose from {', '.join(inputs)}.")
    if isinstance(inputs[input_name], list):
        raise JobError(f"{place!r} is fed by another node: change that one.")
    return found[0], input_name


def title_of(graph: Graph, node_id: str) -> str:
    """What the graph calls a node."""
    node = graph[node_id]
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) and title else str(node["class_type"])
