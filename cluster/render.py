"""One job on one ComfyUI server, from files to a finished video. Knows nothing of Ray: call it from any worker.

    from render import Server, render

    done = render(job, Server("http://127.0.0.1:8188"))

`docs/scale.md` has it in a serverless handler and in a Kubernetes job. Whatever ends the process, the job may be given
to another worker: with the runs on shared storage it goes on after its last finished window.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from comfy_client import ComfyClient, ComfyError, Connection, Event, NoAnswerError
from job_file import SAMPLER, Graph, Job, JobError, Media, has_video_suffix, title_of

ANSWER_SECONDS = 60.0
"""A server that computes is slow to answer, but answers."""
SILENT_SECONDS = 900.0
"""A running job without any sign for so long hangs: loading 16 GB over a network or a step at 720p takes minutes."""
RECONNECT_SECONDS = 30.0
"""How long a server that has answered before may be out of reach."""
LOOK_SECONDS = 1.0
PIECE_BYTES = 2**20
SERVER_FAULT = 500
"""From this HTTP status on (502 Bad Gateway and the like) it is not what was asked that is wrong (RFC 9110, 15.6)."""
MACHINE_TROUBLE = re.compile(
    r"OutOfMemory|AcceleratorError|\bOSError|MemoryError|ConnectionError|TimeoutError|CUDA|HIP error|cuDNN|cuBLAS"
)
"""Errors of a node that may not come again elsewhere or later; any other comes again."""
GO_ON = "queue the same graph again"
"""The pack's own words where it makes sense to try again."""
WINDOW = re.compile(r"^Window (\d+) of (\d+)")
RESUMED = re.compile(r"^Resumed at window (\d+) of (\d+)(: all done)?")


class TroubleError(RuntimeError):
    """This time it went wrong, another time it may not; the message is a sentence."""


class ServerLostError(TroubleError):
    """The server is gone or hangs."""


class StoppedError(Exception):
    """The caller wanted it to stop."""


@dataclass(frozen=True)
class Server:
    """A ComfyUI.

    Attributes:
        url: such as `http://127.0.0.1:8188`.
        input_folder: its input folder, where the caller may write to it: media are linked or copied there; None uploads
            them through the server.
        is_running: whether it makes sense to wait for its answer.
    """

    url: str
    input_folder: Path | None = None
    is_running: Callable[[], bool] = lambda: True


@dataclass
class Windows:
    """Windows of a job, counted over all of its samplers."""

    taken_over: dict[str, int] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)

    def hear(self, node: str, text: str) -> None:
        """Learn from a line of text on a sampler."""
        if found := RESUMED.match(text):
            number, total = int(found[1]), int(found[2])
            self.taken_over[node] = total if found[3] else number - 1
            self.begun[node], self.total[node] = self.taken_over[node], total
        elif found := WINDOW.match(text):
            self.begun[node], self.total[node] = int(found[1]), int(found[2])

    def as_counts(self) -> dict[str, int]:
        """How many were taken over from disk, begun (with those) and asked for."""
        return {name: sum(getattr(self, name).values()) for name in ("taken_over", "begun", "total")}


@dataclass(frozen=True)
class Rendered:
    """A finished job.

    Attributes:
        file: the video; None for one of several parts.
        facts: what the save node says of it, and its size in bytes.
        windows: see `Windows.as_counts`.
        seconds: that it took.
        left_behind: files in the server's own output folder, where the caller may delete them.
    """

    file: Path | None
    facts: dict[str, Any]
    windows: dict[str, int]
    seconds: float
    left_behind: tuple[Path, ...] = ()


def render(
    job: Job,
    server: Server,
    *,
    report: Callable[[Windows], None] = lambda windows: None,
    is_stopped: Callable[[], bool] = lambda: False,
    silent_seconds: float = SILENT_SECONDS,
) -> Rendered:
    """Bring the media to the server, queue the graph, follow it, and put the video where it belongs, in one step.

    Args:
        job: what to make.
        server: where.
        report: is told of every change of the windows.
        is_stopped: looked at every second; when it holds, the server is told to stop, too.
        silent_seconds: a running job that gives no sign for so long is taken for hung.

    Raises:
        JobError: it cannot be done, here or anywhere.
        TroubleError: it may be tried again.
        StoppedError: as `is_stopped` wanted.
    """
    start = time.monotonic()
    client = ComfyClient(server.url, min(ANSWER_SECONDS, silent_seconds))
    windows = Windows()
    try:
        if job.part:
            _check_part(client)
        graph = _with_media(job, server, client)
        prompt_id = str(uuid.uuid4())
        entry = _Followed(client, server, graph, prompt_id, windows, report).until_over(is_stopped, silent_seconds)
        _raise_error_of(entry)
        saved = _saved(entry)
        file = _take(saved, job.target, client) if job.target else None
    except ComfyError as error:
        raise trouble(server.url, error) from error
    facts = {"bytes": file.stat().st_size, "saved": _said(entry)} if file else {}
    left = tuple(Path(one["fullpath"]) for one in saved if server.input_folder and one.get("fullpath"))
    return Rendered(file, facts, windows.as_counts(), time.monotonic() - start, left)


