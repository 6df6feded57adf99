"""A talking video from a ComfyUI server: upload, queue, follow, download, over a network that may fail.

Copy this file: it needs Python 3.10 or newer and `pip install websocket-client`, and nothing else of this project.

    python api_client.py talking_picture.json talk.mp4 --server http://127.0.0.1:8188 \
        --file Picture.image=face.png --file Speech.audio=speech.wav --set "Prompt.text=A woman talks."

The first argument is a graph in the API format. `--file` uploads a file and `--set` gives a value; both name a node by
its title or id, and its input.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import os
import re
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import websocket

Graph = dict[str, dict[str, Any]]
T = TypeVar("T")

PATIENCE_SECONDS = 600
"""How long a server that has answered before may be out of reach."""
RETRY_SECONDS = 2
ANSWER_SECONDS = 120
"""How long a request may take that the server has received; it is slow to answer while it computes."""
SILENCE_SECONDS = 30
"""After this time without a message the connection may be dead without having been closed: a new one is made."""
GATEWAY_ERRORS = (502, 503, 504, 520, 521, 522, 523, 524)
"""What a proxy says while the server behind it is not there; the last ones are Cloudflare's."""
PIECE_BYTES = 8 * 2**20
TEXT_EVENT = 3
"""Type of the binary websocket messages that hold a node's line of text."""


class ComfyError(RuntimeError):
    """It cannot go on; the message is a sentence for a person."""


