"""The sound of a file: fitted to the picture to the sample, written as raw floats for ffmpeg."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...timebase import frames_of_samples, samples_of_frames
from ..read.audio_source import BLOCK_SAMPLES, AudioSource

OVERSHOOT = 0.1  # farther beyond full scale than that is another scale or too loud, not the ringing of a filter


class AudioFit(Enum):
    """What happens when sound and picture differ in length; the values are the node's list."""

    TRIM_OR_PAD = "trim or pad to the video"
    LOOP = "loop to the video"
    SHORTEST = "shortest"
    KEEP_ALL = "keep all"


@dataclass(frozen=True, kw_only=True)
class FittedAudio:
    """Raw sound on disk, as long as it shall be in the file.

    Attributes:
        path: interleaved little-endian float32.
        sample_rate: Hz.
        channels: number of channels.
        samples: length per channel.
        frames: number of video frames that belong to it.
        notes: sentences for a person.
    """

    path: Path
    sample_rate: int
    channels: int
    samples: int
    frames: int
    notes: tuple[str, ...]


def fit_audio(
    sound: AudioSource,
    path: Path,
    fit: AudioFit,
    *,
    frames: int,
    frame_rate: Fraction,
    max_channels: int,
    check: Callable[[], None] = lambda: None,
) -> FittedAudio | None:
    """Write `sound` to `path`, as long as `fit` says for `frames` frames at `frame_rate` per second.

    Channels beyond `max_channels` are left out, samples that are not numbers become silence; both are said in
    the notes, and so is what exceeds full scale, since encoders or players clip it. Memory does not grow with the
    length. `check` is called often and may raise to interrupt. Returns
    None for a sound without samples.

    Raises:
        AudioError: the sound cannot be read.
        OSError: the file cannot be written.
    """
    channels = min(sound.channels, max_channels)
    notes = []
    if channels < sound.channels:
        notes.append(f"The sound has {sound.channels} channels; the format takes {max_channels}, the first are kept.")
    video_samples = samples_of_frames(frames, sample_rate=sound.sample_rate, frame_rate=frame_rate)
    writer = _RawWriter(channels, None if fit is AudioFit.KEEP_ALL else video_samples, check)
    with path.open("wb") as file:
        writer.copy(sound, file)
        if writer.written == 0:
            return None
        while fit is AudioFit.LOOP and writer.written < video_samples:
            writer.copy(sound, file)
        if fit is AudioFit.TRIM_OR_PAD:
            writer.pad(file)
    if writer.bad_samples:
        notes.append(f"{writer.bad_samples} samples of the sound are not numbers (NaN) and were made silent.")
    if writer.peak > 1 + OVERSHOOT:
        notes.append(
            f"The sound reaches {writer.peak:.3g} times full scale and is clipped there: samples from -1 to 1 are "
            "expected."
        )
    if fit is AudioFit.SHORTEST:
        frames = min(frames, frames_of_samples(writer.written, sample_rate=sound.sample_rate, frame_rate=frame_rate))
    return FittedAudio(
        path=path,
        sample_rate=sound.sample_rate,
        channels=channels,
        samples=writer.written,
        frames=frames,
        notes=(*sound.notes, *notes),
    )


class _RawWriter:
    """Writes interleaved float32 up to a limit of samples per channel (None: no limit)."""

    def __init__(self, channels: int, limit: int | None, check: Callable[[], None]) -> None:
        self.written = 0
        self.bad_samples = 0
        self.peak = 0.0
        self._channels = channels
        self._limit = limit
        self._check = check

    def copy(self, sound: AudioSource, file: BinaryIO) -> None:
        """Append `sound` until the limit."""
        for block in sound.blocks():
            self._check()
            if self._limit is not None:
                if self.written == self._limit:
                    return
                block = block[: self._limit - self.written]
            block = np.ascontiguousarray(block[:, : self._channels], dtype="<f4")
            if not np.isfinite(block).all():
                self.bad_samples += int((~np.isfinite(block)).sum())
                block = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
            self.peak = max(self.peak, float(np.abs(block).max(initial=0)))
            file.write(block.data)
            self.written += len(block)

    def pad(self, file: BinaryIO) -> None:
        """Append silence until the limit."""
        silence = np.zeros((BLOCK_SAMPLES, self._channels), "<f4")
        while self._limit is not None and self.written < self._limit:
            block = silence[: self._limit - self.written]
            file.write(block.data)
            self.written += len(block)
