"""A ComfyUI that a worker starts for itself: it dies with the worker, and is started again when it has died."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from comfy_server import own_process_group
from render import Server, ServerLostError

KEEPER = Path(__file__).with_name("keep_server.py")
TAIL_LINES = 5


@dataclass(frozen=True)
class ServerRecipe:
    """How to start a ComfyUI; plain values, for it goes to other machines.

    Attributes:
        python: the interpreter that runs it.
        core: folder with `main.py`.
        models: shared folder of all models.
        runs: shared folder of all runs.
        log: file for what it prints; of the recipe for all servers their folder.
        custom_nodes: folder of other packs, or empty.
        on_cpu: work on the CPU.
        arguments: more of ComfyUI's own.
        base: folder of its own on the worker's machine; gone when it ends.
    """

    python: str
    core: str
    models: str
    runs: str
    log: str
    custom_nodes: str = ""
    on_cpu: bool = True
    arguments: tuple[str, ...] = ()
    base: str = ""


class OwnServer:
    """At most one running ComfyUI, made by a recipe."""

    def __init__(self, recipe: ServerRecipe, name: str) -> None:
        self._recipe = recipe
        self._name = name
        self._keeper: subprocess.Popen[str] | None = None
        self._server: Server | None = None
        self._log = Path()

    def running(self) -> Server:
        """The server, started if there is none.

        Raises:
            ServerLostError: it does not start; the sentence has the end of its log.
        """
        if self._server is None or not self._is_running():
            self.kill()
            self._server = self._start()
        return self._server

    def kill(self) -> None:
        """End the server at once, if there is one."""
        keeper, self._keeper, self._server = self._keeper, None, None
        if keeper is not None:
            with contextlib.suppress(OSError):
                keeper.stdin.close()
            keeper.wait()
            keeper.stdout.close()

    def last_words(self) -> str:
        """The end of the server's log, in one line."""
        if not self._log.is_file():
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-TAIL_LINES:])

    def _is_running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    def _start(self) -> Server:
        # In a group of its own, as Ray kills that of a dead worker: the keeper must live to end the server.
        life = uuid.uuid4().hex[:8]
        self._log = Path(self._recipe.log) / f"{self._name}-{life}.log"
        base = Path(tempfile.gettempdir()) / f"infinitetalk-{self._name}-{life}"
        recipe = replace(self._recipe, log=str(self._log), base=str(base))
        command = [sys.executable, str(KEEPER)]
        self._keeper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **own_process_group()
        )
        self._keeper.stdin.write(json.dumps(asdict(recipe)) + "\n")
        self._keeper.stdin.flush()
        answer = self._keeper.stdout.readline()
        told = json.loads(answer) if answer else {"error": f"ComfyUI's keeper ended; its log is {self._log}."}
        if "error" in told:
            self.kill()
            raise ServerLostError(told["error"])
        return Server(told["url"], Path(told["input"]), self._is_running)
