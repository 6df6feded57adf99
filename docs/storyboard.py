"""A talking video in scenes from a list: when, which picture, which prompt.

Copy this file and `api_client.py` beside it.

    python storyboard.py talking_picture.json scenes.csv talk.mp4 --server http://127.0.0.1:8188 \
        --file Speech.audio=speech.wav --set "InfiniteTalk Sampler.seed=7"

`scenes.csv` (UTF-8) has a line for each scene, in the order of time, the first one at 0. An empty picture or prompt is
the one before; the fourth column may be `continue` in place of a cut:

    time,picture,prompt
    0,wide.png,A woman talks to the camera in a bright studio.
    0:12.5,close.png,A close-up of a woman talking.
    0:31,wide.png,
    0:40,,The woman laughs and goes on talking.,continue
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import api_client
from api_client import ComfyError, Graph

TRANSITIONS = ("cut", "continue")


@dataclass(frozen=True)
class Line:
    """One line of the list."""

    seconds: float
    picture: str
    prompt: str
    transition: str = "cut"


def load_list(file: Path) -> list[Line]:
    """Read the list in a file.

    Raises:
        ComfyError: it is no UTF-8 or no CSV, or as `read_list`.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            return read_list(opened)
    except UnicodeDecodeError as error:
        raise ComfyError(f"{file} is not in UTF-8: save it with that encoding, as `CSV UTF-8`.") from error
    except csv.Error as error:
        raise ComfyError(f"{file} is no CSV ({error}): write time,picture,prompt on each line.") from error


def read_list(text: Iterable[str]) -> list[Line]:
    """Read the list.

    Raises:
        ComfyError: a line that cannot be read, or no first scene at 0 with a picture.
    """
    rows = [row for row in csv.reader(text, skipinitialspace=True) if any(cell.strip() for cell in row)]
    if rows and rows[0][0].strip().lower() == "time":
        rows = rows[1:]
    lines = [_line(row) for row in rows]
    if not lines or lines[0].seconds != 0 or not lines[0].picture:
        raise ComfyError("The list needs a first line at 0 with a picture, for example: 0,face.png,A person talks.")
    return lines


def _line(row: Sequence[str]) -> Line:
    time, picture, prompt, transition, *more = (*(cell.strip() for cell in row), "", "", "")
    if any(more):
        raise ComfyError(f"The line at {time} has more than four columns: put a prompt with commas in double quotes.")
    try:
        seconds = sum(float(part) * 60**power for power, part in enumerate(reversed(time.split(":"))))
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ComfyError(f"'{time}' is no time: write seconds or minutes:seconds, such as 75.5 or 1:15.5.")
    if (transition or "cut") not in TRANSITIONS:
        raise ComfyError(
            f"'{transition}' is no transition: write cut or continue, or leave it out (a prompt with commas stands in "
            "double quotes)."
        )
    return Line(seconds, picture, prompt, transition or "cut")


def put_scenes(graph: Graph, lines: Sequence[Line]) -> None:
    """Make the scenes of a list, and no others, in a graph with one InfiniteTalk Sampler.

    Its pictures are on the server.
    """
    sampler = graph[_only(graph, "InfiniteTalkSampler")]["inputs"]
    sampler.pop("scenes", None)
    _inputs_of_source(graph, sampler, "image", "image")["image"] = lines[0].picture
    if lines[0].prompt:
        _inputs_of_source(graph, sampler, "positive", "text")["text"] = lines[0].prompt
    pictures = {lines[0].picture: sampler["image"]}
    for number, line in enumerate(lines[1:], start=2):
        scene = {"start": line.seconds, "snap_to_pause": True, "transition": line.transition}
        if line.picture:
            if line.picture not in pictures:  # each is loaded once, however often it is seen
                pictures[line.picture] = _add(graph, "LoadImage", f"Picture {number}", image=line.picture)
            scene["image"] = pictures[line.picture]
        if line.prompt:
            words = {"clip": _inputs_of_source(graph, sampler, "positive", "clip")["clip"], "text": line.prompt}
            scene["positive"] = _add(graph, "CLIPTextEncode", f"Prompt {number}", **words)
        if "scenes" in sampler:
            scene["scenes"] = sampler["scenes"]
        sampler["scenes"] = _add(graph, "InfiniteTalkScene", f"Scene {number}", **scene)


def _only(graph: Graph, kind: str) -> str:
    found = [name for name, node in graph.items() if node["class_type"] == kind]
    if len(found) != 1:
        raise ComfyError(f"The graph has {len(found)} nodes {kind}, but one is needed.")
    return found[0]


def _inputs_of_source(graph: Graph, sampler: dict[str, object], name: str, needed: str) -> dict[str, object]:
    """Inputs of the node that feeds an input of the sampler, and has an input `needed` itself."""
    link = sampler.get(name)
    inputs = graph[link[0]]["inputs"] if isinstance(link, list) else {}
    if needed not in inputs:
        raise ComfyError(f"The list needs a node with an input '{needed}' before the sampler's '{name}': connect one.")
    return inputs


def _add(graph: Graph, kind: str, title: str, **inputs: object) -> list[object]:
    """Add a node; returns the link to its first output."""
    name = f"storyboard {title}"
    graph[name] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
    return [name, 0]


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="a graph in the API format, such as talking_picture.json")
    parser.add_argument("list", type=Path, help="when, which picture, which prompt")
    parser.add_argument("target", type=Path, help="where the video goes")
    api_client.add_options(parser)
    options = parser.parse_args()

    def work() -> None:
        graph = api_client.load_graph(options.graph)
        lines = load_list(options.list)
        server = api_client.prepare(graph, options)
        names = {line.picture for line in lines if line.picture}
        there = {name: server.upload(options.list.parent / name) for name in sorted(names)}
        put_scenes(graph, [replace(line, picture=there.get(line.picture, "")) for line in lines])
        api_client.make_video(server, graph, options.target)

    return api_client.exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
