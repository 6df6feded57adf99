"""Rates, frames and samples: exact, the same from whatever form the rate came in, and for any length."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from infinitetalk.errors import UserError
from infinitetalk.timebase import (
    FRAME_TOLERANCE,
    MAX_FRAME_RATE,
    NTSC_NOMINAL_RATES,
    exact_frame_rate,
    first_frame_at,
    frames_of_samples,
    frames_of_seconds,
    samples_covering_frames,
    samples_of_frames,
)

RATES = st.one_of(
    st.sampled_from([8, 12.5, 23.976, 24, 25, 29.97, 30, 47.952, 59.94, 60, 119.88, 0.1]),
    st.integers(1, MAX_FRAME_RATE * 1000).map(lambda thousandths: thousandths / 1000),
).map(exact_frame_rate)
SAMPLE_RATES = st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
FRAMES = st.integers(1, 10**7)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (23.976, Fraction(24_000, 1001)),
        (23.98, Fraction(24_000, 1001)),
        (24_000 / 1001, Fraction(24_000, 1001)),
        (29.97, Fraction(30_000, 1001)),
        (Fraction(2997, 100), Fraction(30_000, 1001)),
        (47.952, Fraction(48_000, 1001)),
        (59.94, Fraction(60_000, 1001)),
        (119.88, Fraction(120_000, 1001)),
        (25.0, Fraction(25)),
        (25, Fraction(25)),
        (12.5, Fraction(25, 2)),
        (33.333, Fraction(33_333, 1000)),
        (0.1, Fraction(1, 10)),
        (Fraction(25_000, 1001), Fraction(25_000, 1001)),
        ("29.97", Fraction(30_000, 1001)),
        ("30000/1001", Fraction(30_000, 1001)),
        (" 25 ", Fraction(25)),
    ],
)
def test_a_rate_is_the_fraction_that_is_meant(written, meant):
    assert exact_frame_rate(written) == meant


@pytest.mark.parametrize("nominal", NTSC_NOMINAL_RATES)
def test_the_rates_of_television_are_known_at_any_number_of_digits_and_whole_rates_stay_whole(nominal):
    meant = Fraction(nominal * 1000, 1001)
    assert {exact_frame_rate(round(float(meant), digits)) for digits in (2, 3, 4, 6, 12)} == {meant}
    assert exact_frame_rate(nominal) == nominal


@given(rate=RATES)
def test_an_exact_rate_stays_what_it_is_as_a_fraction_a_float_and_a_text(rate: Fraction):
    assert exact_frame_rate(rate) == exact_frame_rate(float(rate)) == exact_frame_rate(str(rate)) == rate


@given(written=st.floats(0.001, MAX_FRAME_RATE))
def test_a_rate_is_never_far_from_what_was_written(written: float):
    assert float(exact_frame_rate(written)) == pytest.approx(written, abs=0.005)


@pytest.mark.parametrize(
    "nonsense",
    [0, -25, float("nan"), float("inf"), -math.inf, 1000.5, 10**400, "", "fast", "25/0", "nan", Fraction(-1, 2)],
)
def test_what_is_no_rate_is_refused_with_a_sentence_that_names_it(nonsense):
    with pytest.raises(UserError, match=r"^The frame rate is .*; more than 0 and at most 1000 is needed: set fps\.$"):
        exact_frame_rate(nonsense)


@given(frames=FRAMES, rate=RATES, sample_rate=SAMPLE_RATES, more=st.integers(-3, 3))
def test_the_number_of_frames_is_exact_at_every_length(frames: int, rate: Fraction, sample_rate: int, more: int):
    samples = max(1, samples_covering_frames(frames, sample_rate=sample_rate, frame_rate=rate) + more)
    count = frames_of_samples(samples, sample_rate=sample_rate, frame_rate=rate)
    length = Fraction(samples, sample_rate) * rate  # in frames
    assert count >= 1
    assert length <= count + FRAME_TOLERANCE
    assert count == 1 or length > count - 1 + FRAME_TOLERANCE


@given(frames=FRAMES, rate=RATES)
@example(frames=90_000, rate=Fraction(30_000, 1001))
def test_so_many_frames_last_so_many_frames(frames: int, rate: Fraction):
    assert frames_of_seconds(frames / rate, rate) == frames
    assert first_frame_at(frames / rate, rate) == frames
    assert first_frame_at(float(frames / rate), rate) == frames


@pytest.mark.parametrize("samples", [18_560, 36_480, 72_320, 128_640, 257_280, 259_840])
def test_no_frame_is_lost_where_the_references_float_loses_one(samples: int):
    """tests/golden/wav2vec.json lists these lengths: int(samples / 16000 * 25) is one less than the true 29, 57 …"""
    assert int(samples / 16_000 * 25) == samples // 640 - 1
    assert frames_of_samples(samples, sample_rate=16_000, frame_rate=Fraction(25)) == samples // 640


@given(frames=FRAMES, rate=RATES, sample_rate=SAMPLE_RATES)
def test_samples_are_the_nearest_to_the_frames_or_just_cover_them(frames: int, rate: Fraction, sample_rate: int):
    exact = frames * sample_rate / rate
    assert abs(samples_of_frames(frames, sample_rate=sample_rate, frame_rate=rate) - exact) <= Fraction(1, 2)
    assert 0 <= samples_covering_frames(frames, sample_rate=sample_rate, frame_rate=rate) - exact < 1


def test_an_hour_of_television_is_as_long_as_its_sound_to_the_sample():
    rate, hour = exact_frame_rate(29.97), 3600 * 48_000
    frames = frames_of_samples(hour, sample_rate=48_000, frame_rate=rate)
    assert frames == 107_893  # 2997/100 would make it 107,892
    assert 0 <= samples_of_frames(frames, sample_rate=48_000, frame_rate=rate) - hour < 48_000 / rate
