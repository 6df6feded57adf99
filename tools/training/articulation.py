"""How a mouth moves to a sound: its opening follows the level, its width the brightness.

Lip aperture and the speech envelope go together in natural speech: https://doi.org/10.1371/journal.pcbi.1000436
(Chandrasekaran et al. 2009). The width stands for the second formant, low in "oo" and high in "ee".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import soxr

RATE = 16_000
"""Every sound is brought to this rate, so that its own does not matter."""
STEP_SECONDS = 0.01  # the mouth moves in these steps, whatever the frame rate
WINDOW_SECONDS = 0.08

LOUD_PERCENTILE = 95
QUIETEST_LOUD_DB = -50.0  # below full scale: a quieter sound does not open the mouth fully
CLOSED_DB = -22.0  # below the loud level
ATTACK_SECONDS = 0.04
RELEASE_SECONDS = 0.07
LEAD_SECONDS = 0.03  # what attack and release delay speech: the jaw starts before the sound, as that of people

CENTROID_HERTZ = (300, 4000)
ROUND_HERTZ, WIDE_HERTZ = 600, 2200
WIDTH_SECONDS = 0.12
SLIGHTLY_OPEN = 0.2  # with less opening the width goes to rest
REST_WIDTH = 0.5


@dataclass(frozen=True)
class Articulation:
    """What a mouth does, frame by frame; float32."""

    opening: np.ndarray
    """`[F]` from 0 closed to 1 wide open."""
    width: np.ndarray
    """`[F]` from 0 round to 1 wide."""


def articulate(sound: np.ndarray, rate: int, frames: int, fps: float = 25) -> Articulation:
    """The mouth of somebody who makes a sound `[n]` or `[n, channels]`; beyond its end it is silence.

    Frame `i` shows the moment `(i + 0.5) / fps`. Whatever the gain, the loudest windows of all are an open mouth.
    """
    shown = (np.arange(frames) + 0.5) / fps
    times = np.arange(0, frames / fps + LEAD_SECONDS + STEP_SECONDS, STEP_SECONDS)
    level, centroid = _measured(_resampled(sound, rate), times)
    loud = max(float(np.percentile(level, LOUD_PERCENTILE)), QUIETEST_LOUD_DB)
    heard = np.clip(1 - (level - loud) / CLOSED_DB, 0, 1)
    opening = _jaw(heard)
    width = _width(centroid, heard) * np.minimum(opening / SLIGHTLY_OPEN, 1)
    return Articulation(
        opening=np.interp(shown + LEAD_SECONDS, times, opening).astype(np.float32),
        width=(REST_WIDTH + np.interp(shown, times, width)).astype(np.float32),
    )


def _resampled(sound: np.ndarray, rate: int) -> np.ndarray:
    """`[n, channels]` at RATE, without a constant offset."""
    if len(sound) == 0:
        return np.zeros((0, 1), np.float32)
    sound = np.asarray(sound, np.float32).reshape(len(sound), -1)
    return soxr.resample(sound - sound.mean(axis=0), rate, RATE)


def _measured(sound: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Level in dBFS and spectral centroid in Hz of the windows around `times`, `[T]` each.

    Channels are added as powers: opposite ones do not cancel.
    """
    size = round(WINDOW_SECONDS * RATE)
    starts = np.round(times * RATE).astype(int)
    padded = np.zeros((starts[-1] + size, sound.shape[1]), np.float32)
    kept = sound[: len(padded) - size // 2]
    padded[size // 2 : size // 2 + len(kept)] = kept
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    band = (hertz >= CENTROID_HERTZ[0]) & (hertz <= CENTROID_HERTZ[1])
    taper = np.hanning(size)[:, None]
    power, centroid = np.empty(len(times)), np.empty(len(times))
    for i, start in enumerate(starts):
        window = padded[start : start + size]
        power[i] = np.mean(window**2)
        strength = np.sqrt(np.sum(np.abs(np.fft.rfft(window * taper, axis=0)[band]) ** 2, axis=1))
        centroid[i] = np.sum(strength * hertz[band]) / max(np.sum(strength), 1e-9)
    return 10 * np.log10(np.maximum(power, 1e-12)), centroid


def _jaw(heard: np.ndarray) -> np.ndarray:
    """Opening `[T]` that follows quickly upwards and slower downwards."""
    attack, release = (1 - np.exp(-STEP_SECONDS / seconds) for seconds in (ATTACK_SECONDS, RELEASE_SECONDS))
    opening, now = np.empty_like(heard), heard[0]
    for i, goal in enumerate(heard):
        now += (goal - now) * (attack if goal > now else release)
        opening[i] = now
    return opening


def _width(centroid: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Width against its rest `[T]`: a mean over WIDTH_SECONDS in which what is loud counts."""
    width = np.clip((centroid - ROUND_HERTZ) / (WIDE_HERTZ - ROUND_HERTZ), 0, 1) - REST_WIDTH
    half = round(WIDTH_SECONDS / STEP_SECONDS / 2)
    taper = np.hanning(2 * half + 3)[1:-1]
    near, weight = (np.convolve(values, taper)[half:-half] for values in (heard * width, heard))
    return near / np.maximum(weight, 1e-6)
