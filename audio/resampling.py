"""A sound at another sample rate, a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..spool import Spool
from .audio_clip import AudioClip


def resampled(
    sound: AudioClip, sample_rate: int, *, mono: bool = False, quality: str = "HQ", folder: Path | None = None
) -> AudioClip:
    """A sound at another sample rate, by soxr in a stream, which equals soxr's one-shot result.

    Args:
        sound: any sound.
        sample_rate: Hz.
        mono: take the mean of the channels first, as librosa does it.
        quality: soxr's name of it.
        folder: where a long result is kept (the system's temporary folder if None).

    Returns:
        float32, `ceil(length · sample_rate / sound.sample_rate)` samples of each channel.
    """
    length = -(-sound.length * sample_rate // sound.sample_rate)
    with Spool((1 if mono else sound.channels,), folder=folder) as spool:
        for piece in _stream(sound, sample_rate, mono, quality):
            spool.append(piece[: length - spool.length])
        if spool.length < length:
            spool.append(torch.zeros(length - spool.length, *spool.row_shape))
        return AudioClip(spool.finish().T, sample_rate)


def _stream(sound: AudioClip, sample_rate: int, mono: bool, quality: str) -> Iterator[Any]:
    """Resampled pieces `[n, channels]` of `sound`."""
    import soxr

    channels = 1 if mono else sound.channels
    stream = soxr.ResampleStream(sound.sample_rate, sample_rate, channels, dtype="float32", quality=quality)
    done = 0
    for chunk in sound.chunks():
        done += chunk.shape[1]
        if mono:
            chunk = chunk.mean(dim=0, keepdim=True)
        rows = chunk.T.contiguous().numpy()
        yield rows if sample_rate == sound.sample_rate else stream.resample_chunk(rows, last=done == sound.length)
