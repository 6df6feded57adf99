"""The soundtrack: what goes into the file in place of the voices' mix, and whether it is in step with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.embeds import AudioEmbeds, embed_voices
from infinitetalk.audio.soundtrack import offset_seconds, with_soundtrack
from infinitetalk.audio.wav2vec import Wav2VecEncoder
from infinitetalk.errors import UserError

from ...support import media

RATE, SECONDS = 44_100, 4.0


def clip(samples: np.ndarray, rate: int = RATE) -> AudioClip:
    """A sound of `[T, C]`."""
    return AudioClip(torch.from_numpy(np.ascontiguousarray(samples.T)).float(), rate)


def music(seconds: float, rate: int = RATE) -> np.ndarray:
    """Chords on a beat of drums, `[T, 2]`, louder than any voice: nothing of it sounds like speech."""
    time = np.arange(round(seconds * rate)) / rate
    notes = sum(np.sin(2 * np.pi * pitch * time) for pitch in (110, 138.6, 164.8, 220))
    drums = np.random.default_rng(7).standard_normal((len(time), 2)) * np.exp(-12 * (time % 0.5))[:, None]
    return 0.2 * notes[:, None] * (1 + (time * 2 % 1))[:, None] + 0.4 * drums


def song(offset_seconds: float = 0.0, level: float = 1.0) -> AudioClip:
    """Music with the voice in it, later by an offset."""
    voice = media.speech(SECONDS, RATE)
    shifted = np.roll(np.pad(voice, ((RATE, RATE), (0, 0))), round(offset_seconds * RATE), axis=0)[RATE:-RATE]
    return clip(music(SECONDS) + level * shifted)


@pytest.fixture
def voice() -> AudioClip:
    return clip(media.speech(SECONDS, RATE))


@pytest.fixture
def embeds(encoder: Wav2VecEncoder, voice: AudioClip) -> AudioEmbeds:
    return embed_voices(encoder, [voice])


@pytest.mark.parametrize("offset", [0.0, 0.004, 0.012, -0.012, 0.3, -0.85])
@pytest.mark.parametrize("level", [1.0, 0.3])
def test_the_offset_of_a_voice_in_a_song_is_found(voice: AudioClip, offset: float, level: float):
    assert offset_seconds(voice, song(offset, level)) == pytest.approx(offset, abs=0.0005)


def test_a_rate_and_channels_of_its_own_do_not_matter(voice: AudioClip):
    slow = AudioClip(voice.samples[:, ::2], RATE // 2)
    assert offset_seconds(slow, song(0.1)) == pytest.approx(0.1, abs=0.0005)


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_sound_without_the_voice_is_told(voice: AudioClip, seed: int):
    assert offset_seconds(voice, clip(music(SECONDS))) is None
    assert offset_seconds(voice, AudioClip(media.make_sound(SECONDS, RATE, seed=seed)["waveform"][0], RATE)) is None


def test_silence_is_in_step_with_everything(voice: AudioClip):
    silence = AudioClip(torch.zeros(1, RATE), RATE)
    assert offset_seconds(silence, voice) == offset_seconds(voice, silence) == 0.0


def test_the_song_goes_into_the_file_sample_by_sample_and_nothing_is_said(embeds: AudioEmbeds):
    sung, notes = with_soundtrack(embeds, song())
    assert notes == []
    assert torch.equal(sung.sound["waveform"][0], song().samples)
    assert sung == replace(embeds, sound=sung.sound)


@pytest.mark.parametrize(("offset", "said"), [(0.012, "12 ms later"), (-0.25, "250 ms earlier")])
def test_more_than_10_ms_are_said(embeds: AudioEmbeds, offset: float, said: str):
    assert [said in note for note in with_soundtrack(embeds, song(offset))[1]] == [True]
    assert with_soundtrack(embeds, song(offset / abs(offset) * 0.009))[1] == []


def test_another_length_is_said_and_what_is_longer_is_left_out(embeds: AudioEmbeds):
    longer = clip(np.concatenate([song().samples.T.numpy(), music(1.0)]))
    sung, notes = with_soundtrack(embeds, longer)
    assert notes == ["The soundtrack has 5.00 s and the voices have 4.00 s: the rest of the soundtrack is left out."]
    assert sung.sound["waveform"].shape[-1] == SECONDS * RATE

    sung, notes = with_soundtrack(embeds, song().cut(3 * RATE))
    assert notes == ["The soundtrack has 3.00 s and the voices have 4.00 s: the video ends in silence."]


def test_a_separators_few_samples_more_or_less_are_not_worth_a_word(embeds: AudioEmbeds):
    assert with_soundtrack(embeds, song().cut(round(SECONDS * RATE) - 1000))[1] == []
    assert with_soundtrack(embeds, clip(np.pad(song().samples.T.numpy(), ((0, 1000), (0, 0)))))[1] == []


def test_nothing_is_said_where_too_little_is_heard_to_look_for(encoder: Wav2VecEncoder, voice: AudioClip):
    loud = AudioClip(voice.samples[:, RATE:], RATE)
    begun = AudioClip(song().samples[:, RATE:], RATE)
    assert [with_soundtrack(embed_voices(encoder, [loud.cut(n)]), begun.cut(n))[1] for n in (500, 1764, 3528)] == [
        []
    ] * 3
    hiss = AudioClip(torch.rand(1, RATE) * 1e-4, RATE)  # what a separator leaves of the bars before the first word
    assert with_soundtrack(embed_voices(encoder, [hiss]), song().cut(RATE))[1] == []


def test_what_is_no_number_is_refused(embeds: AudioEmbeds):
    broken = song()
    broken.samples[0, RATE] = torch.nan
    with pytest.raises(UserError, match=r"soundtrack has a sample at 1.000 s that is not a number"):
        with_soundtrack(embeds, broken)
