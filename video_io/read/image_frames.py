"""ComfyUI's IMAGE, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import torch

from ...errors import UserError
from .frame_source import Frame


@dataclass(frozen=True)
class ImageFrames:
    """An IMAGE tensor [F, H, W, C] on any device, memory-mapped or not, as frames.

    `alpha` [F, H, W, 1], 1 where the picture is opaque, may come beside an RGB tensor.

    Raises:
        UserError: another shape, another type than float, or no frame.
    """

    images: torch.Tensor
    frame_rate: Fraction
    alpha: torch.Tensor | None = None
    notes: ClassVar[tuple[str, ...]] = ()

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

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Views of the tensor, frame by frame."""
        for index in range(first, self.count):  # iterating over a tensor would make the views of all frames at once
            image = self.images[index]
            yield image if self.alpha is None else torch.cat((image, self.alpha[index].to(image)), dim=-1)
