"""Frames at any times, shown at a constant rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ...timebase import MAX_FRAME_RATE, exact_frame_rate

LONGEST_PICTURE_SECONDS = 3600  # a picture that is said to last longer is a damaged number
NEAR = Fraction(1, 100)  # share by which a measured rate may differ from a usual one that is meant
USUAL_RATES = tuple(Fraction(rate) for rate in (5, 6, 8, 10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120))
USUAL_RATES += tuple(Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120))


@dataclass(frozen=True)
class Grid:
    """The constant rate that frames are shown at.

    Attributes:
        origin: seconds on the file's clock at which frame 0 is shown.
        frame_rate: frames per second.
        tick: the file's unit of time in seconds. A time stamp is only known to half of it.
    """

    origin: Fraction
    frame_rate: Fraction
    tick: Fraction

    def slot(self, seconds: Fraction) -> int:
        """The first frame that shows a picture of this time stamp: frame k shows the last one at or before its time."""
        tolerance = min(self.tick / 2, 1 / self.frame_rate / 4)
        return math.ceil((seconds - tolerance - self.origin) * self.frame_rate)

    def time(self, frame: int) -> Fraction:
        """When a frame is shown, on the file's clock."""
        return self.origin + frame / self.frame_rate

    def count(self, last: Fraction, lasts: Fraction) -> int:
        """Frames up to the end of the last picture, which begins at `last` and is seen for `lasts` seconds."""
        return self.slot(last) + max(1, round(lasts * self.frame_rate))


def constant_rate(stamps: Sequence[int], tick: Fraction, declared: Fraction | None) -> Fraction:
    """The rate that a video's time stamps mean: that of its steady stretches; pauses do not count.

    Args:
        stamps: time stamps in ticks, rising.
        tick: seconds.
        declared: what the file says, taken where the stamps agree.
    """
    steps = np.diff(np.asarray(stamps, dtype=np.int64))
    steps = steps[steps > 0]
    if len(steps) == 0:
        return exact_frame_rate(_within_limits(declared or Fraction(1)))
    middle = np.sort(steps)[(len(steps) - 1) // 2]
    steady = steps[np.abs(steps / middle - 1) <= 0.5]
    step = Fraction(int(steady.sum()), len(steady)) * tick
    usual = min(USUAL_RATES, key=lambda rate: abs(rate * step - 1))
    if declared and abs(1 / declared - step) <= tick / len(steady):  # what rounded stamps can be off
        rate = declared
    else:
        rate = usual if abs(usual * step - 1) <= NEAR else 1 / step
    return exact_frame_rate(_within_limits(rate))


def _within_limits(rate: Fraction) -> Fraction:
    return max(Fraction(1, LONGEST_PICTURE_SECONDS), min(rate, Fraction(MAX_FRAME_RATE)))
