"""Where and how the picture changes with the sound.

All passes go over the cells block by block, so they need no memory that grows with the number of cells times frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .box import Box
from .cells import Cells

STILL_LEVELS = 0.25
"""Cells whose luma (0 to 255) varies by less stand still: that is the noise of rounding and of encoders."""
REGION_SHARE = 0.5
"""Cells that agree with the sound at least so well, compared with the best, belong to the mouth."""
MODES = 3
"""Ways in which a region changes that are looked at: a mouth beside a swaying head need not be the strongest one."""


@dataclass(frozen=True)
class Region:
    """Cells that are watched.

    Attributes:
        cells: the grid that they belong to.
        picked: their indices in it.
        box: the part of the picture that they cover.
    """

    cells: Cells
    picked: np.ndarray
    box: Box


def detrended(cells: Cells, reach: int, picked: np.ndarray | slice = slice(None)) -> Iterator[tuple[slice, np.ndarray]]:
    """The picked cells without their slow changes, block by block.

    Each value loses the mean over itself and `reach` frames on both sides (fewer at the ends of the video): light and
    colors drift, and heads turn, more slowly than mouths move. The means are differences of running sums.

    Args:
        cells: luma over time.
        reach: frames.
        picked: indices of the cells; all of them without it.

    Yields:
        The frames of the block, and their values, float32 [frames of the block, picked].
    """
    for start, stop, before, values in cells.blocks(reach):
        values = values[:, picked]
        sums = np.cumsum(np.pad(values, ((1, 0), (0, 0))), axis=0, dtype=np.float64)
        frame = np.arange(before, before + stop - start)
        first, last = np.maximum(frame - reach, 0), np.minimum(frame + reach + 1, len(values))
        mean = (sums[last] - sums[first]) / (last - first)[:, None]
        yield slice(start, stop), (values[before : before + stop - start] - mean).astype(np.float32)


def detrended_signal(signal: np.ndarray, reach: int) -> np.ndarray:
    """`detrended` of one signal [frames]."""
    sums = np.concatenate(([0.0], np.cumsum(signal, dtype=np.float64)))
    frame = np.arange(len(signal))
    first, last = np.maximum(frame - reach, 0), np.minimum(frame + reach + 1, len(signal))
    return signal - (sums[last] - sums[first]) / (last - first)


def find_region(cells: Cells, loudness: np.ndarray, max_lag: int, reach: int) -> Region | None:
    """The cells that change most in step with the loudness, at whatever common lag.

    Both directions count: an open mouth is darker than lips, teeth are brighter. So it is the squared correlations,
    the share of a cell's variance that goes with the sound, that are averaged over 3 × 3 cells: noise agrees with a
    sound in one cell, but not in its neighbors at the same lag. The best place and lag are taken, and the region grows
    from there over all touching cells that agree at least `REGION_SHARE` as well.

    Args:
        cells: luma over time.
        loudness: [frames].
        max_lag: frames, either way.
        reach: see `detrended`.

    Returns:
        The box around these cells; None if nothing moves.
    """
    from scipy.ndimage import label, uniform_filter

    explained = np.square(_correlations(cells, loudness, max_lag, reach))
    explained = explained.reshape(-1, cells.rows, cells.columns)
    pooled = uniform_filter(explained, size=(1, 3, 3), mode="constant")
    lag, row, column = np.unravel_index(np.argmax(pooled), pooled.shape)
    best = pooled[lag, row, column]
    if best <= 0:
        return None
    islands, _ = label(pooled[lag] >= REGION_SHARE * best)
    rows, columns = np.nonzero(islands == islands[row, column])
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    grid = np.arange(cells.rows * cells.columns).reshape(cells.rows, cells.columns)
    return Region(cells, grid[top:bottom, left:right].ravel(), cells.box_of(top, left, bottom, right))


def _correlations(cells: Cells, loudness: np.ndarray, max_lag: int, reach: int) -> np.ndarray:
    """Correlation of each cell with the loudness at the lags -max_lag … max_lag, [2 · max_lag + 1, cells].

    The sums of products of all cells with the sound at all lags are one product of matrices per block, [lags, frames]
    times [frames, cells]. 0 where the cell stands still.
    """
    sound = detrended_signal(loudness, reach)
    padded = np.pad(sound, max_lag).astype(np.float32)
    dot, energy = 0.0, 0.0
    for frames, values in detrended(cells, reach):
        # Row t holds the loudness at t + max_lag … t - max_lag after the turn: lag rises from left to right.
        heard = np.lib.stride_tricks.sliding_window_view(
            padded[frames.start : frames.stop + 2 * max_lag], 2 * max_lag + 1
        )
        dot = dot + heard[:, ::-1].T @ values
        energy = energy + np.square(values).sum(axis=0, dtype=np.float64)
    moving = energy > len(cells) * STILL_LEVELS**2
    norm = np.sqrt(np.square(sound).sum() * energy)
    return np.divide(dot, norm, out=np.zeros(np.shape(dot)), where=moving & (norm > 0))


def motion_energy(region: Region) -> np.ndarray:
    """Mean absolute change of the region's luma (0 to 255) from the frame before, [frames]; 0 for the first."""
    return _changes(region, np.mean)


def common_change(region: Region) -> np.ndarray:
    """As `motion_energy`, the median: what moves in a part of the picture does not count, a jump of the light does."""
    return _changes(region, np.median)


def _changes(region: Region, average: Callable[..., np.ndarray]) -> np.ndarray:
    changes = np.zeros(len(region.cells))
    for start, stop, before, values in region.cells.blocks(reach=1):
        values = values[max(0, before - 1) : before + stop - start, region.picked]
        changes[stop - len(values) + 1 : stop] = average(np.abs(np.diff(values, axis=0)), axis=1)
    return changes


def modes_of_change(region: Region, reach: int) -> np.ndarray:
    """The strongest independent ways in which the region changes: its principal components over time.

    The opening of a mouth is one of them. They are found from the picture alone, so that agreement with the sound is
    found and not made. A first pass adds up the covariance of the cells [picked, picked]; its eigenvectors of the
    greatest eigenvalues are the patterns [picked, modes]; a second pass weighs every frame by them.

    Args:
        region: cells that are watched.
        reach: see `detrended`.

    Returns:
        [up to `MODES`, frames], the strongest first, in levels of luma; without those whose cells vary by less than
        `STILL_LEVELS` on the mean.
    """
    covariance = sum(
        values.T.astype(np.float64) @ values for _, values in detrended(region.cells, reach, region.picked)
    )
    strengths, patterns = np.linalg.eigh(covariance / len(region.cells))
    moving = strengths[-MODES:] > STILL_LEVELS**2 * len(region.picked)
    patterns = patterns[:, -MODES:][:, moving][:, ::-1]
    modes = np.empty((patterns.shape[1], len(region.cells)))
    for frames, values in detrended(region.cells, reach, region.picked):
        modes[:, frames] = (values @ patterns).T
    return modes
