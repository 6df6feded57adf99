"""One recording, a sound for each speaker: exact where they speak, silent elsewhere, no click at the borders."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from infinitetalk.audio import audio_clip
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.segments import parse_segments
from infinitetalk.audio.split import choose_speakers, split_speakers
from infinitetalk.errors import UserError

from ...support import media

RATE = 48_000
FADE = RATE // 100


@pytest.fixture
def recording() -> AudioClip:
    """4 s of two different channels, never silent."""
    return AudioClip(media.make_sound(4.0, RATE, channels=2)["waveform"][0], RATE)


def split(recording: AudioClip, text: str, speakers: str = "") -> dict[str, AudioClip]:
    """Sounds by name."""
    found = parse_segments(text)
    return {part.speaker: part.sound for part in split_speakers(recording, found, choose_speakers(found, speakers))}


def test_each_speaker_gets_the_own_words_bit_for_bit_and_silence_elsewhere(recording: AudioClip):
    sounds = split(recording, "0.5 1.5 Anna\n2 3 Ben\n3.5 9 Anna")

    assert list(sounds) == ["Anna", "Ben"]
    for sound in sounds.values():
        assert (sound.samples.shape, sound.sample_rate) == (recording.samples.shape, RATE)
    whole, anna = recording.samples, sounds["Anna"].samples
    for start, end in ((0.5, 1.5), (3.5, 4.0)):
        inside = slice(round(start * RATE) + FADE, round(end * RATE) - FADE)
        assert torch.equal(anna[:, inside], whole[:, inside])
    for start, end in ((0, 0.5), (1.5, 3.5)):
        assert not anna[:, round(start * RATE) : round(end * RATE)].any()


def test_the_borders_are_faded_within_the_turn(recording: AudioClip):
    constant = AudioClip(torch.ones(1, 4 * RATE), RATE)
    wave = split(constant, "1 2 Anna\n3 3.005 Anna")["Anna"].samples[0]

    assert wave[: RATE + 1].max() == 0
    assert wave.diff().abs().max() <= 1.01 / (FADE / 4)  # the shorter one rises in 2.5 ms
    assert wave[RATE : RATE + FADE + 1] == pytest.approx(torch.linspace(0, 1, FADE + 1), abs=1e-6)
    assert wave[RATE + FADE : 2 * RATE - FADE].min() == 1


def test_where_both_speak_both_get_the_sound(recording: AudioClip):
    sounds = split(recording, "0 2 Anna\n1 3 Ben")
    both = slice(RATE + FADE, 2 * RATE - FADE)
    for sound in sounds.values():
        assert torch.equal(sound.samples[:, both], recording.samples[:, both])


def test_turns_that_touch_or_overlap_have_no_dip_between_them():
    constant = AudioClip(torch.ones(1, 4 * RATE), RATE)
    wave = split(constant, "0.5 1 Anna\n1 2 Anna\n1.5 1.6 Anna\n2.01 3 Anna")["Anna"].samples[0]
    assert wave[RATE // 2 + FADE : 3 * RATE - FADE].min() == 1


def test_a_recording_of_any_length_goes_through_in_pieces(recording: AudioClip, monkeypatch: pytest.MonkeyPatch):
    whole = split(recording, "0.5 1.5 Anna\n1.2 3 Ben")
    pieces = AudioClip.chunks
    monkeypatch.setattr(audio_clip.AudioClip, "chunks", lambda self, samples=1000: pieces(self, 1000))
    for name, sound in split(recording, "0.5 1.5 Anna\n1.2 3 Ben").items():
        assert torch.equal(sound.samples, whole[name].samples)


def test_speakers_come_in_the_order_of_their_first_words_or_as_named():
    found = parse_segments("2 3 Ben\n0 1 Anna\n4 5 Cleo")
    assert choose_speakers(found) == ["Anna", "Ben", "Cleo"]
    assert choose_speakers(found, "cleo, ANNA") == ["Cleo", "Anna"]
    assert choose_speakers(found, "Ben\nCleo\n") == ["Ben", "Cleo"]
    assert choose_speakers(found, "Ben\uff0cAnna\u3001Cleo") == ["Ben", "Anna", "Cleo"]


@pytest.mark.parametrize(
    ("speakers", "said"),
    [
        ("Anna, Dora", "Dora is in speakers but not in the segments: there are Anna, Ben"),
        ("Anna, anna", "speakers names somebody twice"),
        ("", "5 people speak (Anna, Ben, C, D, E), and 4 can be split"),
    ],
)
def test_speakers_that_cannot_be_split_are_refused(speakers: str, said: str):
    found = parse_segments("0 1 Anna\n1 2 Ben\n2 3 C\n3 4 D\n4 5 E")
    with pytest.raises(UserError) as refused:
        choose_speakers(found, speakers)
    assert str(refused.value).startswith(said)


def test_segments_of_another_recording_are_refused_with_their_line(recording: AudioClip):
    with pytest.raises(UserError, match=r"Line 2 of the segments begins at 4\.00 s, but the recording has 4\.00 s"):
        split(recording, "0 1 Anna\n4 5 Ben")


def test_what_each_says_is_counted_without_what_lies_beyond_the_end(recording: AudioClip):
    found = parse_segments("0.5 1.5 Anna\n1 2 Anna\n3 9 Anna")
    (part,) = split_speakers(recording, found, ["Anna"])
    assert part.turns == [(Fraction(1, 2), 2), (3, 4)]
    assert part.seconds == 2.5
