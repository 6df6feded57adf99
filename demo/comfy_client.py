"""A small client for ComfyUI's HTTP queue and websocket, as the graph editor itself uses them."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Prompt = dict[str, dict[str, Any]]

TEXT_EVENT = 3  # ComfyUI's binary websocket message with progress text for a node
PIECE_BYTES = 2**20
CONNECT_SECONDS = 30
HERE = {"localhost", "127.0.0.1", "::1"}
"""Names of this machine, to which no proxy leads back."""


class ComfyError(RuntimeError):
    """The server refused or failed; the message is what it said."""


class NoAnswerError(ComfyError):
    """No server is there, or it breaks off."""


@dataclass(frozen=True)
class Event:
    """One websocket message: `progress`, `executing`, `execution_error` and so on, or our name `progress_text`."""

    kind: str
    data: dict[str, Any]
    seconds: float
    """When it arrived, on the monotonic clock."""


@dataclass
class JobResult:
    """How one queued prompt went."""

    prompt_id: str
    events: list[Event] = field(default_factory=list)
    error: dict[str, Any] | None = None
    """The server's `execution_error` message, or its `node_errors` when it refused the prompt at once."""
    history: dict[str, Any] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        """Whether somebody stopped it."""
        return any(event.kind == "execution_interrupted" for event in self.events)

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """What the output nodes reported, by node id."""
        return self.history.get("outputs", {})

    @property
    def cached_nodes(self) -> set[str]:
        """Ids of the nodes that were not run again."""
        return {node for event in self.events if event.kind == "execution_cached" for node in event.data["nodes"]}

    @property
    def executed_nodes(self) -> set[str]:
        """Ids of the nodes that were begun."""
        started = (event.data.get("node") for event in self.events if event.kind == "executing")
        return {node for node in started if node}

    @property
    def error_message(self) -> str:
        """The sentence for the user, empty if there is none."""
        return str(self.error["exception_message"]).strip() if self.error else ""


class ComfyClient:
    """Talks to one ComfyUI server.

    Args:
        url: such as `http://127.0.0.1:8188`.
        answer_seconds: how long a request may wait for its answer; None for ever.
    """

    def __init__(self, url: str, answer_seconds: float | None = None) -> None:
        self.url = url.rstrip("/")
        self.id = uuid.uuid4().hex
        self._answer_seconds = answer_seconds
        proxies = urllib.request.ProxyHandler({} if is_here(url) else None)
        self._urlopen = urllib.request.build_opener(proxies).open

    def get(self, path: str, **query: str) -> Any:
        """GET some JSON."""
        return self._json(self._request(path, query=query))

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """POST some JSON; returns the JSON answer, None if it is empty."""
        answer = self._request(path, data=json.dumps(body or {}).encode(), content_type="application/json")
        return self._json(answer) if answer else None

    def model_choices(self, node: str, input_name: str) -> list[str]:
        """What a node's list offers, empty if the server does not know the node."""
        described = self.get(f"/object_info/{node}").get(node)
        if not described:
            return []
        kind, *options = described["input"]["required"][input_name]
        return list(options[0]["options"] if kind == "COMBO" else kind)

    def upload(self, file: Path, name: str | None = None) -> str:
        """Send a file to the server's input folder, under its own or another name; returns the one it has there."""
        boundary = uuid.uuid4().hex
        name = (name or file.name).replace('"', "_")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        body = head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + file.read_bytes()
        body += f"\r\n--{boundary}--\r\n".encode()
        stored = self._json(
            self._request("/upload/image", data=body, content_type=f"multipart/form-data; boundary={boundary}")
        )
        return f"{stored['subfolder']}/{stored['name']}" if stored.get("subfolder") else stored["name"]

    def view(self, file: dict[str, str], target: Path) -> None:
        """Fetch a file that a history entry names (`filename`, `subfolder`, `type`).

        Raises:
            NoAnswerError: the server breaks off before the end.
        """
        wanted = {key: file[key] for key in ("filename", "subfolder", "type")}
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._open("/view", query=wanted) as answer, target.open("wb") as opened:
            while piece := self._answered(lambda: answer.read(PIECE_BYTES)):
                opened.write(piece)
            if answer.length:  # Python tells of it only where all is read at once
                raise NoAnswerError(f"The ComfyUI at {self.url} broke off {answer.length} bytes before the end.")

    def submit(self, prompt: Prompt, extra_data: dict[str, Any] | None = None) -> str:
        """Queue a prompt; returns its id.

        Raises:
            ComfyError: the server refuses it; the message names every node's complaint.
        """
        body: dict[str, Any] = {"prompt": prompt, "client_id": self.id}
        if extra_data:
            body["extra_data"] = extra_data
        return self.post("/prompt", body)["prompt_id"]

    def run(self, prompt: Prompt, extra_data: dict[str, Any] | None = None) -> JobResult:
        """Queue a prompt and wait for its end."""
        with self.connect() as socket:
            result = JobResult(self.submit(prompt, extra_data))
            for event in socket.events_of(result.prompt_id):
                result.events.append(event)
        return self.finish(result)

    def finish(self, result: JobResult) -> JobResult:
        """Add history and error to a result whose events have all come."""
        result.error = next((event.data for event in result.events if event.kind == "execution_error"), None)
        result.history = self.history(result.prompt_id)
        return result

    def history(self, prompt_id: str) -> dict[str, Any]:
        """History entry of a finished prompt; waits the moment that the server needs to write it."""
        for _ in range(100):
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry:
                return entry
            time.sleep(0.05)
        raise ComfyError(f"The server has no history of prompt {prompt_id}: see its log.")

    def interrupt(self) -> None:
        """Stop what is running."""
        self.post("/interrupt")

    def stop(self, prompt_id: str) -> None:
        """Stop one job, whether it waits or runs, and nobody else's."""
        self.post("/queue", {"delete": [prompt_id]})
        self.post("/interrupt", {"prompt_id": prompt_id})

    def connect(self) -> Connection:
        """Open the websocket; a context manager. Open it before you queue, so that no event is missed."""
        return Connection(self.url, self.id)

    def _request(
        self, path: str, *, query: dict[str, str] | None = None, data: bytes | None = None, content_type: str = ""
    ) -> bytes:
        with self._open(path, query=query, data=data, content_type=content_type) as answer:
            return self._answered(answer.read)

    def _open(
        self, path: str, *, query: dict[str, str] | None = None, data: bytes | None = None, content_type: str = ""
    ) -> http.client.HTTPResponse:
        address = self.url + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        seconds = {} if self._answer_seconds is None else {"timeout": self._answer_seconds}

        def send() -> http.client.HTTPResponse:
            request = urllib.request.Request(address, data=data, headers={"Content-Type": content_type})
            try:
                return self._urlopen(request, **seconds)
            except urllib.error.HTTPError as error:
                raise ComfyError(_describe(error.read()) or f"{path}: the server answered {error.code}.") from error

        return self._answered(send)

    def _json(self, answer: bytes) -> Any:
        """What the server said; something else than ComfyUI answers with a page."""
        return self._answered(lambda: json.loads(answer))

    def _answered(self, attempt: Callable[[], T]) -> T:
        """What `attempt` gets from the server.

        Raises:
            NoAnswerError: the server is not there, breaks off, or is something else.
        """
        try:
            return attempt()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswerError(
                f"No ComfyUI answers at {self.url} ({error}): start it or check the address."
            ) from error