class ComfyUI:
    """One ComfyUI server.

    Args:
        url: such as `http://127.0.0.1:8188`.
        report: is given a line of text whenever something happens.

    Raises:
        ComfyError: nothing answers at this address.
    """

    def __init__(self, url: str, report: Callable[[str], None] = print) -> None:
        self.url = url.rstrip("/")
        self.report = report
        self._client_id = uuid.uuid4().hex
        self._has_answered = False
        here = re.match(r"https?://(localhost|127\.0\.0\.1)(:|/|$)", url)
        direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        if here and here[1] not in direct:  # no proxy leads back to this machine
            os.environ["no_proxy"] = f"{direct},{here[1]}".lstrip(",")
        self.url = self._patiently(self._address)

    def upload(self, file: Path) -> str:
        """Send a picture, sound or video to the server's input folder; returns the name that it has there."""
        self._check_size(file)
        boundary = uuid.uuid4().hex
        name = re.sub(r'["\\\r\n]', "_", file.name)
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + file.stat().st_size + len(tail)),
        }
        with file.open("rb") as opened:

            def body() -> Iterator[bytes]:
                opened.seek(0)
                yield head
                yield from iter(lambda: opened.read(PIECE_BYTES), b"")
                yield tail

            # The same file under the same name is not stored twice, so that this may be repeated.
            stored = self._json("/upload/image", body, headers)
        return f"{stored['subfolder']}/{stored['name']}" if stored.get("subfolder") else stored["name"]

    def queue(self, graph: Graph) -> str:
        """Queue a graph; returns the job's id.

        Raises:
            ComfyError: the server refuses the graph.
        """
        job = str(uuid.uuid4())
        body = json.dumps({"prompt": graph, "prompt_id": job, "client_id": self._client_id}).encode()
        request = urllib.request.Request(self.url + "/prompt", body, {"Content-Type": "application/json"})
        attempts = itertools.count()

        def send() -> None:
            # The id is ours: where only the answer was lost, the job is there, and must not be queued twice.
            if next(attempts) == 0 or not self._knows(job):
                urllib.request.urlopen(request, timeout=ANSWER_SECONDS).close()

        self._patiently(send)
        return job

    def follow(self, job: str, graph: Graph) -> dict[str, Any]:
        """Wait for the end of a job, whatever happens to the connection; returns its entry in the history.

        Raises:
            ComfyError: the job failed, was stopped, or is not there any more.
        """
        address = re.sub("^http", "ws", self.url) + f"/ws?clientId={self._client_id}"
        entry = self._finished(job)
        while entry is None:
            try:
                with contextlib.closing(websocket.create_connection(address, timeout=SILENCE_SECONDS)) as socket:
                    while (entry := self._finished(job)) is None:
                        self._listen(socket, graph)
            except websocket.WebSocketTimeoutException:
                entry = self._finished(job)
            except (OSError, websocket.WebSocketException) as error:
                self.report(f"Connection lost ({error}); the job goes on. Connecting again ...")
                time.sleep(RETRY_SECONDS)
                entry = self._finished(job)
        for event, data in entry["status"]["messages"]:
            if event == "execution_error":
                raise ComfyError(f"{_title(graph, data['node_id'])}: {data['exception_message'].strip()}")
            if event == "execution_interrupted":
                raise ComfyError("The job was stopped: run this again, it goes on after its last finished window.")
        return entry

    def _check_size(self, file: Path) -> None:
        """Refuse a file that is too large: the server would break the connection off in the middle of it."""
        size, limit = file.stat().st_size, None
        with contextlib.suppress(ComfyError):  # something between us does not let us ask
            limit = self._json("/features").get("max_upload_size")
        if limit and size > limit:
            sizes = f"{file} has {size / 2**20:.0f} MB, and the server takes {limit / 2**20:.0f}"
            raise ComfyError(f"{sizes}: start it with --max-upload-size {size // 2**20 + 1}.")

    def _address(self) -> str:
        """Where the server is, behind what may lead there, such as from http to https: a POST would not follow."""
        path = "/system_stats"
        with urllib.request.urlopen(self.url + path, timeout=ANSWER_SECONDS) as answer:
            json.load(answer)
            return answer.url.removesuffix(path)

    def download(self, entry: dict[str, Any], target: Path) -> None:
        """Fetch the video that a finished job has saved, in pieces; `target` appears when it is complete."""
        saved = [file for output in entry["outputs"].values() for file in output.get("gifs", [])]
        if len(saved) != 1:
            raise ComfyError(
                f"The graph has saved {len(saved)} videos, but one is needed: give it one save node (and a `part` that "
                "is not empty)."
            )
        query = urllib.parse.urlencode({key: saved[0][key] for key in ("filename", "subfolder", "type")})
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".part")
        with partial.open("wb") as opened:
            total = None
            while total is None or opened.tell() < total:
                piece, total = self._piece(f"/view?{query}", opened.tell())
                opened.write(piece)
        partial.replace(target)

    def _piece(self, path: str, start: int) -> tuple[bytes, int]:
        """A part of a file from byte `start`, and the size of the whole file."""
        asked = {"Range": f"bytes={start}-{start + PIECE_BYTES - 1}"}

        def read() -> tuple[bytes, int]:
            request = urllib.request.Request(self.url + path, headers=asked)
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                piece = answer.read()  # raises IncompleteRead if the connection ends too early
                if answer.status == 206:
                    return piece, int(answer.headers["Content-Range"].rpartition("/")[2])
                return piece[start:], len(piece)  # something between us does not know ranges

        return self._patiently(read)

    def _listen(self, socket: websocket.WebSocket, graph: Graph) -> None:
        """Report what the nodes do until the queue changes, which may mean that a job is over."""
        while True:
            message = socket.recv()
            if not message:
                raise ConnectionError("closed by the server")
            if isinstance(message, bytes):
                if struct.unpack(">I", message[:4]) == (TEXT_EVENT,):
                    (length,) = struct.unpack(">I", message[4:8])
                    self.report(message[8 + length :].decode(errors="replace"))
                continue
            event = json.loads(message)
            if event["type"] == "status":  # also the first message of every connection
                return
            if event["type"] == "executing" and event["data"].get("node"):
                self.report(_title(graph, event["data"]["node"]))

    def _finished(self, job: str) -> dict[str, Any] | None:
        """The job's entry in the history; None while it waits or runs."""
        # In this order: a job that ends in between is then found in both places, and never in none.
        queued = self._is_queued(self._json("/queue"), job)
        entry = self._json(f"/history/{job}").get(job)
        if entry is None and not queued:
            raise ComfyError(
                "The server does not have the job any more, because it was restarted or the queue was cleared: "
                "run this again, it goes on after its last finished window."
            )
        return entry

    def _knows(self, job: str) -> bool:
        """Whether the job waits, runs or is finished; one attempt."""
        queue, history = (self._read_json(urllib.request.Request(self.url + path)) for path in ("/queue", "/history"))
        return self._is_queued(queue, job) or job in history

    @staticmethod
    def _is_queued(queue: dict[str, list[list[Any]]], job: str) -> bool:
        return any(item[1] == job for items in queue.values() for item in items)

    def _json(
        self, path: str, body: Callable[[], Iterator[bytes]] | None = None, headers: dict[str, str] | None = None
    ) -> Any:
        """GET, or POST if there is a body, and read the JSON answer."""

        def read() -> Any:
            data: Any = body() if body else None
            return self._read_json(urllib.request.Request(self.url + path, data, headers or {}))

        return self._patiently(read)

    @staticmethod
    def _read_json(request: urllib.request.Request) -> Any:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Try it again while the network is down; an address that never answered is not tried again."""
        deadline = time.monotonic() + (PATIENCE_SECONDS if self._has_answered else 0)
        while True:
            try:
                result = attempt()
            except (OSError, http.client.HTTPException, ValueError) as error:
                if isinstance(error, urllib.error.HTTPError) and error.code not in GATEWAY_ERRORS:
                    raise ComfyError(_refusal(error)) from error
                if time.monotonic() > deadline:
                    problem = f"No ComfyUI answers at {self.url} ({error})"
                    raise ComfyError(f"{problem}: start it, or check the address.") from error
                time.sleep(RETRY_SECONDS)
            else:
                self._has_answered = True
                return result


def load_graph(file: Path) -> Graph:
    """Read a graph in the API format.

    Raises:
        ComfyError: it is something else.
    """
    try:
        graph = json.loads(file.read_text(encoding="utf-8-sig"))
        if all("class_type" in node for node in graph.values()):
            return graph
    except (ValueError, AttributeError, TypeError):
        pass  # not JSON, or JSON of another kind
    raise ComfyError(f"{file} is no graph in the API format: export it from the graph editor with File, Export (API).")


def make_video(server: ComfyUI, graph: Graph, target: Path) -> None:
    """Queue a graph whose files are on the server, wait for its end, and download what it has saved.

    Raises:
        ComfyError: the graph is refused, the job has failed, or there can be no file `target`.
    """
    if target.is_dir():
        raise ComfyError(f"{target} is a folder: give the name of a file in it, such as {target / 'talk.mp4'}.")
    job = server.queue(graph)
    server.report(f"Queued as {job}")
    entry = server.follow(job, graph)
    for output in entry["outputs"].values():
        for text in output.get("text", []):  # what was saved, and a WARNING if the sound could not be
            server.report(text)
    server.download(entry, target)
    server.report(f"Downloaded to {target}")


def put(graph: Graph, place: str, value: Any) -> None:
    """Set `NODE.INPUT` of a graph, where NODE is a title or an id; text is read as JSON unless a text is there.

    Raises:
        ComfyError: there is no such node or input, or more than one, or the text is not JSON.
    """
    name, _, input_name = place.rpartition(".")
    found = [node for node_id, node in graph.items() if name in (node_id, _title(graph, node_id))]
    if len(found) != 1:
        titles = ", ".join(_title(graph, node_id) for node_id in graph)
        raise ComfyError(f"The graph has {len(found)} nodes {name!r}, but one is needed: choose from {titles}.")
    inputs = found[0]["inputs"]
    if input_name not in inputs:
        raise ComfyError(f"The node {name!r} has no input {input_name!r}: choose from {', '.join(inputs)}.")
    try:
        inputs[input_name] = value if isinstance(inputs[input_name], str) else json.loads(value)
    except json.JSONDecodeError as error:
        raise ComfyError(f"{place} cannot be {value!r}: it needs a number, true or false.") from error


def split_option(text: str) -> tuple[str, str]:
    """Both sides of `NODE.INPUT=VALUE`.

    Raises:
        ComfyError: there is no `=` in it.
    """
    place, equals, value = text.partition("=")
    if not equals:
        raise ComfyError(f"{text!r} gives no value: write NODE.INPUT=VALUE.")
    return place, value


def _title(graph: Graph, node_id: str) -> str:
    """What the graph calls a node."""
    node = graph.get(node_id, {})
    return node.get("_meta", {}).get("title") or node.get("class_type") or node_id


def _refusal(error: urllib.error.HTTPError) -> str:
    """What the server says against a request, in one sentence."""
    text = error.read().decode(errors="replace").strip()
    try:
        answer = json.loads(text)
        nodes = dict(answer["node_errors"]).values()
        said = [f"{node['class_type']}: {one['details'] or one['message']}" for node in nodes for one in node["errors"]]
        return "The server refuses the graph: " + "; ".join(said or [answer["error"]["message"]])
    except (ValueError, KeyError, TypeError):
        return f"The server refuses {urllib.parse.urlsplit(error.url).path}: {text or error}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that `prepare` takes."""
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    parser.add_argument("--file", action="append", default=[], metavar="NODE.INPUT=FILE", help="upload this file")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", help="set this input")


def prepare(graph: Graph, options: argparse.Namespace) -> ComfyUI:
    """Change a graph as the options say; returns the server that has its files now.

    Raises:
        ComfyError: an option does not fit the graph, or there is no such server.
        OSError: a file cannot be read.
    """
    for place, value in map(split_option, options.set):
        put(graph, place, value)
    server = ComfyUI(options.server, report=lambda line: print(line, file=sys.stderr, flush=True))
    for place, value in map(split_option, options.file):
        put(graph, place, server.upload(Path(value)))
    return server


def exit_code(work: Callable[[], None]) -> int:
    """Do the work of a command; what hinders it is one sentence and no 0."""
    try:
        work()
    except (ComfyError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; a job that is queued goes on. Run this again for its file.", file=sys.stderr)
        return 130
    return 0


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("graph", type=Path, help="a graph in the API format")
    parser.add_argument("target", type=Path, help="where the video goes")
    add_options(parser)
    options = parser.parse_args()

    def work() -> None:
        graph = load_graph(options.graph)
        make_video(prepare(graph, options), graph, options.target)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
