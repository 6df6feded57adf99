"""Makes the modules of the demo's training importable, and finds the program that speaks."""

from __future__ import annotations

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def espeak() -> str:
    """The program espeak-ng; without it a test fails in CI and is skipped elsewhere."""
    program = shutil.which("espeak-ng")
    if program is None:
        reason = "The sound for training needs the program espeak-ng."
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return program
