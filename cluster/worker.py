"""Takes jobs one by one, with a ComfyUI of its own or one that is given; `ray_workers.py` makes actors of it."""

from __future__ import annotations

import platform
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comfy_client import ComfyClient, ComfyError
from job_file import Job, JobError
from own_server import OwnServer, ServerRecipe
from render import SILENT_SECONDS, Server, ServerLostError, StoppedError, TroubleError, Windows, render, trouble

READY_SECONDS = 10.0


@dataclass(frozen=True)
class Outcome:
    """How one try of a job ended.

    Attributes:
        kind: `done`; `failed`, which no other try would change; `trouble`; `lost`, with the server or the worker; or
            `stopped`.
        sentence: what went wrong.
        output: path of the video.
        facts: of the video.
        windows: as `Windows.as_counts`.
        seconds: that it took.
    """

    kind: str
    sentence: str = ""
    output: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


class Worker:
    """One worker.

    Args:
        name: for logs and people.
        how: the recipe of a server of its own, or the URL of one that is there.
        silent_seconds: see `render`.
    """

    def __init__(self, name: str, how: ServerRecipe | str, silent_seconds: float = SILENT_SECONDS) -> None:
        self._own = OwnServer(how, name) if isinstance(how, ServerRecipe) else None
        self._url = how if isinstance(how, str) else ""
        self._silent_seconds = silent_seconds
        self._stopped = threading.Event()
        self._windows = Windows()
        self._left_behind: tuple[Path, ...] = ()

    def prepare(self) -> dict[str, str]:
        """Have a server that answers: its `url` and the worker's `machine`, or an `error`."""
        try:
            server = self._server()
            if self._own is None:
                ComfyClient(server.url, READY_SECONDS).get("/system_stats")
        except ComfyError as error:
            return {"error": str(trouble(server.url, error))}
        except (ServerLostError, OSError) as error:
            return {"error": str(error)}
        return {"url": server.url, "machine": platform.node()}

    def work(self, job: Job) -> Outcome:
        """Do a job."""
        self._windows = Windows()
        try:
            done = render(
                job,
                self._server(),
                report=self._note,
                is_stopped=self._stopped.is_set,
                silent_seconds=self._silent_seconds,
            )
        except JobError as error:
            return self._ended("failed", str(error))
        except ServerLostError as error:
            return self._ended("lost", self._bury(error))
        except TroubleError as error:
            return self._ended("trouble", str(error))
        except StoppedError:
            return self._ended("stopped")
        self._tidy(done.left_behind)
        return Outcome("done", "", str(done.file or ""), done.facts, done.windows, done.seconds)

    def windows(self) -> dict[str, int]:
        """Where the job stands."""
        return self._windows.as_counts()

    def stop(self) -> None:
        """End the running job and the server of its own: what is finished of it is kept."""
        self._stopped.set()
        if self._own is not None:
            self._own.kill()

    def _server(self) -> Server:
        return Server(self._url) if self._own is None else self._own.running()

    def _tidy(self, left_behind: tuple[Path, ...]) -> None:
        """Delete the files of the job before; those of the last one the server may hand out again from its cache."""
        for file in set(self._left_behind) - set(left_behind):
            file.unlink(missing_ok=True)
        self._left_behind = left_behind

    def _note(self, windows: Windows) -> None:
        self._windows = windows

    def _ended(self, kind: str, sentence: str = "") -> Outcome:
        return Outcome(kind, sentence, windows=self.windows())

    def _bury(self, error: ServerLostError) -> str:
        """End what is left of a lost server; the sentence with its last words."""
        if self._own is None:
            return str(error)
        self._own.kill()
        words = self._own.last_words()
        return f"{error} Its log ends with: {words}" if words else str(error)
