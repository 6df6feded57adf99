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
    """Correlation of the frames `start` to `stop` of the picture with the sound `lag` frames before them.

    Args:
        picture: [frames].
        sound: [frames].
        lag: frames; above 0 the picture is late.
        start: first frame of the picture.
        stop: the frame after the last one; None: all.

    Returns:
        Pearson's r, -1 to 1, over the frames that have a counterpart; 0 if either signal is flat there.
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
    """How far unrelated signals like these two may correlate, either way, at the best of some tries.

    For N independent frames the correlation of unrelated signals scatters around 0 with a variance of 1 / N. Frames
    that follow each other are alike, so N frames are fewer independent ones. Bartlett's formula (Bartlett 1946, for
    two independent series) has the variance then: 1 / N times the sum of r1(k) r2(k) over all lags k, negative ones
    too, of the autocorrelations r1 and r2. Of independent frames only k = 0 is left of it; 1 / N is the least.

    The level is the quantile of the normal distribution with that variance which all tries together exceed with the
    probability `FALSE_ALARMS` (Bonferroni: each of them, in both directions, with its share of it).

    Args:
        picture: [frames].
        sound: [frames].
        reach: frames; both are unlike themselves so far apart, so the sum ends there.
        tries: independent tries of which the best is taken.
        frames: how many are compared; None: as many as there are.

    Returns:
        A correlation, 0 to 1.
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
