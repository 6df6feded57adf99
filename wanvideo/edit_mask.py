"""Where a source video may change: masks from any node, as soft pixels and as latents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import UserError
from ..spool import release
from ..video_io.pixels import to_numpy
from .resolution import cover
from .windows import LATENT_STRIDE

FEATHER_SHARE = 1 / 30
"""Width of the soft border over the shorter side of the video: 16 pixels at 480p."""
LATENT_PIXELS = 8
"""Pixels per latent, each way."""
STRETCH = 64
"""Masks between which the pages of those before are given back to the system."""


class EditMask:
    """The masks of a source video: one for all of its frames, or one for each, at the video's size.

    The border lies outside of the mask, so that all of the mask may change: it falls from 1 to 0 over a share of the
    video's size, and beyond it nothing changes.
    """

    def __init__(self, masks: Tensor, source_frames: int, image_size: tuple[int, int], size: tuple[int, int]) -> None:
        """Check the masks.

        Args:
            masks: `[1 or source_frames, h, w]` in 0 … 1 over the whole picture, of any size.
            source_frames: length of the source video.
            image_size: height and width of its pictures.
            size: height and width of the video that is made.

        Raises:
            UserError: another shape or number of masks, pixels that are no numbers, or nothing that may change.
        """
        masks = masks[None] if masks.ndim == 2 else masks
        if masks.ndim != 3 or 0 in masks.shape:
            raise UserError(
                f"edit_mask has the shape {list(masks.shape)}, but [masks, height, width] is needed: connect a MASK."
            )
        if len(masks) not in (1, source_frames):
            raise UserError(
                f"edit_mask has {len(masks)} masks and the source video {source_frames} frames: connect one mask, or "
                "one for every frame."
            )
        self._masks = masks
        self._size = size
        self._image_size = image_size
        self._keys: list[bytes] = []
        for index in range(len(masks)):
            self._keys.append(self._checked(index))
            if index % STRETCH == 0:
                release(masks)
        release(masks)
        self._single = self._scaled(0) if len(masks) == 1 else None

    def at(self, index: int) -> Tensor:
        """The mask of a frame of the source, `[H, W]` float32: 1 where the picture may change, 0 where it must not."""
        return self._scaled(index) if self._single is None else self._single

    def of(self, indices: Sequence[int]) -> list[Tensor]:
        """The masks of several frames of the source, as `at` gives them; memory holds no others."""
        masks = [self.at(index) for index in indices]
        release(self._masks)
        return masks

    def key(self, index: int) -> bytes:
        """A digest of the mask of a frame of the source."""
        return self._keys[index if self._single is None else 0]

    def check_not_empty(self, indices: range) -> None:
        """Refuse masks that let nothing change.

        Args:
            indices: the frames of the source that the video shows.

        Raises:
            UserError: the masks of all of them are empty where the video is.
        """
        if not any(bool(self.at(index).any()) for index in (indices if self._single is None else range(1))):
            raise UserError(
                f"edit_mask is empty within the {self._size[1]} × {self._size[0]} video, so nothing could change: "
                "cover the mouth or the face with it (the edges of the picture are cropped to the video's shape)."
            )

    def _checked(self, index: int) -> bytes:
        mask = self._masks[index]
        if not torch.isfinite(mask).all():
            raise UserError(f"edit_mask holds NaN or infinite pixels (mask {index}): check the node that feeds it.")
        digest = hashlib.blake2b(repr(tuple(mask.shape)).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(to_numpy(mask)).data)
        return digest.digest()

    def _scaled(self, index: int) -> Tensor:
        """Resized as the picture is (cover and crop), with its border."""
        height, width, top, left = cover(*self._image_size, *self._size)
        mask = self._masks[index].cpu().float().clamp(0, 1)[None, None]
        mask = functional.interpolate(mask, size=(height, width), mode="bilinear", align_corners=False)
        mask = mask[..., top : top + self._size[0], left : left + self._size[1]]
        return feathered(mask, max(1, round(min(self._size) * FEATHER_SHARE / 2)))[0, 0]


def feathered(mask: Tensor, reach: int) -> Tensor:
    """A soft border around a mask.

    The mask grows by half of the border, and each pixel becomes the average of what is within as much of it; that
    slope is bent at both ends (3m² - 2m³, "smoothstep"), so that no edge of the border can be seen.

    Args:
        mask: `[1, 1, H, W]` in 0 … 1.
        reach: half of the border's width in pixels.

    Returns:
        `[1, 1, H, W]`: 1 where the mask is, 0 where no pixel of it is within the border's width (in rows or columns).
    """
    soft = mask.double()  # the averages of ones and of zeros must be exact
    for rows, columns in ((reach, 0), (0, reach)):
        soft = functional.max_pool2d(soft, (2 * rows + 1, 2 * columns + 1), stride=1, padding=(rows, columns))
    for rows, columns in ((reach, 0), (0, reach)):
        padded = functional.pad(soft, (columns, columns, rows, rows), mode="replicate")
        soft = functional.avg_pool2d(padded, (2 * rows + 1, 2 * columns + 1), stride=1).clamp(0, 1)
    return (soft * soft * (3 - 2 * soft)).to(mask.dtype)


def latent_mask(masks: list[Tensor]) -> Tensor:
    """Which latents may change: all that a pixel which may change, however little, comes from.

    Args:
        masks: one `[H, W]` for each frame of a window, 4n + 1 of them.

    Returns:
        `[1, 1, T, H/8, W/8]` of 0 and 1, in core's sense (`denoise_mask`).
    """
    small = [functional.max_pool2d((mask > 0).float()[None, None], LATENT_PIXELS)[0, 0] for mask in masks]
    later = [torch.stack(small[i : i + LATENT_STRIDE]).amax(0) for i in range(1, len(small), LATENT_STRIDE)]
    return torch.stack([small[0], *later])[None, None]
