"""Whatever stands in a run folder, the next job ends with the right frames: nothing is lost but the damaged.

`INFINITETALK_TEST_MUTANTS=500` tries more of each kind than a quick run has time for.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from ...support import known_frames as known
from ...support.damaged_data import WANTED, damaged, odd_documents

MUTANTS = WANTED or 40


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with three finished windows; the folder it lies in."""
    with known.open_store(tmp_path) as store:
        known.add_windows(store, 3)
        return store.folder


def finish(root: Path) -> None:
    with known.open_store(root) as store:
        known.add_windows(store)
        assert np.array_equal(known.frames_of(store), known.PIXELS[: known.FRAMES])


def whole(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith(".lock")}


def put_back(folder: Path, files: dict[str, bytes]) -> None:
    """The run as it was, and no other."""
    for other in folder.parent.iterdir():
        for file in other.iterdir():
            if other != folder or not file.name.endswith(".lock"):
                file.unlink()
        if other != folder:
            other.rmdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_an_odd_manifest_blocks_no_job(run: Path):
    files = whole(run)
    document = json.loads(files["manifest.json"])
    for odd in odd_documents(document, iter(range(MUTANTS * 3))):
        put_back(run, files)
        for name in ("manifest.json", "manifest.backup.json"):
            (run / name).write_text(json.dumps(odd))
        finish(run.parent)


@pytest.mark.parametrize(
    "value", ["9" * 400, "0." + "0" * 400 + "1", "1" + "0" * 5000, "25." + "0" * 400 + "1", '"1e-400"', '"1e999999999"']
)
@pytest.mark.parametrize("key", ["fps", "width", "frames"])
def test_a_number_of_many_digits_in_a_manifest_blocks_no_job(run: Path, key: str, value: str):
    document = json.loads((run / "manifest.json").read_text())
    document["spec"][key] = "HERE"
    for name in ("manifest.json", "manifest.backup.json"):
        (run / name).write_text(json.dumps(document).replace('"HERE"', value))
    finish(run.parent)


@pytest.mark.parametrize("pattern", ["manifest*.json", "window-*.rgb", "state-*.safetensors"])
def test_damaged_files_of_a_run_lose_no_more_than_themselves(run: Path, pattern: str):
    files = whole(run)
    names = itertools.cycle(known.names(run, pattern))
    for seed in range(MUTANTS):
        put_back(run, files)
        name = next(names)
        (run / name).write_bytes(damaged(files[name], seed))
        finish(run.parent)
