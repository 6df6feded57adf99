"""The picture, or the source video's frames, that windows start from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..video_io.pixels import to_numpy
from .resolution import cover_and_crop

if TYPE_CHECKING:
    from ..video_io.read.frame_source import Frame, FrameSource

STEP, STEPS = 32, 9
"""Levels of a color channel (of 256) that are one color, and how many such there are."""
SAMPLE_GRID = 128
"""Frames are compared by at most this many rows and columns, spread evenly over it."""
FRAMES_PER_WATCH = 25
"""Frames of the one pass over a source between two signs of life: half a second at 1080p."""
FRAMES_ON_THE_WAY = 25
"""What lies nearer ahead is read on the way; the source finds the rest by its number."""
OVERSHOOT = 0.3
"""Beyond 0 … 1. Sharp filters ring by 0.2 at most, at a corner; farther out lies another scale."""
CUT_DISTANCE = 0.5
"""Share of the pixels that must change their color bin from one frame to the next for a scene cut."""
FLASH_SECONDS = Fraction(1, 10)
"""What is back after so long, at the latest, was never away: photographers flash, and frames are damaged."""
LEAST_INSIDE = 1 / 8
"""Share of a picture that may lie between bars. Less is a light that goes on, or a title, on a plain ground."""


@dataclass
class _Scaled:
    """A frame of a source at the video's size."""

    source: FrameSource | None = None
    index: int = 0
    image: Tensor | None = None


