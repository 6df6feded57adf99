"""A ComfyUI process of our own, started and stopped cleanly. Standard library only."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from environment import Environment, SetupError, find_core, link_pack

START_TIMEOUT_SECONDS = 240
STOP_TIMEOUT_SECONDS = 10
# PyTorch's threads on the CPU shall not spin while they wait: on busy cores that makes small layers 10 times slower.
PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
ENDING_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
FOLDERS = ("models", "input", "output", "temp", "user", "custom_nodes")


class ComfyServer:
    """ComfyUI on a free local port, with a base folder of its own; a context manager.

    Models, inputs, outputs, settings and database lie in `base`, so that neither the downloaded ComfyUI nor a
    checkout of the user's is written to, and no other custom nodes are loaded.

    Args:
        environment: interpreter and ComfyUI.
        base: the base folder; made if it is not there.
        arguments: more command line arguments for ComfyUI.
        on_cpu: work on the CPU; else on the device that ComfyUI chooses.
        links_pack: have this project among its custom nodes; else the arguments see to that.
    """

    def __init__(
        self,
        environment: Environment,
        base: Path,
        arguments: tuple[str, ...] = (),
        *,
        on_cpu: bool = True,
        links_pack: bool = True,
    ) -> None:
        self.environment = environment
        self.base = base
        self.log_file = base / "server.log"
        self.url = ""
        self._links_pack = links_pack
        self._arguments = ("--cpu", *arguments) if on_cpu else arguments
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def here(cls, base: Path, arguments: tuple[str, ...] = ()) -> ComfyServer:
        """A server in the environment that this process runs in."""
        return cls(Environment(Path(sys.prefix), find_core()), base, arguments)

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it answers.

        Raises:
            SetupError: it ended or did not answer in time; the end of its log is in the message.
        """
        for folder in FOLDERS:
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        if self._links_pack:
            link_pack(self.base / "custom_nodes")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        try:
            with self.log_file.open("wb") as log, signals_held_back():
                self._process = subprocess.Popen(
                    self._command(port), cwd=self.environment.core, stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, env={**PATIENT_THREADS, **os.environ}, **own_process_group(),
                )  # fmt: skip
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process and everything that it started: politely first, then by force."""
        process, self._process = self._process, None
        if process is None:
            return
        _signal_group(process, force=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_SECONDS)
        _signal_group(process, force=True)
        process.wait()

    def kill(self) -> None:
        """End the process and everything that it started at once; what is finished is kept, as after a crash."""
        if self._process is not None:
            _signal_group(self._process, force=True)
            self._process.wait()
            self._process = None

    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise SetupError("The server is not running: start it first.")
        return self._process.pid

    def log(self) -> str:
        """What the server has printed so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.is_file() else ""

    def _command(self, port: int) -> list[str]:
        if self.environment.core is None:
            raise SetupError("This environment has no ComfyUI: prepare one with a server.")
        database = (self.base / "user" / "comfyui.db").as_posix()
        return [
            str(self.environment.python), "-u", str(self.environment.core / "main.py"),
            "--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(self.base),
            "--database-url", f"sqlite:///{database}", "--disable-auto-launch", *self._arguments,
        ]  # fmt: skip

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads back to this machine
        while time.monotonic() < deadline:
            if not self.is_running():
                raise SetupError(f"ComfyUI ended while starting; its log ({self.log_file}) ends with:\n{self._tail()}")
            with contextlib.suppress(urllib.error.URLError, OSError):
                direct.open(f"{self.url}/system_stats", timeout=5).close()
                return
            time.sleep(0.2)
        raise SetupError(
            f"ComfyUI did not answer within {START_TIMEOUT_SECONDS} s; its log ({self.log_file}) ends with:\n"
            f"{self._tail()}"
        )

    def _tail(self, lines: int = 15) -> str:
        return "\n".join(self.log().splitlines()[-lines:])


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """What would end us meanwhile does so at the end: a process that is being started is not known yet to be ended."""
    caught: list[tuple[int, FrameType | None]] = []
    handlers = {}
    if threading.current_thread() is threading.main_thread():  # the only one that signals interrupt
        numbers = [getattr(signal, name) for name in ENDING_SIGNALS if hasattr(signal, name)]
        handlers = {number: signal.getsignal(number) for number in numbers}
    handlers = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, lambda *arrived: caught.append(arrived))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number, frame in caught[:1]:
        handlers[number](number, frame)


def own_process_group() -> dict[str, object]:
    """Arguments for Popen: the terminal's Ctrl-C reaches us only, and we end the whole group."""
    if os.name == "nt":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _signal_group(process: subprocess.Popen[bytes], *, force: bool) -> None:
    """Ask the process and its children to end, or end them; nothing happens if they are gone."""
    if os.name == "nt":
        if process.poll() is not None:
            return
        if force:
            kill_tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
            subprocess.run(kill_tree, capture_output=True, check=False)
        else:
            process.send_signal(signal.CTRL_BREAK_EVENT)
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)
