"""Sounds and pictures that tests make, and where one sound stands in another."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch


def speech(seconds: float, rate: int = 22_050, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Something like a voice, `[T, C]` in ±1: a gliding hum in syllables, with breath; never periodic as a whole.

    Every channel has a pitch of its own, so that exchanged or mixed channels are noticed.
    """
    samples = max(1, round(seconds * rate))
    time = np.arange(samples) / rate
    noise = np.random.default_rng(seed).standard_normal((samples, channels))
    syllables = 0.2 + 0.8 * np.sin(np.pi * (3.1 + 0.2 * seed) * time) ** 2
    voice = np.zeros((samples, channels))
    for channel in range(channels):
        pitch = 110 * (1 + 0.5 * channel) * (1 + 0.1 * seed)
        phase = 2 * np.pi * (pitch * time + 3 * np.sin(2 * np.pi * 0.37 * time))
        for harmonic in range(1, 6):
            voice[:, channel] += np.sin(harmonic * phase) / harmonic
    return np.clip((0.25 * voice + 0.03 * noise) * syllables[:, None], -1, 1)


def write_speech(folder: Path, seconds: float, rate: int = 22_050, channels: int = 1, seed: int = 0) -> Path:
    """A 16-bit WAV file with `speech`, under a name of its own."""
    return write_sound(folder, speech(seconds, rate, channels, seed), rate)


def write_sound(folder: Path, samples: np.ndarray, rate: int) -> Path:
    """A 16-bit WAV file of `[T, C]`, under a name of its own."""
    file = folder / f"sound_{uuid.uuid4().hex[:12]}.wav"
    soundfile.write(file, samples, rate, subtype="PCM_16")
    return file


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


def samples_late(heard: np.ndarray, source: np.ndarray, reach: int | None = None) -> int:
    """How many samples `heard` `[T]` is behind `source` `[T]`, by the peak of their cross-correlation.

    `reach` is the longest offset that is looked for, either way; None looks for all.
    """
    longest = max(len(heard), len(source))
    first, second = (np.fft.rfft(wave.astype(float), 2 * longest) for wave in (heard, source))
    correlation = np.fft.irfft(first * np.conj(second))
    reach = longest - 1 if reach is None else reach
    near = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
    return int(np.argmax(near)) - reach
