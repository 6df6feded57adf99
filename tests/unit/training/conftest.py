"""Finds the program that speaks."""

from __future__ import annotations

import shutil

import pytest

from ...support.conditions import unavailable


@pytest.fixture(scope="session")
def espeak() -> str:
    """The program espeak-ng; without it a test fails in CI and is skipped elsewhere."""
    program = shutil.which("espeak-ng")
    if program is None:
        unavailable("The sound for training needs the program espeak-ng.")
    return program
