"""Damaged files give a sentence or a right result: never a traceback, a crash, a hang, or a heap of memory.

`INFINITETALK_FUZZ_MUTANTS` is how many damaged files are read, `INFINITETALK_FUZZ_SEED` makes other ones.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ....support import mutants

MUTANTS = int(os.environ.get("INFINITETALK_FUZZ_MUTANTS", "160"))
SEED = int(os.environ.get("INFINITETALK_FUZZ_SEED", "0"))
PROGRAM = Path(__file__).resolve().parents[3] / "support" / "media_process.py"
PATIENCE_SECONDS = 10
MEMORY_BYTES = 1_000_000_000


class Reader:
    """The process that reads; a new one after a crash or a hang."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-X", "faulthandler", str(PROGRAM), str(self.folder)]
        self._errors = (self.folder / "errors.txt").open("w+b")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, encoding="utf-8"
        )
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process, self._answers), daemon=True).start()
        assert self.read(self.folder / "not there", patience=120)[0] == "answered"

    @staticmethod
    def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        for line in process.stdout:
            answers.put(line)
        answers.put("")

    def read(self, path: Path, patience: float = PATIENCE_SECONDS) -> tuple[str, dict]:
        """How it went (answered, crash, hang), and the answer."""
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=patience)
        except queue.Empty:
            return "hang", self._again()
        return ("answered", json.loads(line)) if line else ("crash", self._again())

    def _again(self) -> dict:
        self.close()
        said = Path(self._errors.name).read_text("utf-8", "replace")[-2000:]
        self._start()
        return {"said": said}

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "temp"
    folder.mkdir()
    running = Reader(folder)
    yield running
    running.close()


@pytest.fixture
def formats(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "formats"
    folder.mkdir()
    return mutants.write_formats(folder)


def test_whole_files_of_all_formats_are_right(reader: Reader, formats: list[Path]):
    for path in formats:
        how, answer = reader.read(path)
        assert how == "answered", (path.name, answer)
        wanted = {"sound_of", "track_of"} if path.name in mutants.SOUNDS else {"picture_of", "sound_of", "track_of"}
        right = {read for read, (kind, _) in answer["answers"].items() if kind == "right"}
        assert right == (wanted if path.suffix != ".gif" else {"picture_of"}), (path.name, answer)


def test_damaged_files_give_a_sentence_or_a_right_result(reader: Reader, formats: list[Path], tmp_path: Path):
    kinds, faults, slowest, largest = Counter(), [], (0.0, ""), (0, "")
    for mutant in mutants.mutants(formats, MUTANTS, SEED):
        path = tmp_path / mutant.name
        path.write_bytes(mutant.content)
        began = time.monotonic()
        how, answer = reader.read(path)
        slowest = max(slowest, (time.monotonic() - began, mutant.name))
        if how != "answered":
            faults.append((mutant.name, how, answer))
            kinds[how] += 1
        else:
            largest = max(largest, (answer["peak"], mutant.name))
            if answer["peak"] > MEMORY_BYTES:
                faults.append((mutant.name, "memory", answer["peak"]))
            kinds.update(kind for kind, _ in answer["answers"].values())
            faults += [
                (mutant.name, read, text) for read, (kind, text) in answer["answers"].items() if kind == "traceback"
            ]
        if not any(mutant.name == name for name, *_ in faults):
            path.unlink()
    report = f"{MUTANTS} files, {dict(kinds)}, slowest {slowest}, largest {largest}"
    print(report)  # noqa: T201
    assert not faults, "\n".join([report, *map(str, faults)])
