"""Media for the tests of saving, and a decoder that is not ours: ffmpeg's own command line and PyAV."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.video_io.save.ffmpeg_process import find_ffmpeg
from infinitetalk.video_io.save.formats import FORMATS
from infinitetalk.video_io.save.target import make_target
from infinitetalk.video_io.save.writer import SavedVideo, SaveSettings, save_video


@dataclass(frozen=True)
class Decoded:
    """A file as players see it.

    frames: uint8 [F, H, W, 3] (4 with alpha). times: seconds of every frame. sound: float32 [samples, channels] or
    None. sample_rate: Hz. picture: ffmpeg's description of the video stream. tags: metadata.
    """

    frames: np.ndarray
    times: list[float]
    rate: Fraction
    sound: np.ndarray | None
    sound_start: float | None
    sample_rate: int
    picture: str
    tags: dict[str, str]


def decode(path: Path, alpha: bool = False) -> Decoded:
    """Decode everything in a file: picture and sound with ffmpeg (edit lists applied), times with PyAV."""
    exe = find_ffmpeg()
    channels = 4 if alpha else 3
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        width, height, rate = stream.width, stream.height, Fraction(stream.average_rate)
        tags = {key.lower(): value for key, value in container.metadata.items()}
        times = [frame.time for frame in container.decode(stream)]
    with av.open(str(path)) as container:
        audio = container.streams.best("audio")
        sample_rate = audio.codec_context.sample_rate if audio else 0
        sound_channels = audio.codec_context.layout.nb_channels if audio else 0
        sound_start = next(container.decode(audio)).time if audio else None
    # libvpx's own decoder is the one that knows the alpha of webm.
    decoder = ["-c:v", "libvpx-vp9"] if alpha and path.suffix == ".webm" else []
    command = [exe, "-v", "error", *decoder, "-i", str(path), "-map", "0:v"]
    command += ["-vf", "scale=flags=bicubic+accurate_rnd+full_chroma_int", "-fps_mode", "passthrough"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgba" if alpha else "rgb24", "pipe:1"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    sound = None
    if audio:
        command = [exe, "-v", "error", "-i", str(path), "-map", "0:a", "-f", "f32le", "pipe:1"]
        samples = subprocess.run(command, check=True, capture_output=True).stdout
        sound = np.frombuffer(samples, "<f4").reshape(-1, sound_channels)
    told = subprocess.run([exe, "-hide_banner", "-i", str(path)], capture_output=True, check=False).stderr.decode()
    picture = next(line.strip() for line in told.splitlines() if "Video:" in line)
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width, channels)
    return Decoded(frames, times, rate, sound, sound_start, sample_rate, picture, tags)


def make_sound(seconds: float, sample_rate: int = 48000, channels: int = 1, seed: int = 0) -> dict[str, Any]:
    """AUDIO of band-limited noise, which survives lossy codecs and has one sharp correlation peak."""
    samples = round(seconds * sample_rate)
    noise = np.random.default_rng(seed).standard_normal((channels, samples + 16))
    smooth = np.stack([np.convolve(row, np.hanning(17) / 8, "same") for row in noise])[:, :samples]
    return {"waveform": torch.from_numpy(0.2 * smooth).float()[None], "sample_rate": sample_rate}


def make_pictures(frames: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    """Smooth moving gradients [F, H, W, C], 0 to 1."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    count = max(frames, 2)
    stack = [
        np.stack([(x + index) % 97 / 96, (y + 2 * index) % 89 / 88, np.full_like(x, index / count), x * 0 + 1], -1)
        for index in range(frames)
    ]
    return torch.from_numpy(np.stack(stack)[..., :channels])


def lag_in_samples(heard: np.ndarray, source: np.ndarray) -> int:
    """How many samples `heard` [n] is behind `source` [n]."""
    length = min(len(heard), len(source), 16000)
    heard, source = heard[:length].astype(float), source[:length].astype(float)
    size = 2 * length
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(source, size))
    lag = int(np.argmax(np.fft.irfft(spectrum)))
    return lag - size if lag > length else lag


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., SavedVideo]:
    """Save images (and sound) into the test's folder: `save(images, audio, format="mp4 h264", fps=25, ...)`."""

    def run(
        images: Any,
        audio: Any = None,
        *,
        format: str = "mp4 h264",
        fps: Fraction | int = 25,
        prefix: str = "video",
        tags: dict[str, Any] | None = None,
        check: Callable[[], None] = lambda: None,
        **settings: Any,
    ) -> SavedVideo:
        source = ImageFrames(images, Fraction(fps)) if isinstance(images, torch.Tensor) else images
        target = make_target(prefix, tmp_path / "output", FORMATS[format].suffix)
        return save_video(source, audio, target, SaveSettings(FORMATS[format], **settings), tags, check=check)

    return run


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a Python program in front of the real ffmpeg: the code sees `arguments` and `real`, the real binary.

    A stand-in because a real ffmpeg cannot be made to fail at a chosen point.
    """

    def install(code: str) -> None:
        real = find_ffmpeg()
        script = tmp_path / "fake_ffmpeg.py"
        head = "import subprocess, sys, os\n"
        script.write_text(f"{head}real = {real!r}\narguments = sys.argv[1:]\n{code}\n", encoding="utf-8")
        if os.name == "nt":
            launcher = tmp_path / "fake_ffmpeg.bat"
            launcher.write_text(f'@"{sys.executable}" "{script}" %*\n', encoding="utf-8")
        else:
            launcher = tmp_path / "fake_ffmpeg"
            launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', encoding="utf-8")
            launcher.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(launcher))

    return install


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The output folder that `save` writes to."""
    return tmp_path / "output"


@pytest.fixture
def media() -> Any:
    """The helpers of this file, for test modules (which pytest imports without a package)."""
    return sys.modules[__name__]
