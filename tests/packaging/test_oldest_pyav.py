"""PyAV is ComfyUI's, and any that it takes may be there: with the oldest one, too, files are read, in their colors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from environment import ROOT, find_core

from ..support.conditions import unavailable

READING = "tests/unit/video_io/read"
WHAT_DIFFERS = "colors or hdr or turned or begins_before_its_picture"
"""Matrix and range, transfer and display matrix of a frame; FLV, whose streams are found late."""


@pytest.fixture
def oldest_pyav(tmp_path: Path) -> Path:
    """A folder with the oldest PyAV that this ComfyUI takes."""
    lines = (find_core() / "requirements.txt").read_text(encoding="utf-8")
    version = re.search(r"^av>=([\d.]+)", lines, re.MULTILINE)[1]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    done = subprocess.run([*command, "--target", tmp_path, f"av=={version}"], capture_output=True, text=True)
    if done.returncode:
        unavailable(f"PyAV {version} for this Python cannot be had: {done.stderr.strip()}")
    return tmp_path


def test_files_are_read_with_the_oldest_pyav(oldest_pyav: Path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", READING, "-k", WHAT_DIFFERS]
    environment = {**os.environ, "PYTHONPATH": str(oldest_pyav), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
