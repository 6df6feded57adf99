"""Benchmarks run, as small as they can be: who wants figures, or has a GPU at last, does not want to mend them first.

The others take minutes at any size.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def figures_of(script: str, tmp_path: Path, *options: str) -> dict[str, Any]:
    figures = tmp_path / "figures.json"
    command = [sys.executable, ROOT / "benchmarks" / script, *options, "--json", figures]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    return json.loads(figures.read_text(encoding="utf-8"))


def test_every_check_for_a_gpu_passes_with_small_models(tmp_path: Path):
    checks = figures_of("gpu.py", tmp_path, "--tiny")["checks"]
    assert len(checks) == 19
    assert all(check["ok"] for check in checks.values())


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("length.py", ["--seconds", "1", "--collected", "--size", "128x128"]),
        ("save.py", ["--rounds", "1", "--case", "64x64x25"]),
        ("startup.py", ["--rounds", "1"]),
    ],
)
def test_a_benchmark_runs(script: str, options: list[str], tmp_path: Path):
    assert figures_of(script, tmp_path, *options)