class Pictures:
    """The source frame that belongs to each frame of the video, at the video's size.

    A single picture belongs to all of them. A source video is aligned in time, and its last frame stays when it is
    over. It is streamed: RAM holds one frame, and frames asked for in rising order are decoded once. The one that was
    scaled last, of whatever pictures the scenes of a video have, is kept: many scenes may show one large picture.
    """

    def __init__(
        self,
        source: FrameSource,
        frame_rate: Fraction,
        frames: int,
        size: tuple[int, int],
        watch: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Take a source.

        Args:
            source: pictures with 3 channels, or 4 with transparency, which is laid over black.
            frame_rate: of the video that is made, exact.
            frames: its length.
            size: its height and width.
            watch: called now and then while a source video is looked through for its cuts, which takes minutes, with
                frames done and frames in all; may raise to stop.

        Raises:
            UserError: the source has another number of channels.
        """
        check_channels(source)
        self.source = source
        self.size = size
        self._frame_rate = frame_rate
        self._frames = frames
        self._watch = watch
        self._stream: Iterator[Frame] = iter(())
        self._position = -1
        self._current: Frame | None = None
        self._scaled = _Scaled()

    def of_another(self, image: Tensor) -> Pictures:
        """Another picture for the same video.

        Args:
            image: `[1, H, W, C]` in 0 … 1.

        Raises:
            UserError: see `__init__`.
        """
        from ..video_io.read.image_frames import ImageFrames

        another = Pictures(ImageFrames(image, self._frame_rate), self._frame_rate, self._frames, self.size)
        another._scaled = self._scaled
        return another

    @property
    def is_video(self) -> bool:
        """Whether there is more than one picture."""
        return self.source.count > 1

    @property
    def source_size(self) -> tuple[int, int]:
        """Height and width of the pictures as they came."""
        return self.source.height, self.source.width

    def at(self, frame: int) -> Tensor:
        """The picture at a frame of the video, `[1, H, W, 3]` float32 in 0 … 1 on the CPU; not to be changed.

        Raises:
            UserError: it holds NaN or infinite pixels, or some far from 0 … 1.
        """
        index, scaled = self.source_index(frame), self._scaled
        if scaled.image is None or scaled.source is not self.source or scaled.index != index:
            scaled.source, scaled.index, scaled.image = self.source, index, self._scale(index)
        return scaled.image

    def _scale(self, index: int) -> Tensor:
        """A frame of the source at the video's size."""
        image = _as_tensor(self._read(index))
        _check_pixels(image, index)
        if image.shape[-1] == 4:
            image = image[..., :3] * image[..., 3:]
        return cover_and_crop(image, *self.size)

    def source_index(self, frame: int) -> int:
        """The source frame that is on screen when a frame of the video is shown."""
        return min(int(frame * self.source.frame_rate / self._frame_rate), self.source.count - 1)

    @property
    def source_indices(self) -> range:
        """The frames of the source that the video shows, from the first to the last."""
        return range(self.source_index(self._frames - 1) + 1)

    @cached_property
    def cuts(self) -> list[int]:
        """Frames of the video at which a new scene begins, in order, each once; none for a single picture.

        A source of a higher rate may cut twice, to a white frame and to another shot, before the video shows its next
        frame.
        """
        return sorted({self._video_frame(index) for index in self._facts[0]})

    def key(self, frame: int) -> bytes:
        """A digest of the source frame that belongs to a frame of the video."""
        keys = self._facts[1]
        return keys[min(self.source_index(frame), len(keys) - 1)]

    @cached_property
    def _facts(self) -> tuple[list[int], list[bytes]]:
        """One pass over the source, as far as the video needs it: where scenes begin, and a digest of every frame."""
        cuts: list[int] = []
        keys: list[bytes] = []
        shots = Shots(self.source.frame_rate)
        for index, frame in enumerate(self.source.frames()):
            if self.is_video and index % FRAMES_PER_WATCH == 0:
                self._watch(index, self.source_indices.stop)
            change = shots.look(colors_of(frame, index))
            if change is Change.CUT:
                cuts.append(index)
            elif change is Change.BACK:
                cuts.pop()
            keys.append(_digest(frame))
            if index == self.source_indices[-1]:
                break
        return cuts, keys

    def _video_frame(self, index: int) -> int:
        """The first frame of the video that shows a source frame."""
        return -int(-index * self._frame_rate // self.source.frame_rate)

    def _read(self, index: int) -> Frame:
        current = self._current
        if index < self._position or current is None or index > self._position + FRAMES_ON_THE_WAY:
            self._position, self._stream = index, self.source.frames(index)
            current = next(self._stream)
        while self._position < index:
            current = next(self._stream, current)  # a damaged file may hold less than it says
            self._position += 1
        self._current = current
        return current


def check_channels(source: FrameSource) -> None:
    """Refuse what is no picture in color.

    Raises:
        UserError: it has another number of channels.
    """
    if source.channels not in (3, 4):
        raise UserError(
            f"The image has {source.channels} channel, but 3 (or 4 with transparency) are needed: connect an IMAGE."
        )


def _as_tensor(frame: Frame) -> Tensor:
    """`[H, W, C]` float32 in 0 … 1 on the CPU, from floats in 0 … 1 or unsigned integers."""
    frame = to_numpy(frame)
    full_scale = np.iinfo(frame.dtype).max if frame.dtype.kind == "u" else 1
    return torch.from_numpy(frame.astype(np.float32) / np.float32(full_scale))


def _digest(frame: Frame) -> bytes:
    """A short text that is another one if any pixel is."""
    return hashlib.blake2b(np.ascontiguousarray(to_numpy(frame)).data, digest_size=16).digest()


def _check_pixels(image: Tensor, index: int) -> None:
    """Refuse pixels of a source frame that are no numbers, or on another scale than 0 … 1."""
    if not torch.isfinite(image).all():
        raise UserError(f"The image holds NaN or infinite pixels (frame {index}): check the node that feeds `image`.")
    low, high = (float(end) for end in image.aminmax())
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise UserError(
            f"The pixels of the image lie between {low:g} and {high:g} (frame {index}), and 0 (black) to 1 (white) is "
            "needed: check the node that feeds `image`."
        )


def _sample(frame: Frame, index: int) -> np.ndarray:
    """An even selection of a source frame's pixels as uint8 `[rows, columns, C]`."""
    rows, columns = (max(1, size // SAMPLE_GRID) for size in frame.shape[:2])
    pixels = _as_tensor(frame[::rows, ::columns])
    _check_pixels(pixels, index)
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


class Change(Enum):
    """What happens from one frame to the next."""

    NONE = "the shot goes on"
    CUT = "another one begins"
    BACK = "the one before the last cut goes on: what was between them was a flash"


class Shots:
    """Tells the shots of a video apart, frame by frame."""

    def __init__(self, frame_rate: Fraction) -> None:
        self._flash_frames = FLASH_SECONDS * frame_rate
        self._since_cut = 0
        self._newest: np.ndarray | None = None
        self._left: np.ndarray | None = None  # the last frame before the last cut

    def look(self, colors: np.ndarray) -> Change:
        """At the next frame, see `colors_of`."""
        before, self._newest = self._newest, colors
        self._since_cut += 1
        if before is None or not is_cut(before, colors):
            return Change.NONE
        left, self._left = self._left, before
        was_flash = left is not None and self._since_cut <= self._flash_frames and not is_cut(left, colors)
        self._since_cut = 0
        if not was_flash:
            return Change.CUT
        self._left = None
        return Change.BACK


def is_cut(before: np.ndarray, colors: np.ndarray) -> bool:
    """Whether a new scene begins between two frames, by how many of their pixels have which color (see `colors_of`).

    On both grids of colors: on one alone, a plain wall becomes another color when its light changes by one level.
    """
    return all(map(_differ, before, colors))


def colors_of(frame: Frame, index: int) -> np.ndarray:
    """Which color each pixel of an even selection of a source's frame has, of some hundreds: `[2, rows, columns]`.

    Once with the levels of a channel in eight steps, and once with the steps half of one further on.
    """
    steps = _sample(frame, index)[..., :3].astype(np.int64) + np.array([0, STEP // 2])[:, None, None, None]
    red, green, blue = np.moveaxis(steps // STEP, -1, 0)
    return (red * STEPS + green) * STEPS + blue


def _differ(before: np.ndarray, colors: np.ndarray) -> bool:
    """Whether the colors `[rows, columns]` of two frames are others.

    Bars of one color around both do not count: beside a phone's upright video they are two thirds of the picture.
    """
    inside = _inside_of_bars(before, colors)
    first, second = (np.bincount(part[inside].ravel(), minlength=STEPS**3) for part in (before, colors))
    return bool(np.abs(first - second).sum() / 2 > CUT_DISTANCE * first.sum())


def _inside_of_bars(before: np.ndarray, colors: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns between those at the edges that are of one color, the same in both frames."""
    rows = _between(before, colors)
    columns = _between(before[rows].T, colors[rows].T)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return (rows, columns) if area >= LEAST_INSIDE * colors.size else (slice(None), slice(None))


def _between(before: np.ndarray, colors: np.ndarray) -> slice:
    plain = (np.concatenate([before, colors], axis=1) == before[:, :1]).all(axis=1)
    lively = np.flatnonzero(~plain)
    return slice(int(lively[0]), int(lively[-1]) + 1) if len(lively) else slice(0, 0)
