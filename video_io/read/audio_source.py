"""What every source of sound offers, whatever it reads from, and ComfyUI's AUDIO as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, Protocol

import numpy as np
import torch

from ...spool import release

BLOCK_SAMPLES = 65536
HIGHEST_RATE = 768_000


class SoundError(ValueError):
    """The sound cannot be used. The message is one sentence: what was found and what is needed."""


class Sound(Protocol):
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

    def blocks(self) -> Iterator[np.ndarray]:
        """Float samples [n, channels], in order."""


class TensorSound:
    """ComfyUI's AUDIO dict as `Sound`.

    Raises:
        SoundError: it is not an AUDIO dict with float samples [1, channels, samples] and a rate in Hz.
    """

    def __init__(self, audio: Mapping[str, Any]) -> None:
        try:
            waveform, sample_rate = audio["waveform"], audio["sample_rate"]
        except (KeyError, TypeError) as error:
            raise SoundError(f"The audio has no waveform and sample_rate ({error!r}).") from error
        if not isinstance(waveform, torch.Tensor) or waveform.dim() != 3 or not waveform.is_floating_point():
            found = f"{waveform.dtype} {list(waveform.shape)}" if isinstance(waveform, torch.Tensor) else type(waveform)
            raise SoundError(f"The audio's waveform is {found}; floats [batch, channels, samples] are needed.")
        if not isinstance(sample_rate, Real) or not 1 <= sample_rate <= HIGHEST_RATE or sample_rate % 1:
            raise SoundError(f"The audio's sample rate is {sample_rate}; 1 to {HIGHEST_RATE} Hz is needed.")
        if waveform.shape[0] < 1 or waveform.shape[1] < 1:
            raise SoundError(f"The audio has the shape {list(waveform.shape)}; one sound with one channel is needed.")
        self.notes: list[str] = []
        if waveform.shape[0] > 1:
            self.notes.append(f"The audio is a batch of {waveform.shape[0]} sounds; the first one is used.")
        self._samples = waveform[0]  # [channels, samples]
        self.sample_rate = int(sample_rate)
        self.channels = int(waveform.shape[1])

    def blocks(self) -> Iterator[np.ndarray]:
        """Float32 samples [n, channels], in order."""
        for start in range(0, self._samples.shape[1], BLOCK_SAMPLES):
            block = self._samples[:, start : start + BLOCK_SAMPLES]
            yield block.detach().cpu().float().numpy().T
            release(self._samples)
