"""Exact rates, and how many frames or samples a stretch of time has: one rule for the whole pack.

Rates are fractions. 29.97 frames per second are 30000/1001, and 2997/100 would be 3.6 ms late after an hour: little,
but a video is promised to be as long as its sound at any length. A float becomes a fraction once, where a person or a
file gives it, and everything computes with the fraction from there on.
"""

from __future__ import annotations

import math
from fractions import Fraction

from .errors import UserError

MAX_FRAME_RATE = 1000
FRAME_TOLERANCE = Fraction(1, 1_000_000)  # of a frame; a sound that is longer by less needs no further frame

# Television's rates are 1000/1001 of these, and people write them with two or three digits. The tolerance takes in
# 23.98, the coarsest that is seen, and is less than half of the distance from any of these rates to 1000/1001 of it.
NTSC_NOMINAL_RATES = (12, 15, 24, 30, 48, 60, 72, 96, 120, 240)
NTSC_TOLERANCE = 0.005

# Of what is no television's rate: floats are off by less than the next such fraction. 1001 keeps any n · 1000/1001.
MAX_DENOMINATOR = 1001
MAX_DENOMINATOR_BELOW_1 = 100_000  # a slide show: one picture in many seconds


def exact_frame_rate(value: float | Fraction | str) -> Fraction:
    """Frames per second as the fraction that is meant: 23.976 and 23.98 are 24000/1001, 12.5 is 25/2.

    Args:
        value: a number, or a text such as `29.97` or `30000/1001`.

    Returns:
        The rate; giving it to this function again changes nothing.

    Raises:
        UserError: no number, or not above 0 and at most `MAX_FRAME_RATE`.
    """
    try:
        rate = Fraction(value)
    except (ValueError, OverflowError, ZeroDivisionError):  # no number, NaN, infinite, n/0
        rate = Fraction(0)
    if not Fraction(1, MAX_DENOMINATOR_BELOW_1) <= rate <= MAX_FRAME_RATE:
        found = f"{value:g}" if isinstance(value, float) else value
        raise UserError(f"The frame rate is {found}; more than 0 and at most {MAX_FRAME_RATE} is needed: set fps.")
    for nominal in NTSC_NOMINAL_RATES:
        television = Fraction(nominal * 1000, 1001)
        if abs(rate - television) < NTSC_TOLERANCE:
            return television
    return rate.limit_denominator(MAX_DENOMINATOR if rate >= 1 else MAX_DENOMINATOR_BELOW_1)


def first_frame_at(seconds: float | Fraction, frame_rate: Fraction) -> int:
    """The first frame that begins at `seconds` or later; frame k begins at k / `frame_rate`."""
    return math.ceil(Fraction(seconds) * frame_rate - FRAME_TOLERANCE)


def frames_of_seconds(seconds: float | Fraction, frame_rate: Fraction) -> int:
    """Frames that show all of `seconds`, the last one begun whole: `ceil(seconds · frame_rate - 1e-6)`, at least 1."""
    return max(1, first_frame_at(seconds, frame_rate))


def frames_of_samples(samples: int, *, sample_rate: int, frame_rate: Fraction) -> int:
    """`frames_of_seconds` of so many samples of one channel."""
    return frames_of_seconds(Fraction(samples, sample_rate), frame_rate)


def samples_of_frames(frames: int, *, sample_rate: int, frame_rate: Fraction) -> int:
    """Samples of one channel that `frames` frames last, to the nearest; frame k begins at the sample of this number."""
    return round(frames * sample_rate / frame_rate)


def samples_covering_frames(frames: int, *, sample_rate: int, frame_rate: Fraction) -> int:
    """The fewest samples of one channel that last at least as long as `frames` frames."""
    return math.ceil(frames * sample_rate / frame_rate)
