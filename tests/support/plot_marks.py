"""Where seams are marked in a plot."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from infinitetalk.sync import plot

SOUND_PANEL = slice(132, 200)  # rows of pixels
PIXELS, LEVELS = 2, 40  # a line is two pixels wide and smoothed


def marked_columns(picture: np.ndarray, color: tuple[int, int, int]) -> set[int]:
    """Columns of the sound panel that hold a dashed line, of a picture [H, W, 3] uint8."""
    near = np.abs(picture[SOUND_PANEL].astype(int) - np.array(color)).max(axis=2) < LEVELS
    return set(np.nonzero(near.sum(axis=0) > 15)[0].tolist())


def marks_stand_at(columns: set[int], seams: Iterable[int], frames: int) -> bool:
    """Whether every seam has its mark, and no other frame has one."""
    expected = [plot.LEFT + seam / frames * (plot.RIGHT - plot.LEFT) for seam in seams]
    marked = all(any(abs(column + 0.5 - x) < PIXELS for column in columns) for x in expected)
    return marked and all(any(abs(column + 0.5 - x) < PIXELS for x in expected) for column in columns)