class Connection:
    """The websocket of one client; a context manager."""

    def __init__(self, url: str, client_id: str) -> None:
        import websocket  # from the environment; the rest of this module needs the standard library only

        scheme, rest = url.split("://", 1)
        address = f"{'wss' if scheme == 'https' else 'ws'}://{rest}/ws?clientId={client_id}"
        try:
            direct = {"socket": _dialed(url)} if scheme == "http" and is_here(url) else {}  # past any proxy
            self._socket = websocket.create_connection(address, timeout=CONNECT_SECONDS, **direct)
        except (OSError, websocket.WebSocketException) as error:
            raise NoAnswerError(f"No ComfyUI answers at {url} ({error}): start it or check the address.") from error
        self.heard = time.monotonic()
        """When the last message came, of any kind."""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def events_of(self, prompt_id: str) -> Iterator[Event]:
        """Events of one prompt, up to and including its last one."""
        last = ("execution_success", "execution_error", "execution_interrupted")
        for event in self.events():
            if event.data.get("prompt_id", prompt_id) != prompt_id:
                continue
            yield event
            if event.kind in last:
                return

    def events(self) -> Iterator[Event]:
        """All events until the server closes the connection."""
        while True:
            event = self.next_event()
            if event:
                yield event

    def next_event(self, seconds: float | None = None) -> Event | None:
        """The next message; None where none came within `seconds`, or one without meaning here.

        Raises:
            NoAnswerError: the connection is closed.
        """
        import websocket

        self._socket.settimeout(seconds)
        try:
            message = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return None
        except (OSError, websocket.WebSocketException):
            message = ""
        if not message:
            raise NoAnswerError("The server closed the connection: see its log.")
        self.heard = time.monotonic()
        return _parse(message)


def is_here(url: str) -> bool:
    """Whether a server's address is this machine's."""
    return urllib.parse.urlsplit(url).hostname in HERE


def _dialed(url: str) -> socket.socket:
    parts = urllib.parse.urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), CONNECT_SECONDS)


def _parse(message: str | bytes) -> Event | None:
    """Text messages are JSON; of the binary ones only progress text matters here (previews do not)."""
    now = time.monotonic()
    if isinstance(message, str):
        content = json.loads(message)
        return Event(content["type"], content.get("data") or {}, now)
    (kind,) = struct.unpack(">I", message[:4])
    if kind != TEXT_EVENT:
        return None
    (length,) = struct.unpack(">I", message[4:8])
    node, text = message[8 : 8 + length].decode(), message[8 + length :].decode(errors="replace")
    return Event("progress_text", {"node": node, "text": text}, now)


def _describe(body: bytes) -> str:
    """Turn the server's refusal of a prompt into readable lines."""
    try:
        content = json.loads(body)
        parts = [content["error"]["message"]]
        for errors in content.get("node_errors", {}).values():
            parts += [f"{errors['class_type']}: {error['details'] or error['message']}" for error in errors["errors"]]
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()
    return "; ".join(parts)
