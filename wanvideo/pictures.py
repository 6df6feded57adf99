"""The picture, or the source video's frames, that windows start from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from .resolution import cover_and_crop


@dataclass(frozen=True)
class Pictures:
    """One picture, or the frames of a source video, brought to the size of the video when asked for."""

    images: Tensor
    """`[F, H, W, C]` in 0 … 1, 3 channels or 4 with transparency; frame numbers are those of the video."""
    size: tuple[int, int]
    """Height and width of the video."""

    def __post_init__(self) -> None:
        shape = list(self.images.shape)
        if len(shape) != 4 or shape[3] not in (3, 4) or 0 in shape:
            raise UserError(
                f"The image has shape {shape}, but [frames, height, width, 3 or 4 channels] is needed: connect an "
                "IMAGE."
            )
        if not torch.isfinite(self.images[0]).all():
            raise UserError("The image holds NaN or infinite pixels: check the node that feeds `image`.")

    @property
    def source_size(self) -> tuple[int, int]:
        """Height and width of the pictures as they came."""
        return tuple(self.images.shape[1:3])

    def raw(self, frame: int) -> Tensor:
        """The picture that belongs to a frame of the video as it came, `[H, W, C]`."""
        return self.images[min(frame, len(self.images) - 1)]

    def at(self, frame: int) -> Tensor:
        """The picture at a frame of the video, `[1, H, W, 3]`; the last one stays when the source is over.

        Transparency is laid over black.
        """
        image = self.raw(frame)
        if image.shape[-1] == 4:
            image = image[..., :3] * image[..., 3:]
        return cover_and_crop(image, *self.size)
