"""Boxes that follow what is in them through a video: one mask for each frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..video_io.pixels import to_numpy
from ..video_io.read.frame_source import Frame, FrameSource
from .pictures import Change, Shots, check_channels, colors_of

SMALL_SIDE = 192
"""Frames are looked at, and masks are made, with at most so many pixels on their longer side."""
REACH_SHARE = 1 / 24
"""How far a box may move from one frame to the next, over the longer side."""
LEARNING = 0.05
"""Share of what is in the box now that goes into what is looked for: faces turn, and light changes."""
FLAT = 0.01
"""Standard deviation below which a picture (white is 1), or what is in a box (the picture's own is 1), shows nothing
that could be followed: black before a fade, a wall that somebody has not come to yet."""
FADE = 1.2
"""Times that the contrast must change to be taken for a fade: a mouth that opens changes it by less."""
OUTLIERS = (3, 97)
"""Percentiles; as much as a mouth may be of a picture."""
LUMA = np.array((0.299, 0.587, 0.114), np.float32)

ShareBox = tuple[float, float, float, float]


@dataclass
class _Followed:
    """One box: where it is in pixels of the small frame, and what is looked for."""

    x: float
    y: float
    width: int
    height: int
    pattern: np.ndarray

    @classmethod
    def begun(cls, box: ShareBox, luma: np.ndarray) -> _Followed:
        """A box where a person has written it."""
        rows, columns = luma.shape
        x, y = math.floor(box[0] * columns), math.floor(box[1] * rows)
        width, height = (max(1, round(share * size)) for share, size in ((box[2], columns), (box[3], rows)))
        width, height = min(width, columns - x), min(height, rows - y)
        return cls(x, y, width, height, luma[y : y + height, x : x + width].copy())

    def follow(self, luma: np.ndarray) -> None:
        """Go to where the pattern is most alike now: the least squared difference, whatever the light.

        To a part of a pixel, by parabolas through the differences around the least. Where there has been nothing to
        look for, the box stays and takes what is in it now.
        """
        if self.pattern.std() < FLAT:
            self.pattern = self._between_pixels(luma)
            return
        reach = max(2, round(max(luma.shape) * REACH_SHARE))
        left, top = round(self.x), round(self.y)
        xs = range(max(0, left - reach), min(luma.shape[1] - self.width, left + reach) + 1)
        ys = range(max(0, top - reach), min(luma.shape[0] - self.height, top + reach) + 1)
        patches = np.lib.stride_tricks.sliding_window_view(luma, (self.height, self.width))[ys.start : ys.stop]
        patches = patches[:, xs.start : xs.stop]
        plain = patches - patches.mean(axis=(2, 3), keepdims=True)
        errors = np.square(plain - (self.pattern - self.pattern.mean())).mean(axis=(2, 3))
        row, column = np.unravel_index(np.argmin(errors), errors.shape)
        self.x = xs[column] + _vertex(errors[row, :], int(column))
        self.y = ys[row] + _vertex(errors[:, column], int(row))
        # Learned at whole pixels, slow movement would be taken for the pattern's own.
        self.pattern += LEARNING * (self._between_pixels(luma) - self.pattern)

    def _between_pixels(self, luma: np.ndarray) -> np.ndarray:
        """What is in the box, each pixel the mean of those that it lies between."""
        part = luma
        for start, size in ((self.y, self.height), (self.x, self.width)):
            first = math.floor(start)
            after = min(first + 1, len(part) - size)
            share = start - first
            part = ((1 - share) * part[first : first + size] + share * part[after : after + size]).T
        return part

    def draw(self, mask: np.ndarray) -> None:
        """Cover the box, at its edges in part."""
        columns, rows = (
            np.clip(np.minimum(start + size - places, places + 1 - start), 0, 1)
            for start, size, places in (
                (self.x, self.width, np.arange(mask.shape[1])),
                (self.y, self.height, np.arange(mask.shape[0])),
            )
        )
        np.maximum(mask, np.outer(rows, columns), out=mask)


def small_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the masks of a video of this size."""
    scale = min(1.0, SMALL_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def followed_boxes(source: FrameSource, boxes: list[ShareBox]) -> Iterator[np.ndarray]:
    """One mask for each frame that covers all boxes, wherever what was in them is then.

    Each box is written for the first frame. It goes at most a twenty-fourth of the picture per frame; at a cut it is
    again where it was written. All frames are looked at with the same contrast, so that a fade changes nothing, and a
    black one is passed over.

    Args:
        source: the video; it is read once, a frame at a time.
        boxes: `(x, y, w, h)` as shares of the picture.

    Yields:
        float32 `small_size` in 0 … 1.

    Raises:
        UserError: the source is not in color.
    """
    check_channels(source)
    size = small_size(source.height, source.width)
    followed: list[_Followed] = []
    left: list[_Followed] = []  # where they were before the last cut
    shots = Shots(source.frame_rate)
    scale = 0.0  # the contrast that is taken for 1
    for index, frame in enumerate(source.frames()):
        luma, change = _luma(frame, size), shots.look(colors_of(frame, index))
        contrast = _contrast(luma)
        if contrast >= FLAT and not scale / FADE <= contrast <= scale * FADE:
            scale = contrast
        luma = luma / scale if contrast >= FLAT else np.zeros_like(luma)
        if change is Change.BACK:
            followed = left
        if index == 0 or change is Change.CUT:
            left, followed = followed, [_Followed.begun(box, luma) for box in boxes]
        elif contrast >= FLAT:
            for box in followed:
                box.follow(luma)
        mask = np.zeros(size, np.float32)
        for box in followed:
            box.draw(mask)
        yield mask


def _luma(frame: Frame, size: tuple[int, int]) -> np.ndarray:
    """`size` float32, each pixel the mean of those it stands for."""
    pixels = to_numpy(frame)
    scale = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    luma = torch.from_numpy(pixels[..., :3].astype(np.float32) @ LUMA / np.float32(scale))
    small = torch.nn.functional.interpolate(luma[None, None], size=size, mode="area")
    return small[0, 0].numpy().copy()


def _contrast(luma: np.ndarray) -> float:
    """Standard deviation, without the brightest and darkest pixels unless there is nothing else: a mouth opens."""
    inner = luma.clip(*np.percentile(luma, OUTLIERS)).std()
    return float(inner if inner >= FLAT else luma.std())


def _vertex(errors: np.ndarray, at: int) -> float:
    """Where the least error lies between the neighbors of the least measured one, -0.5 to 0.5."""
    if not 0 < at < len(errors) - 1:
        return 0.0
    before, here, after = errors[at - 1 : at + 2]
    bend = before - 2 * here + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend > 0 else 0.0
