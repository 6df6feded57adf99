"""Time stamps of any pattern at a constant rate: nothing drifts, the first and the last one are in their places."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from infinitetalk.video_io.read.timing import Grid, constant_rate

TICKS = (Fraction(1, 1000), Fraction(1, 90_000), Fraction(1, 12_800), Fraction(1001, 30_000))
RATES = (Fraction(24_000, 1001), Fraction(25), Fraction(30_000, 1001), Fraction(50), Fraction(60))

patterns = st.lists(st.integers(1, 400), min_size=1, max_size=60)


@given(steps=patterns, tick=st.sampled_from(TICKS), begins=st.integers(-10_000, 10_000))
def test_every_frame_shows_the_last_picture_at_or_before_its_time(steps, tick, begins):
    stamps = [begins]
    for step in steps:
        stamps.append(stamps[-1] + step)
    grid = Grid(stamps[0] * tick, constant_rate(stamps, tick, None), tick)
    slots = [grid.slot(stamp * tick) for stamp in stamps]
    assert slots[0] == 0
    assert slots == sorted(slots)
    assert grid.count(stamps[-1] * tick, Fraction(0)) == slots[-1] + 1
    for stamp, slot in zip(stamps, slots, strict=True):
        assert grid.time(slot) >= stamp * tick - tick / 2
        assert grid.time(slot - 1) < stamp * tick


@given(frames=st.integers(2, 2000), rate=st.sampled_from(RATES), begins=st.integers(0, 5000))
@pytest.mark.parametrize("ticks", [1000, 90_000, 1_000_000])
def test_a_constant_rate_comes_back_frame_by_frame_though_stamps_are_rounded(ticks, frames, rate, begins):
    tick = Fraction(1, ticks)
    stamps = [begins + round(frame / rate / tick) for frame in range(frames)]
    found = constant_rate(stamps, tick, rate)
    assert found == rate
    grid = Grid(begins * tick, found, tick)
    assert [grid.slot(stamp * tick) for stamp in stamps] == list(range(frames))
    assert grid.count(stamps[-1] * tick, round(1 / rate / tick) * tick) == frames


@given(
    pause=st.integers(200, 100_000), rate=st.sampled_from(RATES), before=st.integers(5, 50), after=st.integers(5, 50)
)
def test_a_pause_does_not_change_the_rate(pause, rate, before, after):
    tick = Fraction(1, 90_000)
    stamps = [round(frame / rate / tick) for frame in range(before)]
    stamps += [stamps[-1] + 90 * pause + round(frame / rate / tick) for frame in range(after)]
    average = (len(stamps) - 1) / ((stamps[-1] - stamps[0]) * tick)
    assert constant_rate(stamps, tick, average) == rate


def test_one_picture_has_the_rate_that_it_says():
    assert constant_rate([0], Fraction(1, 1000), Fraction(25)) == 25
    assert constant_rate([0], Fraction(1, 1000), None) == 1
