"""Where nobody speaks: places for a cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

PAUSE_SECONDS = Fraction(1, 4)
"""Shorter ones lie within a word, before a plosive."""
REACH_SECONDS = Fraction(3, 2)
"""A cut is moved by at most so much."""


@dataclass(frozen=True)
class Pause:
    """Frames `start … stop - 1`, in which no voice is heard."""

    start: int
    stop: int

    @property
    def middle(self) -> int:
        """The frame in its middle, the later one of two."""
        return (self.start + self.stop) // 2

    def distance(self, frame: int) -> int:
        """Frames from `frame` to the nearest one of the pause; 0 inside of it."""
        return max(self.start - frame, frame - (self.stop - 1), 0)


def pauses_of(audible: Sequence[Tensor], frame_rate: Fraction) -> list[Pause]:
    """Stretches of at least `PAUSE_SECONDS` in which no voice is heard.

    Args:
        audible: for every voice bool `[F]`, whether it is heard.
        frame_rate: frames per second.
    """
    silent = ~torch.stack(list(audible)).any(dim=0)
    edges = torch.diff(silent.int(), prepend=torch.zeros(1), append=torch.zeros(1))
    starts, stops = ((edges == sign).nonzero()[:, 0].tolist() for sign in (1, -1))
    least = math.ceil(PAUSE_SECONDS * frame_rate)
    return [Pause(start, stop) for start, stop in zip(starts, stops, strict=True) if stop - start >= least]


def snapped(frame: int, pauses: Sequence[Pause], frame_rate: Fraction) -> int | None:
    """The frame in the middle of the nearest pause, or as near to it as `REACH_SECONDS` allow; None without one."""
    reach = int(REACH_SECONDS * frame_rate)
    near = [pause for pause in pauses if pause.distance(frame) <= reach]
    if not near:
        return None
    middle = min(near, key=lambda pause: (pause.distance(frame), abs(pause.middle - frame))).middle
    return min(max(middle, frame - reach), frame + reach)
