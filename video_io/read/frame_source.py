"""What every source of frames offers, whatever it reads from. None is loaded whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch

from ...errors import UserError

Frame = np.ndarray | torch.Tensor

MAX_RATE = 1000
# Television's rates are 1000/1001 of these, and people write them with two or three digits.
NTSC_NOMINAL_RATES = (12, 15, 24, 30, 48, 60, 72, 96, 120, 240)


class FrameSource(Protocol):
    """Frames of one size that can be read from the first, more than once."""

    @property
    def count(self) -> int:
        """Number of frames."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def channels(self) -> int:
        """1, 3 or 4."""

    @property
    def rate(self) -> Fraction:
        """Frames per second."""

    def frames(self) -> Iterator[Frame]:
        """Frames [H, W, C] in order: floats 0 to 1, or uint8 or uint16 on their whole range."""


def exact_rate(fps: float | Fraction) -> Fraction:
    """Frames per second as the fraction that is meant: 23.976 is 24000/1001, 29.97 is 30000/1001.

    Raises:
        UserError: not above 0 and at most `MAX_RATE`.
    """
    if not math.isfinite(fps) or not 0 < fps <= MAX_RATE:
        raise UserError(f"The frame rate is {float(fps):g}; more than 0 and at most {MAX_RATE} is needed: set fps.")
    for nominal in NTSC_NOMINAL_RATES:
        rate = Fraction(nominal * 1000, 1001)
        if abs(float(fps - rate)) < 0.005 and fps != nominal:
            return rate
    return Fraction(fps).limit_denominator(100_000 if fps < 1 else 1000)
