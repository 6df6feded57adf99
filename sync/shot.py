"""Whether a dubbed video kept its source's shot: what moves beside the mouth, in both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..video_io.read.frame_source import Frame, FrameSource
from .box import Box
from .cells import Cells, LumaGrid, watch
from .motion import STILL_LEVELS, detrended

MARGIN = 0.05
"""Around the mouth's box, as a share of the picture: the chin moves along."""


@dataclass(frozen=True)
class Shot:
    """What a dubbed video has in common with its source, outside of the box that is watched.

    Attributes:
        motion_r: correlation of all that changes there, 1 where it is the source's own; None where nothing moves.
        difference: mean difference of luma, 0 to 255.
    """

    motion_r: float | None
    difference: float

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        apart = f"{self.difference:.1f} of 255 levels apart"
        if self.motion_r is None:
            return f"Shot: nothing moves outside of the box; the source is {apart}"
        kept = "kept" if self.motion_r >= 0.95 else "kept in part" if self.motion_r >= 0.5 else "made anew"
        return f"Shot {kept}: outside of the box the picture moves as the source with r = {self.motion_r:.2f}, {apart}"


@dataclass(frozen=True)
class AtTheTimesOf:
    """A source's frames at the times of another video's; its last one stays."""

    source: FrameSource
    frame_rate: Fraction
    count: int

    @property
    def height(self) -> int:
        return self.source.height

    @property
    def width(self) -> int:
        return self.source.width

    @property
    def channels(self) -> int:
        return self.source.channels

    @property
    def notes(self) -> Sequence[str]:
        return self.source.notes

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """As `FrameSource.frames`."""
        position, stream, frame = -1, self.source.frames(), None
        for index in range(self.count):
            wanted = min(int(index * self.source.frame_rate / self.frame_rate), self.source.count - 1)
            while position < wanted:
                frame, position = next(stream, frame), position + 1
            if frame is not None and index >= first:
                yield frame


def compare(
    result: Cells,
    size: tuple[int, int],
    frame_rate: Fraction,
    source: FrameSource,
    mouth: Box,
    reach: int,
    *,
    folder: Path | None,
    progress: Callable[[int, int], None],
) -> Shot:
    """Compare a dubbed video with its source, which is read once.

    Args:
        result: cells of all of the dubbed picture.
        size: its height and width.
        frame_rate: of the dubbed video.
        source: of any size and rate; it was scaled to cover the dubbed picture and cropped in the middle.
        mouth: what does not count.
        reach: frames, see `detrended`.

    Raises:
        UserError: see `watch`.
    """
    grid = LumaGrid(source.height, source.width, _cropped(source, size), (result.rows, result.columns))
    (own,) = watch(AtTheTimesOf(source, frame_rate, len(result)), [grid], folder, progress).cells
    outside = np.flatnonzero(~_covered(result, mouth))
    dot = energy = other = apart = 0.0
    for (_, ours), (_, theirs) in zip(detrended(result, reach, outside), detrended(own, reach, outside), strict=True):
        dot += float((ours * theirs).sum(dtype=np.float64))
        energy += float(np.square(ours).sum(dtype=np.float64))
        other += float(np.square(theirs).sum(dtype=np.float64))
    for (*_, ours), (*_, theirs) in zip(result.blocks(), own.blocks(), strict=True):
        apart += float(np.abs(ours[:, outside] - theirs[:, outside]).sum(dtype=np.float64))
    values = max(1, len(result) * len(outside))
    moving = other > values * STILL_LEVELS**2 and energy > 0
    return Shot(dot / np.sqrt(energy * other) if moving else None, apart / values)


def _cropped(source: FrameSource, size: tuple[int, int]) -> Box:
    """The part of a source that a picture of this height and width shows."""
    height, width = size
    wide = min(1.0, width / height * source.height / source.width)
    high = min(1.0, height / width * source.width / source.height)
    return Box((1 - wide) / 2, (1 - high) / 2, wide, high)


def _covered(cells: Cells, box: Box) -> np.ndarray:
    """Which cells a box and the margin around it touch, bool [rows · columns]."""
    x, y = np.arange(cells.columns) / cells.columns, np.arange(cells.rows) / cells.rows
    across = (x + 1 / cells.columns > box.x - MARGIN) & (x < box.x + box.w + MARGIN)
    down = (y + 1 / cells.rows > box.y - MARGIN) & (y < box.y + box.h + MARGIN)
    return np.outer(down, across).ravel()
