"""The checks for a GPU, with small models: where there is a GPU nobody wants to find out that a check is broken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_check_passes_with_small_models(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--tiny", "--json", figures]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    checks = json.loads(figures.read_text(encoding="utf-8"))["checks"]
    assert len(checks) == 17
    assert all(check["ok"] for check in checks.values())
