"""The movement of a mouth that is driven by sound."""

from __future__ import annotations

import numpy as np
import pytest
from training.articulation import Articulation, articulate

FPS = 25
RATES = pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])


def tone(seconds: float, hertz: float = 1000, rate: int = 16000, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def silence(seconds: float, rate: int = 16000) -> np.ndarray:
    return np.zeros(round(seconds * rate))


def babble(seconds: float, rate: int = 16000) -> np.ndarray:
    """A voice of many harmonics with syllables of 3 to 5 Hz, and pauses of half a second."""
    t = np.arange(round(seconds * rate)) / rate
    voice = sum(np.sin(2 * np.pi * 140 * k * t + k * k) / k for k in range(1, 25))
    syllables = np.sin(np.pi * (4 * t + 0.4 * np.sin(0.9 * t))) ** 2
    return 0.1 * voice * syllables * (t % 2.5 > 0.5)


def level_db(sound: np.ndarray, frames: int, rate: int = 16000) -> np.ndarray:
    """Level of 80 ms around the middle of each frame, not below -50."""
    padded = np.pad(sound, round(0.04 * rate))
    starts = [round((i + 0.5) / FPS * rate) for i in range(frames)]
    power = [np.mean(padded[start : start + round(0.08 * rate)] ** 2) for start in starts]
    return 10 * np.log10(np.maximum(power, 1e-5))


def assert_alike(one: Articulation, other: Articulation, within: float) -> None:
    np.testing.assert_allclose(one.opening, other.opening, atol=within)
    np.testing.assert_allclose(one.width, other.width, atol=within)


@pytest.mark.parametrize("sound", [silence(2), silence(0), np.full(32000, 0.3), np.zeros((32000, 2))])
def test_silence_leaves_the_mouth_closed_and_at_rest(sound: np.ndarray):
    mouth = articulate(sound, 16000, 50)
    assert mouth.opening.dtype == mouth.width.dtype == np.float32
    np.testing.assert_array_equal(mouth.opening, np.zeros(50))
    np.testing.assert_array_equal(mouth.width, np.full(50, 0.5))


def test_a_very_quiet_sound_hardly_opens_it():
    assert articulate(tone(2, amplitude=10 ** (-75 / 20)), 16000, 50).opening.max() < 0.15


def test_a_tone_opens_it_fully_and_its_end_closes_it():
    opening = articulate(np.concatenate([silence(1), tone(1), silence(1)]), 16000, 75).opening
    assert opening[:20].max() == 0
    assert opening[30:48].min() > 0.95
    assert opening[62:].max() < 0.02


def test_it_opens_faster_than_it_closes():
    opening = articulate(np.concatenate([silence(1), tone(1), silence(1)]), 16000, 75).opening
    moving = (opening > 0.1) & (opening < 0.9)
    assert 1 <= moving[:40].sum() < moving[40:].sum() <= 8


def test_eleven_decibels_less_are_half_open():
    sound = np.concatenate([tone(1), tone(1, amplitude=0.5 * 10 ** (-11 / 20))])
    np.testing.assert_allclose(articulate(sound, 16000, 50).opening[35:48], 0.5, atol=0.02)


def test_the_opening_follows_the_level_without_delay():
    frames = 300
    sound = babble(frames / FPS)
    opening, level = articulate(sound, 16000, frames).opening, level_db(sound, frames)
    lags = list(range(-4, 5))
    likeness = [np.corrcoef(opening[10 + lag : frames - 10 + lag], level[10:-10])[0, 1] for lag in lags]
    best = int(np.argmax(likeness))
    before, peak, after = likeness[best - 1 : best + 2]
    assert abs(lags[best] + 0.5 * (before - after) / (before - 2 * peak + after)) < 0.5
    assert peak > 0.85


@pytest.mark.parametrize("fps", [16, 24000 / 1001, 50])
def test_frames_of_another_rate_show_the_same_movement(fps: float):
    sound = babble(6)
    usual, other = articulate(sound, 16000, 600, 100), articulate(sound, 16000, round(6 * fps), fps)
    shown, usual_shown = (np.arange(round(6 * fps)) + 0.5) / fps, (np.arange(600) + 0.5) / 100
    np.testing.assert_allclose(other.opening, np.interp(shown, usual_shown, usual.opening), atol=0.05)


def test_the_gain_does_not_matter():
    sound = babble(5)
    usual = articulate(sound, 16000, 125)
    assert usual.opening.max() > 0.9
    for decibels in (-20, -10, 6):
        assert_alike(usual, articulate(sound * 10 ** (decibels / 20), 16000, 125), 1e-4)


@RATES
def test_the_rate_of_the_sound_does_not_matter(rate: int):
    # 8000 has less of the treble.
    assert_alike(articulate(babble(5), 16000, 125), articulate(babble(5, rate), rate, 125), 0.02)


def test_channels_do_not_cancel_and_are_one_mouth():
    sound = babble(3)
    usual = articulate(sound, 16000, 75)
    assert_alike(usual, articulate(np.stack([sound, -sound], axis=1), 16000, 75), 1e-4)


def test_noise_far_below_leaves_pauses_closed():
    sound = babble(10)
    noise = np.random.default_rng(0).standard_normal(len(sound))
    noise *= np.sqrt(np.mean(sound**2)) * 10 ** (-35 / 20)
    opening = articulate(sound + noise, 16000, 250).opening
    pause = (np.arange(250) + 0.5) / FPS % 2.5
    assert opening[(pause > 0.3) & (pause < 0.4)].max() < 0.1


@pytest.mark.parametrize(("hertz", "width"), [(400, 0), (600, 0), (1000, 0.25), (1400, 0.5), (2200, 1), (3000, 1)])
@RATES
def test_low_sound_is_round_and_high_sound_is_wide(hertz: float, width: float, rate: int):
    mouth = articulate(tone(1, hertz, rate), rate, 25)
    np.testing.assert_allclose(mouth.width[5:20], width, atol=0.03)


def test_the_width_changes_with_the_sound_and_rests_when_closed():
    sound = np.concatenate([tone(1, 600), tone(1, 2200), silence(1)])
    width = articulate(sound, 16000, 75).width
    assert width[:23].max() < 0.1
    assert width[27:48].min() > 0.9
    assert abs(width[24] - 0.5 + width[25] - 0.5) < 0.1
    np.testing.assert_allclose(width[62:], 0.5, atol=0.02)


def test_the_width_hardly_changes_while_the_mouth_is_almost_closed():
    mouth = articulate(np.concatenate([tone(1), tone(1, 2200, amplitude=0.5 * 10 ** (-21 / 20))]), 16000, 50)
    assert 0.01 < mouth.opening[40] < 0.1
    assert 0.5 < mouth.width[40] < 0.65


def test_frames_after_the_sound_are_closed_and_sound_after_the_frames_is_not_needed():
    assert articulate(tone(1), 16000, 100).opening[38:].max() < 0.01
    assert_alike(articulate(tone(9), 16000, 25), articulate(tone(2), 16000, 25), 1e-3)


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_few_frames_are_enough(frames: int):
    mouth = articulate(tone(1), 16000, frames)
    assert len(mouth.opening) == len(mouth.width) == frames
