"""A server of our own that dies and starts again on the same base folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import tiny_models
from comfy_client import ComfyClient, ComfyError, Prompt
from comfy_server import ComfyServer

from .more_models import write_more_models


@dataclass
class Life:
    """What one server did before it ended."""

    log: str
    windows_on_disk: int
    done: list[int] = field(init=False)
    resumed_at: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.done = [int(number) for number in re.findall(r"window (\d+) of \d+ is done", self.log)]
        resumed = re.search(r"Resumed at window (\d+) of", self.log)
        self.resumed_at = int(resumed.group(1)) if resumed else None


@dataclass
class KilledServer:
    """A server on one base folder that is started again after every death."""

    base: Path
    server: ComfyServer = field(init=False)

    def __post_init__(self) -> None:
        tiny_models.write_models(self.base / "models")
        write_more_models(self.base / "models")
        node = self.base / "custom_nodes" / "kill_point"
        node.mkdir(parents=True)
        shutil.copyfile(Path(__file__).with_name("kill_point.py"), node / "__init__.py")
        self.deadly = node / "deadly.json"
        self.server = ComfyServer.here(self.base)

    def live(self, prompt: Prompt, seconds: float | None = None) -> tuple[dict | None, Life]:
        """Queue a prompt until it is finished or the server dead; `seconds` after it began the server is killed.

        Returns the history entry, None where the server died.
        """
        if not self.server.is_running():
            self.server.stop()
            self.server.start()
        client = ComfyClient(self.server.url)
        said_before = len(self.server.log())
        prompt_id = client.submit(prompt)
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.server.is_running():
            if deadline and time.monotonic() > deadline:
                os.kill(self.server.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            try:
                entry = client.get(f"/history/{prompt_id}").get(prompt_id)
            except ComfyError:  # it is just dying
                entry = None
            if entry:
                return entry, self._life(said_before)
            time.sleep(0.05)
        return None, self._life(said_before)

    def _life(self, said_before: int) -> Life:
        """What the server said since then, and what is on disk."""
        return Life(self.server.log()[said_before:], max(map(windows_in, self.run_folders()), default=0))

    def run_folders(self) -> list[Path]:
        return sorted((self.base / "user").rglob("run-*-*"))

    def clear_runs(self) -> None:
        for folder in self.run_folders():
            shutil.rmtree(folder)


def windows_in(folder: Path) -> int:
    """Finished windows of a run, by its manifest."""
    manifest = folder / "manifest.json"
    return len(json.loads(manifest.read_bytes())["windows"]) if manifest.is_file() else 0


def frames_in(folder: Path) -> bytes:
    """All stored frames of a run."""
    return b"".join(file.read_bytes() for file in sorted(folder.glob("window-*.rgb")))
