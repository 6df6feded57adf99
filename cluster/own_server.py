"""A ComfyUI that a worker starts for itself: it dies with the worker, and is started again when it has died."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, cast

from render import Server, ServerLostError

KEEPER = Path(__file__).with_name("keep_server.py")
TAIL_LINES = 5
END_SECONDS = 30.0


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
        threads: `OMP_NUM_THREADS` as the user has set it. Ray sets it to 1 for its workers, and with another number of
            threads a CPU adds up in another order: the bits would be others than those of one server alone.
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
    threads: str = ""


class OwnServer:
    """At most one running ComfyUI, made by a recipe."""

    def __init__(self, recipe: ServerRecipe, name: str) -> None:
        self._recipe = recipe
        self._name = name
        self._keeper: Keeper | None = None
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
            keeper.end()

    def last_words(self) -> str:
        """The end of the server's log, in one line."""
        if not self._log.is_file():
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " | ".join(line.strip() for line in lines[-TAIL_LINES:])

    def _is_running(self) -> bool:
        return self._keeper is not None and self._keeper.is_running()

    def _start(self) -> Server:
        life = uuid.uuid4().hex[:8]
        self._log = Path(self._recipe.log) / f"{self._name}-{life}.log"
        base = Path(tempfile.gettempdir()) / f"infinitetalk-{self._name}-{life}"
        self._keeper = Keeper(replace(self._recipe, log=str(self._log), base=str(base)))
        told = self._keeper.told()
        if "error" in told:
            self.kill()
            raise ServerLostError(told["error"])
        return Server(told["url"], Path(told["input"]), self._is_running)


class Keeper:
    """The process of `keep_server.py`. It is no child of ours: Ray kills the children of a worker that ends, and the
    keeper must live to end the server. It knows by the end of its stdin that we are gone."""

    def __init__(self, recipe: ServerRecipe) -> None:
        launch = [sys.executable, str(KEEPER), "launch", str(os.getpid())]
        launcher = subprocess.Popen(launch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        launcher.wait()
        self._stdin, self._stdout = cast(IO[str], launcher.stdin), cast(IO[str], launcher.stdout)
        self._gone = threading.Event()
        self._recipe = recipe

    def told(self) -> dict[str, str]:
        """Have the server started; the keeper's answer."""
        try:
            self._stdin.write(json.dumps(asdict(self._recipe)) + "\n")
            self._stdin.flush()
            answer = self._stdout.readline()
        except (OSError, ValueError):  # it has gone, or was ended meanwhile
            answer = ""
        threading.Thread(target=self._watch, daemon=True).start()
        return json.loads(answer) if answer else {"error": f"ComfyUI's keeper ended; its log is {self._recipe.log}."}

    def is_running(self) -> bool:
        """Whether it lives, which it does as long as the server."""
        return not self._gone.is_set()

    def end(self) -> None:
        """Have it end the server and itself."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        self._gone.wait(END_SECONDS)

    def _watch(self) -> None:
        self._stdout.read()
        self._stdout.close()
        self._gone.set()