class _Followed:
    """A graph in the queue of a server."""

    def __init__(
        self,
        client: ComfyClient,
        server: Server,
        graph: Graph,
        prompt_id: str,
        windows: Windows,
        report: Callable[[Windows], None],
    ) -> None:
        self._client, self._server, self._graph, self._id = client, server, graph, prompt_id
        self._windows, self._report = windows, report
        self._samplers = {name for name, node in graph.items() if node["class_type"] == SAMPLER}
        self._deadline = 0.0  # a server that never answered is not waited for

    def until_over(self, is_stopped: Callable[[], bool], silent_seconds: float) -> dict[str, Any]:
        """The job's entry in the history; a connection that breaks is made again, while the server lives."""
        is_queued = False
        while True:
            try:
                with self._client.connect() as connection:
                    self._deadline = self._deadline or math.inf
                    if not is_queued:
                        is_queued = True  # the id is ours: where only the answer is lost, the job is there
                        self._submit()
                    return self._listen(connection, is_stopped, silent_seconds)
            except ComfyError as error:
                if not (isinstance(error, NoAnswerError) or _is_broken(error)):
                    raise
                now = time.monotonic()
                self._deadline = min(self._deadline, now + min(RECONNECT_SECONDS, silent_seconds))
                if not self._server.is_running() or now > self._deadline:
                    raise
                time.sleep(LOOK_SECONDS)

    def _submit(self) -> None:
        try:
            self._client.post("/prompt", {"prompt": self._graph, "prompt_id": self._id, "client_id": self._client.id})
        except NoAnswerError:
            raise
        except ComfyError as error:
            if _is_broken(error):
                raise trouble(self._client.url, error) from error
            raise JobError(f"The server refuses the graph: {error}") from error

    def _listen(self, connection: Connection, is_stopped: Callable[[], bool], silent_seconds: float) -> dict[str, Any]:
        heard = time.monotonic()
        while (state := self._state()) != "over":
            if state == "unknown":
                raise ServerLostError(f"The ComfyUI at {self._client.url} has forgotten the job: it was restarted.")
            self._deadline = math.inf
            while True:
                if is_stopped():
                    self._cancel()
                    raise StoppedError
                event = connection.next_event(LOOK_SECONDS)
                if event is not None and self._hear(event):
                    break  # the queue has changed: it may be over
                if time.monotonic() - max(heard, connection.heard) > silent_seconds:
                    if self._hangs():
                        raise ServerLostError(
                            f"The ComfyUI at {self._client.url} has given no sign for {silent_seconds:g} s."
                        )
                    heard = time.monotonic()
        return self._client.history(self._id)

    def _hear(self, event: Event) -> bool:
        """Report a sampler's window; whether the job may be over."""
        if event.kind == "progress_text" and event.data["node"] in self._samplers:
            before = self._windows.as_counts()
            self._windows.hear(event.data["node"], event.data["text"])
            if self._windows.as_counts() != before:
                self._report(self._windows)
        return event.kind in ("status", "execution_success", "execution_error", "execution_interrupted")

    def _state(self) -> str:
        """`waiting`, `running`, `over` or `unknown`."""
        # In this order: a job that ends in between is found in the history.
        queue = self._client.get("/queue")
        for name, items in (("running", queue["queue_running"]), ("waiting", queue["queue_pending"])):
            if any(item[1] == self._id for item in items):
                return name
        return "over" if self._id in self._client.get(f"/history/{self._id}") else "unknown"

    def _hangs(self) -> bool:
        """Whether a silent server works on the job, or does not even answer."""
        try:
            return self._state() == "running"
        except NoAnswerError:
            return True

    def _cancel(self) -> None:
        with contextlib.suppress(ComfyError):
            self._client.stop(self._id)


def _is_broken(error: ComfyError) -> bool:
    """Whether the server, or a proxy before it, has failed: it does not refuse what was asked."""
    return isinstance(error.__cause__, HTTPError) and error.__cause__.code >= SERVER_FAULT


def trouble(url: str, error: ComfyError) -> TroubleError:
    """What an error of the client means, in a sentence."""
    if isinstance(error, NoAnswerError):
        return ServerLostError(str(error))
    said = error.__cause__ if _is_broken(error) else error  # a proxy's page is no sentence
    return TroubleError(f"The ComfyUI at {url} answers with an error: {said}")


