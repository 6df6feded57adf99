"""What every source of sound offers, whatever it reads from, and ComfyUI's AUDIO as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, Protocol

import numpy as np
import torch

from ...spool import release

BLOCK_SAMPLES = 65536
MAX_SAMPLE_RATE = 768_000


class AudioError(ValueError):
    """The sound cannot be used. The message is one sentence: what was found and what is needed."""


class AudioSource(Protocol):
    """Sound that can be read from its start, more than once."""

    @property
    def sample_rate(self) -> int:
        """Hz."""

    @property
    def channels(self) -> int:
        """Number of channels."""

    @property
    def notes(self) -> list[str]:
        """Sentences for a person on what is not as it was."""

    @property
    def announced_seconds(self) -> float:
        """Length as the file announces it, 0 if it does not: only good for asking whether there is room."""

    def blocks(self) -> Iterator[np.ndarray]:
        """Float samples [n, channels], in order."""


def as_float32(samples: torch.Tensor) -> torch.Tensor:
    """Samples of any float or integer type as float32; an integer type's range becomes -1 to 1."""
    if samples.dtype.is_floating_point:
        return samples.float()
    limits = torch.iinfo(samples.dtype)
    if limits.min == 0:  # unsigned: silence lies in the middle
        middle = (limits.max + 1) / 2
        return (samples.float() - middle) / middle
    return (samples.double() / -limits.min).float()


def as_source(audio: Mapping[str, Any] | AudioSource) -> AudioSource:
    """ComfyUI's AUDIO as `AudioSource`, if it is none: one that is gets read as far as it is needed.

    Raises:
        AudioError: see `TensorAudio`.
    """
    return TensorAudio(audio) if isinstance(audio, Mapping) else audio


class TensorAudio:
    """ComfyUI's AUDIO dict as `AudioSource`.

    Raises:
        AudioError: it is not an AUDIO dict with samples [1, channels, samples] and a rate in Hz.
    """

    def __init__(self, audio: Mapping[str, Any]) -> None:
        try:
            waveform, sample_rate = audio["waveform"], audio["sample_rate"]
        except (KeyError, TypeError) as error:
            raise AudioError(f"The audio has no waveform and sample_rate ({error!r}).") from error
        numbers = isinstance(waveform, torch.Tensor) and not waveform.is_complex() and waveform.dtype != torch.bool
        if not numbers or waveform.dim() != 3:
            found = f"{waveform.dtype} {list(waveform.shape)}" if isinstance(waveform, torch.Tensor) else type(waveform)
            raise AudioError(f"The audio's waveform is {found}; samples [batch, channels, samples] are needed.")
        hertz = float(sample_rate) if isinstance(sample_rate, Real) else 0.0
        if not 1 <= hertz <= MAX_SAMPLE_RATE or hertz % 1:
            raise AudioError(f"The audio's sample rate is {sample_rate}; 1 to {MAX_SAMPLE_RATE} Hz is needed.")
        if waveform.shape[0] < 1 or waveform.shape[1] < 1:
            raise AudioError(f"The audio has the shape {list(waveform.shape)}; one sound with one channel is needed.")
        self.notes: list[str] = []
        if waveform.shape[0] > 1:
            self.notes.append(f"The audio is a batch of {waveform.shape[0]} sounds; the first one is used.")
        self._samples = waveform[0]  # [channels, samples]
        self.sample_rate = int(hertz)
        self.channels = int(waveform.shape[1])
        self.announced_seconds = waveform.shape[2] / self.sample_rate

    def blocks(self) -> Iterator[np.ndarray]:
        """Float32 samples [n, channels], in order."""
        for start in range(0, self._samples.shape[1], BLOCK_SAMPLES):
            block = self._samples[:, start : start + BLOCK_SAMPLES]
            yield as_float32(block.detach().cpu()).numpy().T
            release(self._samples)
