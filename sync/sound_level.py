"""How loud a sound is during each frame of a video, and the shape of its wave for drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..errors import UserError
from ..timebase import samples_of_frames
from ..video_io.read.audio_source import AudioError, AudioSource

SILENT_DB = -70.0
"""A sound whose loudest frame is below is silence; also the floor of what is drawn."""
STEADY_DB = 3.0
"""Less change of level than this between frames is none."""
SMOOTH_SECONDS = 0.08
DB_PER_DOUBLING = 10.0  # of the level for a sound twice as loud to the ear: the sone scale


@dataclass(frozen=True)
class SoundTrack:
    """A sound on the frames of a video.

    Attributes:
        level: dBFS per frame [frames], at least `SILENT_DB`; beyond the end of the sound it is silence.
        low, high: extremes of the wave [columns], equal stretches of the whole video; full scale is ±1.
        seconds: length of the sound, as far as the video goes.
    """

    level: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seconds: float

    @property
    def silent(self) -> bool:
        """Whether nothing is heard."""
        return bool(self.level.max() <= SILENT_DB)

    @property
    def steady(self) -> bool:
        """Whether the level does not change."""
        return bool(np.ptp(self.level) < STEADY_DB)

    def loudness(self) -> np.ndarray:
        """Loudness per frame as the ear judges it, 1 for the loudest: 10 dB more are twice as loud."""
        loudness = 2 ** ((self.level - self.level.max()) / DB_PER_DOUBLING)
        return np.where(self.level <= SILENT_DB, 0.0, loudness)


def measure(
    sound: AudioSource, frames: int, frame_rate: Fraction, columns: int, check: Callable[[], None]
) -> SoundTrack:
    """Level of a sound during each of `frames` frames at `frame_rate` per second, read once from start to end.

    The level is the root mean square over a frame and all channels, without a constant offset. It is smoothed by a
    symmetric window: attack and release of a meter would be later than the sound, which is what shall be measured.
    `check` is called often and may raise to stop.

    Raises:
        UserError: the sound cannot be read or has samples that are not numbers.
    """
    edges = np.array(
        [samples_of_frames(frame, sample_rate=sound.sample_rate, frame_rate=frame_rate) for frame in range(frames + 1)]
    )
    meter = _Meter(edges, columns, sound.sample_rate)
    try:
        for block in sound.blocks():
            check()
            if not meter.add(block):
                break
    except AudioError as error:
        raise UserError(f"{str(error).rstrip('.')}: connect another sound to audio.") from error
    power = _smooth(meter.power(), max(0, round(SMOOTH_SECONDS / 2 * frame_rate)))
    level = 10 * np.log10(np.maximum(power, 10 ** (SILENT_DB / 10)))
    return SoundTrack(level, meter.low, meter.high, meter.position / sound.sample_rate)


class _Meter:
    """Sums over the samples of each frame, extremes over those of each column.

    edges: first sample of each frame, and the end of the last one.
    """

    def __init__(self, edges: np.ndarray, columns: int, sample_rate: int) -> None:
        self.position = 0
        self._edges, self._sample_rate = edges, sample_rate
        self._sums, self._squares = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
        self.low, self.high = np.zeros(columns), np.zeros(columns)

    def add(self, block: np.ndarray) -> bool:
        """Take in samples [n, channels]; False when the last frame is complete.

        Raises:
            UserError: one of them is not a number.
        """
        block = block[: self._edges[-1] - self.position].astype(np.float64)
        if not len(block):
            return self.position < self._edges[-1]
        if not np.isfinite(block).all():
            bad = self.position + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise UserError(
                f"The sound has a sample at {bad / self._sample_rate:.3f} s that is not a number (NaN or infinite): "
                "repair or export the sound again."
            )
        samples = np.arange(self.position, self.position + len(block))
        frames = np.searchsorted(self._edges, samples, side="right") - 1
        self._sums += np.bincount(frames, block.mean(axis=1), len(self._sums))
        self._squares += np.bincount(frames, np.square(block).mean(axis=1), len(self._sums))
        columns = samples * len(self.low) // self._edges[-1]
        wave = block.mean(axis=1)
        np.minimum.at(self.low, columns, wave)
        np.maximum.at(self.high, columns, wave)
        self.position += len(block)
        return True

    def power(self) -> np.ndarray:
        """Mean square per frame [frames] around the mean of the whole sound; full scale is 1."""
        samples = np.maximum(np.diff(self._edges), 1)
        heard = np.clip(self.position - self._edges[:-1], 0, samples)
        mean = self._sums.sum() / max(self.position, 1)
        return np.maximum(self._squares - 2 * mean * self._sums + mean**2 * heard, 0) / samples


def _smooth(values: np.ndarray, reach: int) -> np.ndarray:
    """Weighted mean of each value and `reach` on both sides (Hann); the ends are repeated."""
    window = np.hanning(2 * reach + 3)[1:-1]
    return np.convolve(np.pad(values, reach, mode="edge"), window / window.sum(), mode="valid")
