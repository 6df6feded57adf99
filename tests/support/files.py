"""Media files as the world makes them, made with the bundled ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import soundfile
from infinitetalk.video_io.save.ffmpeg_process import find_ffmpeg

from . import media

SAMPLE_RATE = 48_000


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg; it must succeed."""
    subprocess.run([find_ffmpeg(), "-y", "-v", "error", *map(str, arguments)], check=True)


def ffmpeg_to_pipe(path: Path, *arguments: object) -> Path:
    """What ffmpeg writes where it cannot seek back: sizes stay unknown."""
    command = [find_ffmpeg(), "-v", "error", *map(str, arguments), "pipe:1"]
    path.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return path


def voice(folder: Path, seconds: float, rate: int = SAMPLE_RATE, channels: int = 2, seed: int = 0) -> Path:
    """A WAV with something like a voice."""
    return media.write_speech(folder, seconds, rate, channels, seed)


def samples_of(path: Path) -> np.ndarray:
    """Samples `[T, C]` of a WAV."""
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def joined(path: Path, *parts: Path) -> Path:
    """The bytes of files behind each other, as `cat` does it."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def titled(path: Path, title: bytes, *arguments: object) -> Path:
    """What ffmpeg writes, with a title in any encoding."""
    mark = "TITLETITLE"[: len(title)]
    ffmpeg(*arguments, "-metadata", f"title={mark}", "-id3v2_version", "3", path)
    content = path.read_bytes()
    assert mark.encode() in content or mark.encode("utf-16-le") in content
    path.write_bytes(
        content.replace(mark.encode(), title).replace(mark.encode("utf-16-le"), title.ljust(2 * len(mark)))
    )
    return path


def counter(seconds: float, *, rate: int = 25, size: str = "64x48") -> list[str]:
    """ffmpeg's input of a video whose brightness tells the time: 40 levels of gray a second, over and over."""
    picture = f"color=black:size={size}:rate={rate}:duration={seconds}"
    return ["-f", "lavfi", "-i", f"{picture},format=gray,geq=lum='mod(40*T\\,240)'"]


def shown_seconds(frame: np.ndarray) -> float:
    """The time, up to 6 s, that a frame of `counter` was made for."""
    return float(frame[: frame.shape[0] // 2].mean()) / 40
