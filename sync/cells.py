"""A video reduced to the mean luma of some cells per frame, while it is read frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ..errors import UserError
from ..spool import Spool, release
from ..video_io.pixels import LEVELS_OF_INTEGERS
from ..video_io.read.frame_source import Frame, FrameSource
from .box import Box

LUMA = np.array((0.2126, 0.7152, 0.0722), np.float32)  # BT.709
SAMPLES_PER_CELL = 6  # pixels that are looked at along each side of a cell; more cost time and change nothing
BLOCK_FRAMES = 512
STILL_PIXELS = 480  # along the shorter side of the frame that is kept for show, at least


class LumaGrid:
    """Mean luma of the cells of a grid over a box of the picture.

    Args:
        height, width: of the picture in pixels.
        box: the part that the grid covers.
        cells: along the longer side of the box, and the cells are about square; or rows and columns. None is smaller
            than a pixel.
    """

    def __init__(self, height: int, width: int, box: Box, cells: int | tuple[int, int]) -> None:
        self.box = box
        tall, wide = box.h * height, box.w * width
        if isinstance(cells, int):
            down = across = max(tall, wide) / cells
        else:
            down, across = tall / cells[0], wide / cells[1]
        self._y, self._down = _area_weights(height, box.y * height, tall, down)
        self._x, self._across = _area_weights(width, box.x * width, wide, across)
        self.rows, self.columns = len(self._down), len(self._across)

    def means(self, frame: np.ndarray) -> np.ndarray:
        """Float32 [rows, columns], 0 to 255, of a frame [H, W, C] of floats 0 to 1 or of uint8 or uint16.

        One channel is gray, transparent pixels are black.
        """
        part = frame[self._y, self._x]
        scale = np.float32(255 / LEVELS_OF_INTEGERS.get(frame.dtype, 1))
        if part.shape[-1] == 1:
            luma = part[..., 0] * scale
        else:
            luma = part[..., 0] * (LUMA[0] * scale)
            luma += part[..., 1] * (LUMA[1] * scale)
            luma += part[..., 2] * (LUMA[2] * scale)
        if part.shape[-1] == 4:
            luma *= part[..., 3] * (scale / np.float32(255))
        with np.errstate(invalid="ignore"):  # infinity times 0: `watch` refuses what comes of it
            return self._down @ luma.astype(np.float32, copy=False) @ self._across.T


def _area_weights(pixels: int, start: float, length: float, side: float) -> tuple[slice, np.ndarray]:
    """Which pixels of a row of `pixels` are looked at, and the share of each in each cell, [cells, looked at].

    The cells divide `length` pixels from `start` on evenly, each about `side` long. Their ends may cut pixels.
    """
    cells = max(1, min(round(length / max(side, 1)), math.floor(length)))
    step = max(1, int(length / cells / SAMPLES_PER_CELL))
    first, last = math.floor(start), min(pixels, math.ceil(start + length))
    looked_at = slice(first, last, step)
    edges = np.linspace(start, start + length, cells + 1)[:, None]
    pixel = np.arange(pixels)[looked_at]
    overlap = np.minimum(edges[1:], pixel + step) - np.maximum(edges[:-1], pixel)
    shares = np.clip(overlap, 0, None)
    return looked_at, (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Cells:
    """Luma of the cells of a grid over time.

    Attributes:
        values: float32 [frames, rows · columns], 0 to 255; a mapped file when it is long.
        rows, columns: of the grid.
        box: the part of the picture that the grid covers.
    """

    values: Tensor
    rows: int
    columns: int
    box: Box

    def __len__(self) -> int:
        return self.values.shape[0]

    def blocks(self, reach: int = 0) -> Iterator[tuple[int, int, int, np.ndarray]]:
        """All frames in order, as `start, stop, before, values`, some hundred at a time.

        `values` float32 [before + stop - start + after, cells] begins `before` frames before `start` and ends `after`
        frames past `stop`: `reach` each, or less at the ends of the video.
        """
        for start in range(0, len(self), BLOCK_FRAMES):
            stop = min(len(self), start + BLOCK_FRAMES)
            first, last = max(0, start - reach), min(len(self), stop + reach)
            yield start, stop, start - first, self.values[first:last].numpy()
            release(self.values)

    def box_of(self, top: int, left: int, bottom: int, right: int) -> Box:
        """The part of the picture under the cells of these rows and columns (bottom and right not included)."""
        high, wide = self.box.h / self.rows, self.box.w / self.columns
        x, y = self.box.x + left * wide, self.box.y + top * high
        return Box(x, y, (right - left) * wide, (bottom - top) * high)


@dataclass(frozen=True)
class WatchedVideo:
    """What is kept of a video.

    Attributes:
        cells: one per grid.
        still: the frame in the middle, [h, w, 1 or 3] float32, 0 to 1; of large ones every other or third pixel.
    """

    cells: list[Cells]
    still: np.ndarray


def watch(
    source: FrameSource, grids: Sequence[LumaGrid], folder: Path | None, progress: Callable[[int, int], None]
) -> WatchedVideo:
    """Read a video once, frame by frame.

    RAM holds one frame, and of each grid at most 64 MiB of cells; the rest lies in a temporary file in `folder`.
    `progress` is called with the frames done and the number expected, and may raise to stop.

    Raises:
        UserError: a frame has pixels that are not numbers, or there is no frame.
    """
    still = None
    with ExitStack() as stack:
        spools = [stack.enter_context(Spool((grid.rows * grid.columns,), folder=folder)) for grid in grids]
        for index, frame in enumerate(source.frames()):
            pixels = _to_numpy(frame)
            for grid, spool in zip(grids, spools, strict=True):
                means = grid.means(pixels)
                if not np.isfinite(means).all():
                    raise UserError(
                        f"Frame {index} has pixels that are not numbers (NaN or infinite): the model or the VAE "
                        "overflowed, so make the video again with fp32 or bf16."
                    )
                spool.append(means.reshape(1, -1))
            if still is None or index == source.count // 2:
                still = _for_show(pixels)
            progress(index + 1, source.count)
        if still is None:
            raise UserError("The video has no frame that can be decoded: connect a video that plays.")
        cells = [
            Cells(spool.finish(), grid.rows, grid.columns, grid.box) for grid, spool in zip(grids, spools, strict=True)
        ]
    return WatchedVideo(cells, still)


def _for_show(pixels: np.ndarray) -> np.ndarray:
    step = max(1, min(pixels.shape[:2]) // STILL_PIXELS)
    return pixels[::step, ::step, :3] / np.float32(LEVELS_OF_INTEGERS.get(pixels.dtype, 1))


def _to_numpy(frame: Frame) -> np.ndarray:
    return frame if isinstance(frame, np.ndarray) else frame.detach().float().cpu().numpy()
