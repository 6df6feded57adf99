"""A sound that is too long to be kept: decoded as far as it is asked for, and to the bit as a short one."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.decode import decode_file
from infinitetalk.audio.embeds import embed_voices
from infinitetalk.audio.soundtrack import with_soundtrack
from infinitetalk.audio.wav2vec import Wav2VecEncoder
from infinitetalk.errors import UserError
from infinitetalk.spool import Spool
from infinitetalk.video_io.read.audio_source import AudioError
from infinitetalk.video_io.read.long_sound import LongSound
from infinitetalk.video_io.save.audio_fit import AudioFit, fit_audio
from infinitetalk.video_io.save.ffmpeg_process import find_ffmpeg
from infinitetalk.video_io.store.stored_video import sound_between

RATE, SECONDS, CHANNELS = 48_000, 3, 2
ROW_BYTES = 4 * CHANNELS
KEPT = RATE // 2  # samples
LOSSLESS, CODED = "x.wav", "x.mp3"


class Written:
    """Counts what goes to temporary files."""

    def __init__(self) -> None:
        self.bytes = 0

    def since(self) -> int:
        """Bytes since the last call."""
        count, self.bytes = self.bytes, 0
        return count


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    """Everything that is kept goes to a file."""
    counted, write = Written(), Spool._write

    def spy(self: Spool, file: object, rows: np.ndarray) -> None:
        counted.bytes += rows.nbytes
        write(self, file, rows)

    monkeypatch.setattr(Spool, "_write", spy)
    monkeypatch.setattr("infinitetalk.spool.MEMORY_BYTES", 0)
    return counted


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AudioClip]:
    """`decode_file` that finds half a second long."""

    def load(*arguments: object, **options: object) -> AudioClip:
        with monkeypatch.context() as patch:
            patch.setattr("infinitetalk.audio.decode.KEPT_BYTES", KEPT * ROW_BYTES)
            clip = decode_file(*arguments, **options)
        assert isinstance(clip.held, LongSound)
        return clip

    return load


@pytest.fixture(params=[LOSSLESS, CODED, "x.opus"])
def file(golden_dir: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Three seconds of stereo speech; of Opus for speech, a decoder that enters in the middle gives other bits."""
    path = tmp_path / request.param
    for_speech = ["-b:a", "16k", "-application", "voip"] if path.suffix == ".opus" else []
    source = golden_dir / "speech_44k1_stereo.wav"
    subprocess.run(
        [find_ffmpeg(), "-v", "error", "-i", str(source), "-t", str(SECONDS), "-ar", str(RATE), *for_speech, str(path)],
        check=True,
    )
    return path


@pytest.fixture
def plain(file: Path) -> AudioClip:
    """All of it, decoded at once."""
    clip = decode_file(file)
    assert isinstance(clip.held, torch.Tensor)
    return clip


@pytest.mark.parametrize("start", [0.0, 0.7])
def test_what_is_cut_off_equals_the_beginning_of_all(long, file: Path, start: float, written: Written):
    whole = decode_file(file, start)
    written.since()
    clip = long(file, start)
    assert (clip.length, clip.channels, clip.sample_rate) == (whole.length, whole.channels, whole.sample_rate)
    assert written.since() == KEPT * ROW_BYTES
    nearly_all = clip.length - 1
    for samples, decoded in {0: 0, KEPT: 0, RATE + 1: RATE + 1, RATE: 0, nearly_all: nearly_all}.items():
        assert torch.equal(clip.cut(samples).samples, whole.samples[:, :samples])
        assert written.since() == decoded * ROW_BYTES
    assert clip.cut(10**9) is clip
    assert torch.equal(clip.samples, whole.samples)


def test_a_part_of_a_file_is_long_too(long, file: Path):
    assert torch.equal(long(file, 0.3, 2.0).samples, decode_file(file, 0.3, 2.0).samples)
    with pytest.raises(UserError, match=r"3\.\d* s long, and 9 s from 0 s on were asked for"):
        long(file, 0.0, 9.0)
    with pytest.raises(UserError, match="start earlier"):
        long(file, 9.0)


