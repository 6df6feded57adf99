"""A sound in memory or on disk: read, cut, resampled, and heard frame by frame."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..spool import Spool, release

log = logging.getLogger(__name__)

CHUNK_SAMPLES = 1 << 20  # samples of one channel that are worked on at a time
FRAMES_PER_RELEASE = 1_000  # video frames between two releases of a mapped sound
AUDIBLE_RMS = 10 ** (-50 / 20)  # -50 dBFS: below speech at -23 LUFS, above the noise of a quiet room
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz; telephones take 8,000, the fastest sound cards 384,000


@dataclass(frozen=True)
class Sound:
    """Samples `[channels, T]` at `rate` Hz. Full scale is ±1, or the integer type's range.

    Any float or integer dtype, any strides, and possibly a mapped file: `read` gives float32, a stretch at a time.
    """

    samples: Tensor
    rate: int

    @classmethod
    def from_audio(cls, audio: Any, name: str) -> Sound:
        """Check ComfyUI's AUDIO `{"waveform": [B, C, T], "sample_rate": Hz}` and take the first item of its batch.

        `name` is the input's name for messages. Raises `UserError` for everything that is no sound: another type or
        shape, no samples, no channels, an impossible rate. Samples are checked by `check_finite`.
        """
        waveform, rate = _waveform_and_rate(audio, name)
        if waveform.shape[0] > 1:
            log.info("%s holds a batch of %d sounds: the first one is used.", name, waveform.shape[0])
        return cls(waveform[0], rate)

    @property
    def length(self) -> int:
        """Samples of each channel."""
        return self.samples.shape[1]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.samples.shape[0]

    @property
    def seconds(self) -> Fraction:
        """Exact duration."""
        return Fraction(self.length, self.rate)

    def read(self, start: int, stop: int) -> Tensor:
        """Samples `start … stop - 1` of every channel, `[channels, n]` float32 on the CPU."""
        piece = self.samples[:, start:stop].detach().cpu()
        if piece.dtype.is_floating_point:
            return piece.float()
        limits = torch.iinfo(piece.dtype)
        if limits.min == 0:  # unsigned: silence lies in the middle
            return (piece.float() - (limits.max + 1) / 2) / ((limits.max + 1) / 2)
        return (piece.double() / -limits.min).float()

    def chunks(self, samples: int = CHUNK_SAMPLES) -> Iterator[Tensor]:
        """The whole sound in order, `[channels, up to samples]` float32 each."""
        for start in range(0, self.length, samples):
            yield self.read(start, min(start + samples, self.length))
            release(self.samples)

    def cut(self, samples: int) -> Sound:
        """The first `samples` samples (all of a shorter sound)."""
        return self if samples >= self.length else Sound(self.samples[:, :samples], self.rate)

    def to_audio(self) -> dict[str, Any]:
        """ComfyUI's AUDIO, float32 `[1, C, T]`; a float32 sound is not copied."""
        samples = self.samples if self.samples.dtype == torch.float32 else self.read(0, self.length)
        return {"waveform": samples[None], "sample_rate": self.rate}

    def check_finite(self, name: str) -> None:
        """Raise `UserError` if a sample is NaN or infinite."""
        if not self.samples.dtype.is_floating_point:
            return
        start = 0
        for chunk in self.chunks():
            good = chunk.isfinite().all(dim=0)
            if not good.all():
                where = (start + int((~good).nonzero()[0])) / self.rate
                raise UserError(
                    f"{name} has a sample at {where:.3f} s that is not a number (NaN or infinite): "
                    "repair or export the sound again."
                )
            start += chunk.shape[1]


def _waveform_and_rate(audio: Any, name: str) -> tuple[Tensor, int]:
    """The checked fields of an AUDIO dict (any mapping will do, core hands out lazy ones)."""
    try:
        waveform, rate = audio["waveform"], audio["sample_rate"]
    except (TypeError, KeyError, IndexError):
        raise UserError(
            f"{name} is {type(audio).__name__} without waveform and sample_rate: connect the AUDIO output of a node."
        ) from None
    if not isinstance(waveform, Tensor) or waveform.ndim != 3 or waveform.dtype.is_complex:
        found = f"{waveform.dtype} {list(waveform.shape)}" if isinstance(waveform, Tensor) else type(waveform).__name__
        raise UserError(f"{name} has a waveform of {found}, and a tensor [batch, channels, samples] is needed.")
    if waveform.dtype == torch.bool:
        raise UserError(f"{name} has a waveform of bool, and float or integer samples are needed.")
    for size, what in zip(waveform.shape, ("no sound in its batch", "0 channels", "no samples"), strict=True):
        if size == 0:
            raise UserError(f"{name} has {what} (shape {list(waveform.shape)}): choose a sound that is not empty.")
    try:
        whole_rate = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole_rate = 0
    if not MIN_RATE <= whole_rate <= MAX_RATE or whole_rate != rate:
        raise UserError(
            f"{name} has a sample rate of {rate} Hz, and a whole number from {MIN_RATE} to {MAX_RATE} is needed: "
            "convert the sound first."
        )
    return waveform, whole_rate


def audible_frames(wave: Tensor, frames: int, threshold: float = AUDIBLE_RMS) -> Tensor:
    """In which frames a speech wave is heard.

    Args:
        wave: `[samples]` at any rate, its length being that of the frames; read a stretch at a time.
        threshold: root mean square over a frame, full scale being 1.

    Returns:
        bool `[frames]`.
    """
    ends = [len(wave) * frame // frames for frame in range(frames + 1)]
    audible = torch.zeros(frames, dtype=torch.bool)
    for frame, (first, end) in enumerate(pairwise(ends)):
        if end > first:
            audible[frame] = wave[first:end].square().mean().sqrt() > threshold
        if frame % FRAMES_PER_RELEASE == 0:
            release(wave)
    return audible


def resampled(sound: Sound, rate: int, *, mono: bool = False, quality: str = "HQ", folder: Path | None = None) -> Sound:
    """`sound` at `rate` Hz, float32, by soxr in a stream (equal to soxr's one-shot result), optionally the mean of its
    channels first, as librosa does it. The length is `ceil(T · rate / sound.rate)`.
    """
    length = -(-sound.length * rate // sound.rate)
    with Spool((1 if mono else sound.channels,), folder=folder) as spool:
        for piece in _stream(sound, rate, mono, quality):
            spool.append(piece[: length - spool.length])
        if spool.length < length:
            spool.append(torch.zeros(length - spool.length, *spool.row_shape))
        return Sound(spool.finish().T, rate)


def _stream(sound: Sound, rate: int, mono: bool, quality: str) -> Iterator[Any]:
    """Resampled pieces `[n, channels]` of `sound`."""
    import soxr

    channels = 1 if mono else sound.channels
    stream = soxr.ResampleStream(sound.rate, rate, channels, dtype="float32", quality=quality)
    done = 0
    for chunk in sound.chunks():
        done += chunk.shape[1]
        if mono:
            chunk = chunk.mean(dim=0, keepdim=True)
        rows = chunk.T.contiguous().numpy()
        yield rows if rate == sound.rate else stream.resample_chunk(rows, last=done == sound.length)
