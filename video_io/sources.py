"""Where the frames come from: IMAGE tensors, our own stored videos, core's VIDEO objects. None is loaded whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import torch

from ..errors import UserError

Frame = np.ndarray | torch.Tensor

MAX_RATE = 1000
# Television's rates are 1000/1001 of these, and people write them with two or three digits.
NTSC_NOMINAL_RATES = (12, 15, 24, 30, 48, 60, 72, 96, 120, 240)
STORED_CHUNK_FRAMES = 4


class FrameSource(Protocol):
    """Frames of one size that can be read from the first, more than once.

    Attributes:
        count: number of frames.
        height, width: pixels.
        channels: 1, 3 or 4.
        rate: frames per second.
    """

    count: int
    height: int
    width: int
    channels: int
    rate: Fraction

    def frames(self) -> Iterator[Frame]:
        """Frames [H, W, C] in order: floats 0 to 1, or uint8 or uint16 on their whole range."""


def exact_rate(fps: float | Fraction) -> Fraction:
    """Frames per second as the fraction that is meant: 23.976 is 24000/1001, 29.97 is 30000/1001.

    Raises:
        UserError: not above 0 and at most `MAX_RATE`.
    """
    if not math.isfinite(fps) or not 0 < fps <= MAX_RATE:
        raise UserError(f"The frame rate is {float(fps):g}; more than 0 and at most {MAX_RATE} is needed: set fps.")
    for nominal in NTSC_NOMINAL_RATES:
        rate = Fraction(nominal * 1000, 1001)
        if abs(float(fps - rate)) < 0.005 and fps != nominal:
            return rate
    return Fraction(fps).limit_denominator(100_000 if fps < 1 else 1000)


@dataclass(frozen=True)
class ImageFrames:
    """An IMAGE tensor [F, H, W, C] on any device, memory-mapped or not, as frames.

    `alpha` [F, H, W, 1], 1 where the picture is opaque, may come beside an RGB tensor.

    Raises:
        UserError: another shape, another type than float, or no frame.
    """

    images: torch.Tensor
    rate: Fraction
    alpha: torch.Tensor | None = None

    def __post_init__(self) -> None:
        shape = list(self.images.shape)
        if len(shape) != 4 or shape[3] not in (1, 3, 4):
            raise UserError(
                f"The images have the shape {shape}; [frames, height, width, channels] with 1, 3 or 4 channels is "
                "needed: connect an IMAGE."
            )
        if not self.images.is_floating_point():
            raise UserError(f"The images are {self.images.dtype}; floats from 0 to 1 are needed: connect an IMAGE.")
        if shape[0] == 0:
            raise UserError("There are no frames: the images input is empty.")
        if shape[1] == 0 or shape[2] == 0:
            raise UserError(f"The images are {shape[2]}×{shape[1]} pixels: at least 1×1 is needed.")

    @property
    def count(self) -> int:
        return self.images.shape[0]

    @property
    def height(self) -> int:
        return self.images.shape[1]

    @property
    def width(self) -> int:
        return self.images.shape[2]

    @property
    def channels(self) -> int:
        return self.images.shape[3] + (self.alpha is not None)

    def frames(self) -> Iterator[Frame]:
        """Views of the tensor, frame by frame."""
        for index in range(self.count):  # iterating over a tensor would make the views of all frames at once
            image = self.images[index]
            yield image if self.alpha is None else torch.cat((image, self.alpha[index].to(image)), dim=-1)


class StoredFrames:
    """A VIDEO that hands out its frames in chunks through `iter_frames` (uint8 [n, H, W, 3])."""

    channels = 3

    def __init__(self, video: Any) -> None:
        self._video = video
        self.width, self.height = video.get_dimensions()
        self.rate = exact_rate(Fraction(video.get_frame_rate()))
        self.count = video.get_frame_count()
        if self.count == 0:
            raise UserError("There are no frames: the video is empty.")

    def frames(self) -> Iterator[Frame]:
        """Frames [H, W, 3] uint8."""
        for chunk in self._video.iter_frames(chunk_frames=STORED_CHUNK_FRAMES):
            yield from chunk
