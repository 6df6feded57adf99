"""Do two signals go together, and at which lag?

A lag is in frames and positive where the picture is late: `picture[t]` belongs to `sound[t - lag]`.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

FALSE_ALARMS = 0.05
"""How often unrelated signals may exceed the level of chance."""
FLAT = 1e-6  # of a signal's highest value; less deviation is rounding


def pearson(picture: np.ndarray, sound: np.ndarray, lag: int, start: int = 0, stop: int | None = None) -> float:
    """Correlation of the frames `start` to `stop` of the picture with the sound `lag` frames before; 0 if one is flat.

    Both signals are [frames]; frames that have no counterpart are left out.
    """
    stop = len(picture) if stop is None else stop
    start, stop = max(start, lag, 0), min(stop, len(sound) + lag, len(picture))
    if stop - start < 2:
        return 0.0
    a, b = picture[start:stop], sound[start - lag : stop - lag]
    if np.std(a) <= FLAT * np.abs(picture).max() or np.std(b) <= FLAT * np.abs(sound).max():
        return 0.0
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (np.std(a) * np.std(b)))


def at_lags(
    picture: np.ndarray, sound: np.ndarray, max_lag: int, start: int = 0, stop: int | None = None
) -> np.ndarray:
    """`pearson` at the lags -max_lag … max_lag, [2 · max_lag + 1]."""
    return np.array([pearson(picture, sound, lag, start, stop) for lag in range(-max_lag, max_lag + 1)])


def chance_level(picture: np.ndarray, sound: np.ndarray, reach: int, tries: int, frames: int | None = None) -> float:
    """How far `frames` of unrelated signals like these two may correlate, either way, at the best of `tries`; 0 to 1.

    `frames` None: as many as there are.

    Neighboring frames are alike, so N frames are fewer independent ones. Bartlett's formula: the variance is 1/N times
    the sum of r1(k)·r2(k) over the autocorrelations r1 and r2 of both, which have died away `reach` frames apart.
    """
    frames = frames or len(picture)
    reach = min(reach, len(picture) - 1)
    alike = _autocorrelation(picture, reach) * _autocorrelation(sound, reach)
    variance = max(1.0, 1 + 2 * alike[1:].sum()) / frames
    return min(1.0, NormalDist().inv_cdf(1 - FALSE_ALARMS / 2 / tries) * float(np.sqrt(variance)))


def _autocorrelation(signal: np.ndarray, reach: int) -> np.ndarray:
    """At 0 … reach frames, [reach + 1]; 0 for a flat signal."""
    signal = signal - signal.mean()
    power = np.dot(signal, signal)
    if power == 0:
        return np.zeros(reach + 1)
    return np.array([np.dot(signal[k:], signal[: len(signal) - k]) for k in range(reach + 1)]) / power
