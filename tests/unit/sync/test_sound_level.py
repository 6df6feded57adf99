"""Level of a sound per frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.sync.sound_level import SILENT_DB, SoundTrack, measure
from infinitetalk.video_io.read.audio_source import AudioError, TensorAudio

RATE = 16_000


def tone(seconds: float, amplitude: float = 0.5, channels: int = 1) -> torch.Tensor:
    """1 kHz, [1, channels, T]."""
    wave = amplitude * torch.sin(2 * torch.pi * 1000 * torch.arange(round(seconds * RATE)) / RATE)
    return wave.expand(1, channels, -1)


def track_of(waveform: torch.Tensor, frames: int, fps: float = 25, columns: int = 8) -> SoundTrack:
    sound = TensorAudio({"waveform": waveform, "sample_rate": RATE})
    return measure(sound, frames, Fraction(fps), columns, lambda: None)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_a_tone_has_the_level_of_its_root_mean_square(channels: int, offset: float):
    track = track_of(tone(2.0, 0.5, channels) + offset, 50)
    np.testing.assert_allclose(track.level, 20 * np.log10(0.5 / np.sqrt(2)), atol=0.05)
    assert track.steady
    assert not track.silent


def test_opposite_channels_do_not_cancel():
    wave = tone(1.0, 0.5, 2) * torch.tensor([1.0, -1.0])[None, :, None]
    np.testing.assert_allclose(track_of(wave, 25).level, 20 * np.log10(0.5 / np.sqrt(2)), atol=0.05)


@pytest.mark.parametrize("fps", [25, 24000 / 1001, 60])
def test_a_burst_is_loudest_in_its_own_frame_and_alike_on_both_sides(fps: float):
    wave = torch.zeros(1, 1, 2 * RATE)
    first, end = round(20 / fps * RATE), round(21 / fps * RATE)
    wave[..., first:end] = tone(1.0)[..., : end - first]
    level = track_of(wave, 40, fps).level
    assert level.argmax() == 20
    np.testing.assert_allclose(level[19], level[21], atol=0.1)


def test_beyond_its_end_a_sound_is_silence():
    track = track_of(tone(1.0), 50)
    assert track.seconds == 1.0
    assert (track.level[27:] == SILENT_DB).all()
    assert (track.loudness()[27:] == 0).all()
    assert not track.steady


def test_a_sound_longer_than_the_video_is_read_no_further_than_needed():
    track = track_of(tone(9.0), 25)
    assert len(track.level) == 25
    assert track.seconds == 1.0


@pytest.mark.parametrize("waveform", [torch.zeros(1, 2, RATE), torch.zeros(1, 1, 0)])
def test_silence_and_an_empty_sound_are_silent(waveform: torch.Tensor):
    track = track_of(waveform, 25)
    assert track.silent
    assert (track.level == SILENT_DB).all()


def test_ten_decibels_more_are_twice_as_loud():
    quiet = tone(1.0, 0.5 * 10 ** (-10 / 20))
    loudness = track_of(torch.cat([quiet, tone(1.0)], dim=2), 50).loudness()
    np.testing.assert_allclose([loudness[5], loudness[45]], [0.5, 1.0], atol=0.01)


def test_the_pieces_in_which_a_sound_comes_do_not_matter():
    waveform = torch.rand(1, 2, 3 * RATE) - 0.5

    class Pieces:
        sample_rate, channels, notes = RATE, 2, ()

        def blocks(self) -> Iterator[np.ndarray]:
            yield from (piece.numpy().T for piece in waveform[0].split(777, dim=1))

    whole, pieces = track_of(waveform, 60), measure(Pieces(), 60, Fraction(25), 8, lambda: None)
    for name in ("level", "low", "high"):
        np.testing.assert_allclose(getattr(pieces, name), getattr(whole, name), atol=1e-9)


def test_the_wave_has_the_extremes_of_every_column():
    waveform = torch.zeros(1, 1, RATE)
    waveform[..., 100], waveform[..., -1] = 0.75, -0.5
    track = track_of(waveform, 25, columns=4)
    np.testing.assert_allclose(track.high, [0.75, 0, 0, 0])
    np.testing.assert_allclose(track.low, [0, 0, 0, -0.5])


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_sample_that_is_no_number_is_refused_with_its_time(bad: float):
    waveform = tone(2.0).clone()
    waveform[..., RATE + 160] = bad
    with pytest.raises(UserError, match=r"sample at 1\.010 s that is not a number"):
        track_of(waveform, 50)


def test_a_sound_that_breaks_off_is_refused_in_a_sentence():
    class Broken:
        sample_rate, channels, notes = RATE, 1, ()

        def blocks(self) -> Iterator[np.ndarray]:
            yield np.zeros((100, 1), np.float32)
            raise AudioError("The video's own sound cannot be decoded: bad data.")

    with pytest.raises(UserError, match=r"cannot be decoded: bad data: connect another sound to audio\.$"):
        measure(Broken(), 50, Fraction(25), 8, lambda: None)
