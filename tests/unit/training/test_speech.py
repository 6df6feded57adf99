"""Speech made for training by espeak-ng."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from training import speech
from training.speech import PEAK, RATE, Library, Line

HELD_OUT = pytest.mark.parametrize("held_out", [False, True])


def lines(held_out: bool, count: int = 2000) -> list[Line]:
    rng = np.random.default_rng(0)
    return [Line.random(rng, held_out=held_out) for _ in range(count)]


def parts(voices: tuple) -> set[str]:
    return {part for language in voices[1].values() for column in language for part in column}


def level_db(sound: np.ndarray) -> float:
    return 10 * np.log10(np.mean(sound**2))


def test_held_out_voices_and_sentences_are_never_trained_on():
    training, held_out = lines(False), lines(True)
    assert not {line.voice for line in training} & {line.voice for line in held_out}
    assert not {line.text for line in training} & {line.text for line in held_out}
    assert not set(speech.TRAINING_VOICES[0]) & set(speech.HELD_OUT_VOICES[0])
    assert not parts(speech.TRAINING_VOICES) & parts(speech.HELD_OUT_VOICES)


def test_whole_languages_are_held_out():
    trained = {line.voice.split("+")[0] for line in lines(False)}
    assert len({line.voice.split("+")[0] for line in lines(True)} - trained) >= 4


def test_the_voice_of_the_demo_is_held_out():
    assert "en-us+f3" not in {line.voice for line in lines(False)}
    assert "en-us+f3" in {line.voice for line in lines(True)}


@HELD_OUT
def test_lines_differ_in_everything(held_out: bool):
    drawn = lines(held_out)
    assert len({line.text for line in drawn}) > 400
    assert len({line.voice for line in drawn}) >= 30
    assert {min(line.speed for line in drawn), max(line.speed for line in drawn)} == {110, 200}
    assert {min(line.pitch for line in drawn), max(line.pitch for line in drawn)} == {20, 80}


def test_espeak_knows_every_variant(espeak: str):
    # It says nothing about one that it does not know, and speaks as if there were none.
    told = subprocess.run([espeak, "--voices=variant"], capture_output=True, check=True).stdout.decode()
    files = {word for row in told.splitlines() for word in row.split() if word.startswith("!v/")}
    for variants, _ in (speech.TRAINING_VOICES, speech.HELD_OUT_VOICES):
        assert {f"!v/{variant}" for variant in variants if variant} <= files


@pytest.mark.parametrize("language", [*speech.TRAINING_VOICES[1], *speech.HELD_OUT_VOICES[1]])
def test_every_language_is_spoken(espeak: str, language: str):
    columns = {**speech.TRAINING_VOICES[1], **speech.HELD_OUT_VOICES[1]}[language]
    sound = Line(" ".join(column[0] for column in columns), language, 150, 50).spoken()
    assert sound.dtype == np.float32
    assert 1 < len(sound) / RATE < 6
    np.testing.assert_allclose(np.abs(sound).max(), PEAK, rtol=1e-5)


def test_an_utterance_is_as_long_as_espeak_makes_it(espeak: str, tmp_path: Path):
    file = tmp_path / "spoken.wav"
    command = [espeak, "-w", str(file), "-v", "de+f2", "-s", "150", "-p", "50", "Guten Tag zusammen."]
    subprocess.run(command, check=True)
    whole, rate = soundfile.read(file)
    audible = np.flatnonzero(np.abs(whole) > 0.01 * np.abs(whole).max())
    sound = Line("Guten Tag zusammen.", "de+f2", 150, 50).spoken()
    np.testing.assert_allclose(len(sound) / RATE, np.ptp(audible) / rate, atol=0.02)


def test_an_utterance_starts_and_ends_with_sound(espeak: str):
    sound = speech.spoken(np.random.default_rng(1), held_out=False)
    assert abs(sound[0]) >= 0.01 * PEAK
    assert abs(sound[-1]) >= 0.01 * PEAK


def test_an_unknown_voice_is_refused(espeak: str):
    with pytest.raises(RuntimeError, match="could not speak as nobody"):
        Line("Hello.", "nobody", 150, 50).spoken()


def test_without_espeak_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="apt install espeak-ng"):
        speech.spoken(np.random.default_rng(0), held_out=False)


@HELD_OUT
def test_the_same_seed_makes_the_same_clip(espeak: str, held_out: bool):
    one, same, other = (speech.sound_clip(np.random.default_rng(seed), 4.321, held_out=held_out) for seed in (3, 3, 4))
    assert one.shape == (round(4.321 * RATE),)
    assert one.dtype == np.float32
    assert np.abs(one).max() < 1
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


@pytest.fixture(scope="module")
def clips(espeak: str) -> dict[bool, list[np.ndarray]]:
    """Clips of one library, by whether they are clean."""
    library = Library(np.random.default_rng(5), 8, held_out=False)
    rng = np.random.default_rng(6)
    return {clean: [library.sound_clip(rng, 8, clean=clean) for _ in range(40)] for clean in (False, True)}


def test_half_of_the_clips_have_noise_unless_they_are_clean(clips: dict[bool, list[np.ndarray]]):
    assert all(silent_share(clip) > 0.02 for clip in clips[True])
    noisy = [clip for clip in clips[False] if silent_share(clip) < 0.001]
    assert 10 < len(noisy) < 30
    for clip in noisy:
        pieces = [level_db(piece) for piece in np.split(clip, 100)]
        assert -65 < min(pieces) - level_db(clip) < -25


def test_clips_differ_in_level_and_in_how_they_start(clips: dict[bool, list[np.ndarray]]):
    assert np.ptp([level_db(clip) for clip in clips[True]]) > 10
    silent = [not clip[: RATE // 10].any() for clip in clips[True]]
    assert 3 < sum(silent) < 25


def silent_share(clip: np.ndarray) -> float:
    return float(np.mean(clip == 0))