def _check_part(client: ComfyClient) -> None:
    """Refuse a server whose sampler would make the whole video, as it knows no parts."""
    described = client.get(f"/object_info/{SAMPLER}").get(SAMPLER, {})
    if "part" not in {name for inputs in described.get("input", {}).values() for name in inputs}:
        raise JobError(
            f"The InfiniteTalk Sampler at {client.url} has no input `part`, so a video cannot be split: update the "
            "pack there, or leave out --split."
        )


def _with_media(job: Job, server: Server, client: ComfyClient) -> Graph:
    """The graph with the names that its files have on the server."""
    graph = {name: {**node, "inputs": dict(node["inputs"])} for name, node in job.graph.items()}
    for media in job.media:
        if not media.file.is_file():
            raise JobError(
                f"{title_of(graph, media.node)} shall read {media.file}, which is not a file: mend the path."
            )
        graph[media.node]["inputs"][media.input_name] = _bring(media, server, client)
    return graph


def _bring(media: Media, server: Server, client: ComfyClient) -> str:
    """Put a file into the server's input folder, under a name that tells its content."""
    try:
        name = f"{_digest(media.file)}{media.file.suffix.lower()}"
        if server.input_folder is None:
            _check_size(media.file, client)
            return client.upload(media.file, name)
        target = server.input_folder / name
        if not target.exists():
            partial = target.with_name(f".{uuid.uuid4().hex}.part")
            try:
                os.link(media.file.resolve(), partial)  # of a link itself, Linux would make another one
            except OSError:
                shutil.copyfile(media.file, partial)
            partial.replace(target)
    except OSError as error:
        raise TroubleError(f"{media.file} cannot be brought to the server ({error}).") from error
    return name


def _check_size(file: Path, client: ComfyClient) -> None:
    """Refuse a file that is too large: the server would break the connection off in the middle of it."""
    limit = None
    with contextlib.suppress(ComfyError):  # one that does not tell
        limit = client.get("/features").get("max_upload_size")
    size = file.stat().st_size
    if limit and size > limit:
        raise JobError(
            f"{file} has {size / 2**20:.0f} MB, and the ComfyUI at {client.url} takes {limit / 2**20:.0f}: start it "
            f"with --max-upload-size {size // 2**20 + 1}."
        )


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()[:16]


def _raise_error_of(entry: dict[str, Any]) -> None:
    """The error of a job that is over, if it has one."""
    for kind, data in entry.get("status", {}).get("messages", []):
        if kind == "execution_interrupted":
            raise TroubleError("The job was interrupted on the server.")
        if kind != "execution_error":
            continue
        error_type, message = str(data["exception_type"]), str(data["exception_message"]).strip()
        sentence = f"{data['node_type']}: {message}"
        if error_type.endswith("UserError"):
            raise TroubleError(sentence) if GO_ON in message else JobError(sentence)
        sentence = f"{data['node_type']}: {error_type.rpartition('.')[2]}: {message}"
        raise TroubleError(sentence) if MACHINE_TROUBLE.search(f"{error_type} {message}") else JobError(sentence)


def _saved(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """What the save nodes report of their videos."""
    outputs = entry.get("outputs", {}).values()
    return [
        file for output in outputs for file in output.get("gifs") or _moving(output) if file.get("type") == "output"
    ]


def _said(entry: dict[str, Any]) -> list[str]:
    """What the save nodes say of their videos."""
    outputs = entry.get("outputs", {}).values()
    return [str(text) for output in outputs if output.get("gifs") for text in output.get("text") or ()]


def _take(saved: list[dict[str, Any]], target: Path, client: ComfyClient) -> Path:
    """The video where the job wants it, under its final name only when it is whole."""
    if len(saved) != 1:
        raise JobError(f"The graph has saved {len(saved)} videos, and one is needed: give it one save node.")
    return _fetch(client, saved[0], target)


def _moving(output: dict[str, Any]) -> list[dict[str, Any]]:
    """What core's Save Video reports."""
    return output.get("images", []) if output.get("animated") in ([True], (True,)) else []


def _fetch(client: ComfyClient, saved: dict[str, Any], target: Path) -> Path:
    suffix = Path(saved["filename"]).suffix
    if not has_video_suffix(target):
        target = target.with_name(target.name + suffix)
    elif target.suffix.lower() != suffix.lower():
        raise JobError(f"The graph saves {suffix} files, and the job's output is {target.name}: change one of the two.")
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        client.view(saved, partial)
        partial.replace(target)
    except OSError as error:
        raise TroubleError(f"The video cannot be written to {target} ({error.strerror or error}).") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return target
