"""Every file that people have, to the sample; every broken one, in a sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.decode import decode_file
from infinitetalk.errors import UserError
from infinitetalk.video_io.save.ffmpeg_process import find_ffmpeg

TABLE_VARIABLE = "PRINT_FORMAT_TABLE"  # set it to see the table: pytest -s -k format


@dataclass(frozen=True)
class Format:
    """How a test file is made, and how close its sound must be to the source (SNR in dB)."""

    name: str
    snr_db: float
    subtype: str | None = None  # for soundfile; None: by ffmpeg with `options`
    options: tuple[str, ...] = ()
    video: bool = False


FORMATS = [
    Format("pcm8.wav", 20, "PCM_U8"),
    Format("pcm16.wav", 85, "PCM_16"),
    Format("pcm24.wav", 130, "PCM_24"),
    Format("pcm32.wav", 140, "PCM_32"),
    Format("float.wav", 200, "FLOAT"),
    Format("double.wav", 200, "DOUBLE"),
    Format("mulaw.wav", 25, "ULAW"),
    Format("pcm16.aiff", 85, "PCM_16"),
    Format("pcm16.w64", 85, "PCM_16"),
    Format("pcm16.caf", 85, "PCM_16"),
    Format("pcm16.flac", 85, "PCM_16"),
    Format("pcm24.flac", 130, "PCM_24"),
    Format("vorbis.ogg", 10, "VORBIS"),
    Format("libsndfile.mp3", 10, "MPEG_LAYER_III"),
    Format("lame cbr.mp3", 10, options=("-b:a", "128k")),
    Format("lame vbr.mp3", 10, options=("-q:a", "4")),
    Format("opus.opus", 10, options=("-b:a", "128k")),
    Format("opus.webm", 10, options=("-c:a", "libopus", "-b:a", "128k")),
    Format("aac.m4a", 10, options=("-b:a", "160k")),
    Format("alac.m4a", 85, options=("-c:a", "alac")),
    Format("aac.aac", 10, options=("-b:a", "160k")),
    Format("wma.wma", 10, options=("-b:a", "160k")),
    Format("ac3.ac3", 10, options=("-b:a", "192k")),
    Format("aac.mp4", 10, options=("-b:a", "160k", "-c:v", "mpeg4"), video=True),
    Format("aac.mov", 10, options=("-c:a", "aac", "-b:a", "160k", "-c:v", "mpeg4"), video=True),
    Format("opus vp9.webm", 10, options=("-c:a", "libopus", "-b:a", "128k", "-c:v", "libvpx-vp9"), video=True),
    Format("aac.mkv", 10, options=("-c:a", "aac", "-b:a", "160k", "-c:v", "mpeg4"), video=True),
    Format("flac.mkv", 85, options=("-c:a", "flac", "-c:v", "mpeg4"), video=True),
    Format("mp3.avi", 10, options=("-c:a", "libmp3lame", "-c:v", "mpeg4"), video=True),
]
# Raw streams carry no note of their encoder's delay; AVI has none either. The reader cannot know it.
DELAY_SAMPLES = {"aac.aac": 1024, "ac3.ac3": 256, "wma.wma": 2048, "mp3.avi": 1105}


def make(source: Path, target: Path, fmt: Format) -> Path:
    """Write `source` (a WAV) as `fmt`."""
    if fmt.subtype is not None:
        samples, rate = soundfile.read(source, dtype="float32")
        soundfile.write(target, samples, rate, subtype=fmt.subtype)
        return target
    video = ["-f", "lavfi", "-i", "testsrc=size=32x32:rate=25:duration=3.3"] if fmt.video else []
    run_ffmpeg("-i", str(source), *video, *fmt.options, str(target))
    return target


def run_ffmpeg(*arguments: str) -> None:
    subprocess.run([find_ffmpeg(), "-y", "-v", "error", *arguments], check=True)


def offset_samples(found: np.ndarray, wanted: np.ndarray) -> int:
    """By how many samples `found` is late, by cross-correlation."""
    size = 1 << (len(found) + len(wanted)).bit_length()
    spectrum = np.fft.rfft(found, size) * np.conj(np.fft.rfft(wanted, size))
    peak = int(np.argmax(np.fft.irfft(spectrum, size)))
    return peak - size if peak > size // 2 else peak


def snr_db(found: np.ndarray, wanted: np.ndarray) -> float:
    """Level of `wanted` over that of the difference; infinite if there is none."""
    length = min(len(found), len(wanted))
    noise = np.sum((found[:length] - wanted[:length]).astype(np.float64) ** 2)
    return float("inf") if noise == 0 else 10 * np.log10(np.sum(wanted[:length].astype(np.float64) ** 2) / noise)


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
def test_every_format_comes_back_in_place_and_clean(golden_dir: Path, tmp_path: Path, fmt: Format) -> None:
    source = golden_dir / "speech_44k1_stereo.wav"
    sound = decode_file(make(source, tmp_path / fmt.name, fmt))
    wanted, rate = soundfile.read(source, dtype="float32")
    if sound.sample_rate != rate:
        wanted = soxr.resample(wanted, rate, sound.sample_rate, quality="VHQ")
    found = sound.samples[0].numpy()
    delay = offset_samples(found, wanted[:, 0])
    clean = snr_db(found[max(0, delay) :], wanted[max(0, -delay) :, 0])
    if os.environ.get(TABLE_VARIABLE):
        surplus = sound.length - len(wanted)
        print(f"| {fmt.name} | {sound.sample_rate} | {sound.channels} | {delay} | {surplus} | {clean:.1f} |")  # noqa: T201
    assert sound.channels == 2
    assert abs(delay) <= DELAY_SAMPLES.get(fmt.name, 0)
    assert clean > fmt.snr_db


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 32_000, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_rates_and_channels_stay_as_they_are(tmp_path: Path, rate: int, channels: int) -> None:
    samples = np.random.default_rng(rate).uniform(-1, 1, (rate // 10, channels)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, rate, subtype="FLOAT")
    sound = decode_file(tmp_path / "x.wav")
    assert sound.sample_rate == rate
    assert torch.equal(sound.samples, torch.from_numpy(samples.T.copy()))


@pytest.mark.parametrize(
    "name",
    ["with space.wav", 'it\'s a "talk".flac', "\u8bf4\u8bdd.m4a", "\U0001f600 voix é.opus", "-y.mp4", "a:b.webm"],
)
def test_any_name_is_read(golden_dir: Path, tmp_path: Path, name: str) -> None:
    if os.name == "nt" and set(name) & set('":'):
        pytest.skip("Windows has no such names")
    safe = tmp_path / f"safe{Path(name).suffix}"
    run_ffmpeg("-i", str(golden_dir / "speech_16k_mono.wav"), "-strict", "-2", str(safe))
    assert decode_file(safe.rename(tmp_path / name)).length > 0


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.mp3", "x.m4a"])
@pytest.mark.parametrize(("start", "duration"), [(0.0, 0.5), (1.2345, 0.75), (2.0, 0.0), (1 / 3, 1 / 7)])
def test_a_part_is_the_same_part_of_the_whole(
    golden_dir: Path, tmp_path: Path, name: str, start: float, duration: float
) -> None:
    run_ffmpeg("-i", str(golden_dir / "speech_44k1_stereo.wav"), str(tmp_path / name))
    whole = decode_file(tmp_path / name)
    part = decode_file(tmp_path / name, start, duration)
    first = round(start * whole.sample_rate)
    end = first + round(duration * whole.sample_rate) if duration else whole.length
    assert torch.equal(part.samples, whole.samples[:, first:end])


def test_the_sound_of_a_video_that_begins_late_keeps_its_place(golden_dir: Path, tmp_path: Path) -> None:
    source = golden_dir / "speech_44k1_stereo.wav"
    run_ffmpeg(
        *("-itsoffset", "0.5", "-i", str(source), "-f", "lavfi", "-i", "testsrc=size=32x32:rate=25:duration=4"),
        *("-map", "1:v", "-map", "0:a", "-c:v", "mpeg4", "-c:a", "aac", str(tmp_path / "late.mp4")),
    )
    wanted, rate = soundfile.read(source, dtype="float32")
    found = decode_file(tmp_path / "late.mp4")
    assert offset_samples(found.samples[0].numpy(), wanted[:, 0]) == rate // 2


def test_a_long_part_lies_on_disk_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infinitetalk.spool.MEMORY_BYTES", 1000)
    samples = np.random.default_rng(0).uniform(-1, 1, (20_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, 16_000, subtype="FLOAT")
    folder = tmp_path / "spool"
    folder.mkdir()
    sound = decode_file(tmp_path / "x.wav", folder=folder)
    assert torch.equal(sound.samples, torch.from_numpy(samples.T.copy()))
    sound.samples.zero_()  # a tensor like any other
    if os.name != "nt":
        assert list(folder.iterdir()) == []


def noise(path: Path, samples: int = 44_100) -> Path:
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, samples), 44_100)
    return path


def truncated(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def not_a_number(path: Path) -> Path:
    soundfile.write(path, np.array([0.0, 0.5, np.nan, 0.1]), 16_000, subtype="FLOAT")
    return path


def picture(path: Path) -> Path:
    run_ffmpeg(
        "-f", "lavfi", "-i", "testsrc=size=16x16:duration=1", "-frames:v", "1", "-f", "image2", "-c:v", "png", str(path)
    )
    return path


def silent_video(path: Path) -> Path:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=size=16x16:duration=1", "-c:v", "mpeg4", str(path))
    return path


def written(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


BROKEN = {
    "empty.wav": (written(b""), "is empty (0 bytes)"),
    "header.wav": (lambda p: noise(p, 0), "holds no samples"),
    "half.mp3": (lambda p: truncated(noise(p), 0.5), "breaks off: it holds"),
    "stub.mp3": (lambda p: truncated(noise(p), 0.02), "a sound file or a video with sound is needed"),
    "half.wav": (lambda p: truncated(noise(p), 0.5), "breaks off: it holds"),
    "half.flac": (lambda p: truncated(noise(p), 0.5), "is damaged after"),
    "nan.wav": (not_a_number, "not a number"),
    "picture.wav": (picture, "a PNG picture"),
    "silent.mp4": (silent_video, "a sound file or a video with sound is needed"),
    "notes.mp3": (written("Notes: \u8bf4\u8bdd\n".encode()), "a text file"),
    "garbage.wav": (written(bytes(range(256)) * 40), "a sound file or a video with sound is needed"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    make_broken, words = BROKEN[name]
    with pytest.raises(UserError, match=r".*") as caught:
        decode_file(make_broken(tmp_path / name))
    message = str(caught.value)
    assert name in message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["x.m4a", "x.mp4", "x.webm"])
def test_a_container_that_breaks_off_is_refused(golden_dir: Path, tmp_path: Path, name: str) -> None:
    run_ffmpeg("-i", str(golden_dir / "speech_44k1_stereo.wav"), "-movflags", "+faststart", str(tmp_path / name))
    with pytest.raises(UserError, match="breaks off"):
        decode_file(truncated(tmp_path / name, 0.5))


@pytest.mark.parametrize(
    ("start", "duration", "words"),
    [
        (0.0, 1.5, "1.000 s long, and 1.5 s from 0 s on were asked for"),
        (0.75, 0.5, "0.5 s from 0.75 s on"),
        (1.0, 0.0, "start earlier"),
        (7.0, 1.0, "start earlier"),
        (-1.0, 0.0, "start_time is -1.0"),
        (float("nan"), 0.0, "start_time is nan"),
        (0.0, float("inf"), "duration is inf"),
        (0.0, 1e-9, "less than one sample"),
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "m4a"])
def test_a_part_that_is_not_there_is_refused(
    tmp_path: Path, start: float, duration: float, words: str, suffix: str
) -> None:
    path = noise(tmp_path / "x.wav")
    if suffix != "wav":
        run_ffmpeg("-i", str(path), "-c:a", "alac", str(tmp_path / "x.m4a"))
    with pytest.raises(UserError) as caught:
        decode_file(tmp_path / f"x.{suffix}", start, duration)
    assert words in str(caught.value)


@pytest.mark.parametrize("codec", ["flac", "opus"])
def test_a_small_file_with_hours_in_it_is_read_as_far_as_is_asked_for(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = tmp_path / f"hour.{codec}"
    minute = tmp_path / ("minute.flac" if codec == "flac" else "minute.ogg")
    silence = ["-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo:d=60"]
    run_ffmpeg(*silence, *(["-c:a", "libopus", "-b:a", "6k"] if codec == "opus" else []), str(minute))
    if codec == "flac":
        run_ffmpeg("-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo:d=3600", str(hour))
    else:
        run_ffmpeg("-stream_loop", "599", "-i", str(minute), "-c", "copy", str(hour))  # ten hours
    blocks = 0

    def counted() -> None:
        nonlocal blocks
        blocks += 1

    assert decode_file(hour, 1, 2, folder=tmp_path, on_block=counted).seconds == 2
    assert blocks < 500
    blocks, free = 0, 10**8
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**12, 0, free))
    with pytest.raises(UserError, match=r"GB when it is decoded, and the disk of .* has 0\.1 GB left"):
        decode_file(hour, folder=tmp_path, on_block=counted)
    assert blocks == 0
    assert decode_file(hour, 0, 60, folder=tmp_path).seconds == 60


def test_a_header_that_announces_what_the_file_cannot_hold_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.flac"
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=3:r=48000", str(path))
    content = bytearray(path.read_bytes())
    content[22:26] = b"\xff\xff\xff\xff"  # STREAMINFO's number of samples
    path.write_bytes(content)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**12, 0, 10**6))
    with pytest.raises(UserError, match=r"breaks off: it holds 3\.00"):
        decode_file(path, folder=tmp_path)


def test_an_interrupt_comes_through_and_ffmpeg_ends(golden_dir: Path, tmp_path: Path) -> None:
    run_ffmpeg("-i", str(golden_dir / "speech_44k1_stereo.wav"), str(tmp_path / "x.m4a"))

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode_file(tmp_path / "x.m4a", on_block=interrupt)


def test_a_sound_can_be_a_view_of_any_type() -> None:
    values = torch.tensor([[-32768, 0, 16384, 32767]], dtype=torch.int16)
    assert torch.allclose(AudioClip(values, 16_000).read(0, 4), torch.tensor([[-1.0, 0.0, 0.5, 0.99997]]), atol=1e-5)
    assert torch.equal(
        AudioClip(torch.tensor([[0, 128, 192]], dtype=torch.uint8), 16_000).read(0, 3), torch.tensor([[-1.0, 0.0, 0.5]])
    )