def test_embeddings_and_sound_of_a_few_frames_are_those_of_a_short_sound(
    encoder: Wav2VecEncoder, long, file: Path, plain: AudioClip, written: Written
):
    soundtrack = long(file)
    voices = [long(file), long(file)]
    written.since()
    embeds = embed_voices(encoder, voices, combine="parallel", max_frames=20)
    assert all(voice.held._kept.shape[1] == 20 * RATE // 25 for voice in voices)
    wanted = embed_voices(encoder, [plain, plain], combine="parallel", max_frames=20)
    assert embeds.digests == wanted.digests
    assert all(
        torch.equal(a, b)
        for a, b in zip(embeds.features + embeds.silence, wanted.features + wanted.silence, strict=True)
    )
    assert torch.equal(embeds.sound["waveform"], wanted.sound["waveform"])

    sung, notes = with_soundtrack(embeds, soundtrack)
    assert soundtrack.held._kept.shape[1] <= (20 / 25 + 1) * RATE + 1
    expected, expected_notes = with_soundtrack(wanted, plain)
    assert torch.equal(sung.sound["waveform"], expected.sound["waveform"])
    assert notes == expected_notes


def test_all_of_it_is_embedded_as_a_short_sound_is(encoder: Wav2VecEncoder, long, file: Path, plain: AudioClip):
    embeds, wanted = (embed_voices(encoder, [clip]) for clip in (long(file), plain))
    assert embeds.digests == wanted.digests
    assert torch.equal(embeds.features[0], wanted.features[0])
    assert torch.equal(embeds.sound["waveform"], wanted.sound["waveform"])


@pytest.mark.parametrize("fit", AudioFit)
def test_a_saved_sound_is_the_same_and_needs_no_other_room(
    long, file: Path, plain: AudioClip, tmp_path: Path, fit: AudioFit, written: Written
):
    audio = long(file).to_audio()
    written.since()
    raw = []
    for number, sound in enumerate((AudioClip.from_audio(audio, "audio").held, Wrapped(plain))):
        fitted = fit_audio(
            sound, tmp_path / f"{number}.f32", fit, frames=40, frame_rate=Fraction(25), max_channels=CHANNELS
        )
        raw.append((fitted.samples, fitted.frames, fitted.path.read_bytes()))
    assert raw[0] == raw[1]
    assert written.since() == 0


class Wrapped:
    """A clip as a source of sound, all in one block."""

    def __init__(self, clip: AudioClip) -> None:
        self.sample_rate, self.channels, self.notes = clip.sample_rate, clip.channels, []
        self._rows = clip.samples.numpy().T

    def blocks(self) -> Iterator[np.ndarray]:
        yield self._rows


def test_the_sound_of_a_stretch_of_video_is_decoded_up_to_its_end(long, file: Path, plain: AudioClip):
    audio = long(file).to_audio()
    for start, stop in ((5, 20), (20, 30), (40, None), (0, 10_000)):
        share = sound_between(audio, start, stop, Fraction(25))
        assert torch.equal(share["waveform"], sound_between(plain.to_audio(), start, stop, Fraction(25))["waveform"])
        if stop == 30:
            assert audio._kept.shape[1] == 30 * RATE // 25


def test_as_an_audio_it_decodes_when_somebody_looks(long, file: Path, plain: AudioClip, written: Written):
    audio = long(file).to_audio()
    written.since()
    assert "waveform" in audio
    assert list(audio) == ["waveform", "sample_rate"]
    assert len(audio) == 2
    assert audio["sample_rate"] == RATE
    assert audio.get("title") is None
    assert "LongSound" in str(audio)
    assert not isinstance(audio, Mapping)  # newer cores look at all values of these
    AudioClip.from_audio(audio, "audio").check_finite("audio")
    assert written.since() == 0
    assert torch.equal(audio["waveform"], plain.samples[None])
    assert {**audio}["waveform"].shape == (1, CHANNELS, plain.length)
    written.since()
    for copied in (copy.copy(audio), copy.deepcopy(audio), pickle.loads(pickle.dumps(audio)), dict(audio)):
        assert isinstance(copied, dict)
        assert torch.equal(copied["waveform"], audio["waveform"])
    assert written.since() == 0


def test_threads_that_look_at_once_share_one_decoding(long, file: Path, plain: AudioClip, written: Written):
    audio = long(file).to_audio()
    written.since()
    seen: list[torch.Tensor] = []
    threads = [threading.Thread(target=lambda: seen.append(audio["waveform"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(waveform, plain.samples[None]) for waveform in seen)
    assert len(seen) == 4
    assert written.since() == plain.length * ROW_BYTES


def other_sound(path: Path) -> None:
    soundfile.write(path, np.zeros((SECONDS * RATE, CHANNELS)), RATE, format="WAV")


CHANGES = {
    "another sound": (other_sound, "x.wav has changed since it was loaded: queue the graph again"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:1000]), "has changed since it was loaded"),
    "gone": (Path.unlink, "x.wav was loaded and cannot be opened any more (No such file or directory): put it back"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("file", [LOSSLESS], indirect=True)
def test_a_file_that_is_another_one_by_now_is_refused(long, file: Path, change: str):
    clip = long(file)
    spoil, words = CHANGES[change]
    spoil(file)
    assert clip.cut(KEPT // 2).length == KEPT // 2  # what was kept needs no file
    for look in (lambda: clip.samples, lambda: clip.cut(RATE), lambda: clip.to_audio()["waveform"]):
        with pytest.raises(UserError) as refused:
            look()
        assert words in str(refused.value)
    with pytest.raises(AudioError, match=r"changed since|any more"):  # what keeps the video without its sound
        list(clip.held.blocks())


@pytest.mark.parametrize("file", [LOSSLESS], indirect=True)
def test_the_same_file_with_another_date_is_the_same(long, file: Path, plain: AudioClip):
    clip = long(file)
    shutil.copyfile(file, file.with_suffix(".copy"))
    os.utime(file.with_suffix(".copy"), (1, 1))
    file.with_suffix(".copy").replace(file)
    assert torch.equal(clip.samples, plain.samples)


def test_an_interrupt_comes_through_while_it_is_counted_and_while_it_is_decoded(long, file: Path, tmp_path: Path):
    folder, blocks = tmp_path / "temp", 0
    folder.mkdir()

    def interrupt_after(most: int) -> Callable[[], None]:
        def count() -> None:
            nonlocal blocks
            blocks += 1
            if blocks > most:
                raise KeyboardInterrupt

        return count

    with pytest.raises(KeyboardInterrupt):  # near the end, long after the kept part
        long(file, folder=folder, on_block=interrupt_after(1))
    all_blocks = blocks
    clip = long(file, folder=folder, on_block=interrupt_after(blocks_of(file) + 1 + all_blocks))
    with pytest.raises(KeyboardInterrupt):
        clip.samples  # noqa: B018
    blocks = -(10**9)
    assert torch.equal(clip.samples, decode_file(file).samples)
    assert os.name == "nt" or not list(folder.iterdir())


def blocks_of(file: Path) -> int:
    """How often a reader of the whole file is asked."""
    count = 0

    def one_more() -> None:
        nonlocal count
        count += 1

    decode_file(file, on_block=one_more)
    return count


def test_a_sample_that_is_no_number_is_found_behind_what_is_kept(long, tmp_path: Path):
    samples = np.zeros((2 * RATE, CHANNELS), np.float32)
    samples[RATE + 480, 1] = np.inf
    soundfile.write(tmp_path / "x.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=r"x\.wav has a sample at 1\.010 s that is not a number"):
        long(tmp_path / "x.wav")


@pytest.mark.parametrize("file", [CODED], indirect=True)
def test_room_is_asked_for_when_it_is_needed_and_for_no_more(
    long, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: Written
):
    free = KEPT * ROW_BYTES
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**12, 0, free))
    clip = long(file, folder=tmp_path)
    written.since()
    with pytest.raises(UserError, match=r"x\.mp3 takes .* GB when it is decoded, and the disk of"):
        clip.samples  # noqa: B018
    assert written.since() == 0
    free = RATE * ROW_BYTES
    assert clip.cut(RATE).samples.shape == (CHANNELS, RATE)
    free = KEPT * ROW_BYTES - 1
    with pytest.raises(UserError, match=r"The beginning of x\.mp3 takes"):
        long(file, folder=tmp_path)
