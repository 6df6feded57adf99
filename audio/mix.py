"""The sound for the file: all voices together, at their own quality."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ..spool import Spool
from .audio_clip import CHUNK_SAMPLES, AudioClip
from .resampling import resampled

log = logging.getLogger(__name__)


def mixed(voices: Sequence[AudioClip], starts: Sequence[Fraction], folder: Path | None = None) -> AudioClip:
    """All voices on one timeline, each from its start in seconds, at the highest rate and channel count among them.

    One voice alone from 0 is handed back as it is. Where the sum exceeds full scale, the whole is scaled to fit, and
    the log says so; a sound that was louder by itself keeps its level.
    """
    if len(voices) == 1 and starts[0] == 0:
        return voices[0]
    sample_rate = max(v.sample_rate for v in voices)
    channels = max(v.channels for v in voices)
    parts = [
        (
            v if v.sample_rate == sample_rate else resampled(v, sample_rate, quality="VHQ", folder=folder),
            round(start * sample_rate),
        )
        for v, start in zip(voices, starts, strict=True)
    ]
    limit = max(1.0, _peak(chunk for part, _ in parts for chunk in part.chunks()))
    peak = _peak(_sums(parts, channels))
    gain = min(1.0, limit / peak) if peak > 0 else 1.0
    if gain < 1.0:
        log.info("The voices together reach %.2f of full scale: the mix is scaled by %.2f.", peak, gain)
    with Spool((channels,), folder=folder) as spool:
        for chunk in _sums(parts, channels):
            spool.append((chunk * gain).T)
        return AudioClip(spool.finish().T, sample_rate)


def with_channels(piece: Tensor, channels: int) -> Tensor:
    """`[c, n]` -> `[channels, n]`: mono to front left and right, all others to their own channels."""
    if piece.shape[0] == channels:
        return piece
    wide = piece.new_zeros(channels, piece.shape[1])
    wide[: max(2, piece.shape[0])] = piece
    return wide


def _peak(chunks: Iterable[Tensor]) -> float:
    """Largest magnitude of all chunks; 0 without any."""
    return max((float(chunk.abs().max()) for chunk in chunks), default=0.0)


def _sums(parts: Sequence[tuple[AudioClip, int]], channels: int) -> Iterator[Tensor]:
    """The sum of all parts (sound and first sample), `[channels, n]` at a time."""
    length = max(start + part.length for part, start in parts if part.length)
    for begin in range(0, length, CHUNK_SAMPLES):
        end = min(begin + CHUNK_SAMPLES, length)
        total = torch.zeros(channels, end - begin)
        for part, start in parts:
            a, b = max(begin, start), min(end, start + part.length)
            if a < b:
                total[:, a - begin : b - begin] += with_channels(part.read(a - start, b - start), channels)
        yield total
