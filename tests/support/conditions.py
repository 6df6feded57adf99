"""What a test needs from the machine it runs on, and waiting for what happens elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """A test that cannot run is a failure in CI and skipped, with the reason, elsewhere."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def wait_until(condition: Callable[[], Any], seconds: float = 120) -> None:
    """Return as soon as `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s"
        time.sleep(0.05)


OF_NEWER_CORES = {"two_speakers_found_faces": {"LoadMediaPipeFaceLandmarker", "MediaPipeFaceLandmarker"}}
"""Nodes of examples that ComfyUI has from 0.23 on."""
