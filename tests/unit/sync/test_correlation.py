"""Correlation over lag, and what chance can do."""

from __future__ import annotations

import numpy as np
import pytest
from infinitetalk.sync.correlation import FALSE_ALARMS, at_lags, chance_level, pearson


def signal(seed: int, frames: int, smooth: int = 5) -> np.ndarray:
    """Noise in which neighbors are alike, as in speech."""
    noise = np.random.default_rng(seed).standard_normal(frames + smooth)
    return np.convolve(noise, np.hanning(smooth + 2)[1:-1], mode="valid")[:frames]


@pytest.mark.parametrize("lag", [-3, 0, 4])
def test_it_is_the_usual_correlation_of_the_frames_that_have_a_counterpart(lag: int):
    picture, sound = signal(1, 50), signal(2, 50)
    a, b = picture[max(lag, 0) : 50 + min(lag, 0)], sound[max(-lag, 0) : 50 - max(lag, 0)]
    assert pearson(picture, sound, lag) == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_a_part_is_compared_with_the_sound_before_it():
    picture, sound = signal(1, 50), signal(2, 50)
    assert pearson(picture, sound, 4, 20, 30) == pytest.approx(np.corrcoef(picture[20:30], sound[16:26])[0, 1])


@pytest.mark.parametrize("late", [-7, -1, 0, 1, 7])
def test_a_positive_lag_is_a_late_picture(late: int):
    whole = signal(3, 220)
    by_lag = at_lags(whole[10 - late : 210 - late], whole[10:210], 10)
    assert by_lag.argmax() - 10 == late
    assert by_lag.max() == pytest.approx(1)


@pytest.mark.parametrize("flat", [np.zeros(30), np.full(30, 0.1)])
def test_a_flat_signal_correlates_with_nothing(flat: np.ndarray):
    assert (at_lags(flat, signal(4, 30), 5) == 0).all()
    assert (at_lags(signal(4, 30), flat, 5) == 0).all()
    assert np.isfinite(chance_level(flat, signal(4, 30), 10, 20))


def test_lags_beyond_the_signals_have_no_correlation():
    assert pearson(signal(5, 10), signal(6, 10), 9) == 0
    assert pearson(signal(5, 10), signal(6, 10), -20) == 0


@pytest.mark.parametrize("smooth", [1, 5, 9])
def test_unrelated_signals_seldom_exceed_the_level_of_chance(smooth: int):
    exceeded = []
    for seed in range(200):
        picture, sound = signal(2 * seed, 250, smooth), signal(2 * seed + 1, 250, smooth)
        level = chance_level(picture, sound, 50, tries=20)
        exceeded.append(np.abs(at_lags(picture, sound, 10)).max() > level)
    assert np.mean(exceeded) <= 2 * FALSE_ALARMS


def test_a_related_signal_exceeds_it():
    picture = signal(1, 250)
    assert pearson(picture, picture + signal(2, 250), 0) > chance_level(picture, picture + signal(2, 250), 50, 600)
