"""A sound in memory or on disk, and ComfyUI's AUDIO as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..spool import release
from ..video_io.read.audio_source import as_float32
from ..video_io.read.long_sound import Audio, LongSound

CHUNK_SAMPLES = 1 << 20  # samples of one channel that are worked on at a time
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 768_000  # Hz; telephones take 8,000, the fastest sound cards 384,000


@dataclass(frozen=True)
class AudioClip:
    """Samples `[channels, T]` at `sample_rate` Hz. Full scale is ±1, or the integer type's range.

    Any float or integer dtype, any strides, and possibly a mapped file: `read` gives float32, a stretch at a time. Of a
    `LongSound` nothing is decoded before `cut` asks for its beginning, or anything else for all of it.
    """

    held: Tensor | LongSound
    sample_rate: int
    notes: tuple[str, ...] = ()
    """Sentences for a person on what is left out."""

    @classmethod
    def from_audio(cls, audio: Any, name: str) -> AudioClip:
        """Check ComfyUI's AUDIO `{"waveform": [B, C, T], "sample_rate": Hz}` and take the first item of its batch.

        Args:
            audio: what the socket brought. Its samples are checked by `check_finite`.
            name: the input's name for messages.

        Raises:
            UserError: it is no sound: another type or shape, no samples, no channels, an impossible sample rate.
        """
        if isinstance(audio, LongSound):
            return cls(audio, audio.sample_rate)
        waveform, sample_rate = _waveform_and_sample_rate(audio, name)
        sounds = waveform.shape[0]
        notes = (f"{name} holds a batch of {sounds} sounds: the first one is used.",) if sounds > 1 else ()
        return cls(waveform[0], sample_rate, notes)

    @property
    def samples(self) -> Tensor:
        """All of them."""
        return self.held.first(self.held.length) if isinstance(self.held, LongSound) else self.held

    @property
    def length(self) -> int:
        """Samples of each channel."""
        return self.held.shape[1]

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.held.shape[0]

    @property
    def seconds(self) -> Fraction:
        """Exact duration."""
        return Fraction(self.length, self.sample_rate)

    def read(self, start: int, stop: int) -> Tensor:
        """Samples `start … stop - 1` of every channel, `[channels, n]` float32 on the CPU."""
        return as_float32(self.samples[:, start:stop].detach().cpu())

    def chunks(self, samples: int = CHUNK_SAMPLES) -> Iterator[Tensor]:
        """The whole sound in order, `[channels, up to samples]` float32 each."""
        for start in range(0, self.length, samples):
            yield self.read(start, min(start + samples, self.length))
            release(self.samples)

    def cut(self, samples: int) -> AudioClip:
        """The first `samples` samples (all of a shorter sound)."""
        if samples >= self.length:
            return self
        held = self.held
        first = held.first(samples) if isinstance(held, LongSound) else held[:, :samples]
        return AudioClip(first, self.sample_rate)

    def to_audio(self) -> Audio:
        """ComfyUI's AUDIO, float32 `[1, C, T]`; a float32 sound is not copied."""
        if isinstance(self.held, LongSound):
            return self.held
        samples = self.samples if self.samples.dtype == torch.float32 else self.read(0, self.length)
        return {"waveform": samples[None], "sample_rate": self.sample_rate}

    def check_finite(self, name: str) -> None:
        """Raise `UserError` if a sample is NaN or infinite."""
        if isinstance(self.held, LongSound) or not self.held.dtype.is_floating_point:
            return  # of the former it is known
        start = 0
        for chunk in self.chunks():
            check_finite(chunk, start, self.sample_rate, name)
            start += chunk.shape[1]


def check_finite(chunk: Tensor, start: int, sample_rate: int, name: str) -> None:
    """Raise `UserError` if a sample of `name`, whose `chunk` `[C, n]` begins at sample `start`, is NaN or infinite."""
    good = chunk.isfinite().all(dim=0)
    if not good.all():
        where = (start + int((~good).nonzero()[0])) / sample_rate
        raise UserError(
            f"{name} has a sample at {where:.3f} s that is not a number (NaN or infinite): "
            "repair or export the sound again."
        )


def _waveform_and_sample_rate(audio: Any, name: str) -> tuple[Tensor, int]:
    """The checked fields of an AUDIO dict (any mapping will do, core hands out lazy ones)."""
    try:
        waveform, sample_rate = audio["waveform"], audio["sample_rate"]
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
        whole_sample_rate = int(sample_rate)
    except (TypeError, ValueError, OverflowError):
        whole_sample_rate = 0
    if not MIN_SAMPLE_RATE <= whole_sample_rate <= MAX_SAMPLE_RATE or whole_sample_rate != sample_rate:
        raise UserError(
            f"{name} has a sample rate of {sample_rate} Hz, and a whole number from {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE} is needed: convert the sound first."
        )
    return waveform, whole_sample_rate
