"""What a person reads when the command, a folder or the disk is at fault, before or beside any server."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from board import Board
from environment import ROOT, SetupError
from results_file import ResultsFile

RUN = ROOT / "cluster" / "run.py"


def test_what_given_servers_would_not_heed_is_refused():
    command = [sys.executable, RUN, "jobs.jsonl", "--servers", "http://127.0.0.1:9", "--models", "models"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert "--models is for servers of its own, and --servers names others: leave one of them out" in refused.stderr


def test_nothing_can_be_simulated_without_workers_or_with_machines_that_live_for_no_number():
    for option, value in (("--workers", "0"), ("--life-hours", "nan")):
        command = [sys.executable, ROOT / "cluster" / "simulate.py", option, value]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 2
        assert f"{value} is given, and a number above 0 is needed" in refused.stderr


def test_a_machine_on_which_the_models_are_not_mounted_says_so(tmp_path: Path):
    paths = {name: str(tmp_path / name) for name in ("core", "models", "runs", "log", "base")}
    recipe = json.dumps({"python": sys.executable, **paths})
    command = [sys.executable, ROOT / "cluster" / "keep_server.py", "keep", "1"]
    modules = os.pathsep.join(str(ROOT / folder) for folder in ("cluster", "demo"))
    told = subprocess.run(
        command, input=recipe, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": modules}
    )
    assert f"{paths['models']}'): see that it is mounted." in json.loads(told.stdout)["error"]
    assert not Path(paths["base"]).exists()


def test_a_disk_without_room_for_a_result_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    spec = importlib.util.spec_from_file_location("cluster_run", RUN)  # the demo has a module `run` as well
    command = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(command)
    results = ResultsFile(tmp_path / "results.jsonl")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SetupError, match=r"results\.jsonl .*No space left on device.*The same command goes on"):
        command.Writer(results, Board()).write({"id": "a", "status": "done"})
    results.close()
