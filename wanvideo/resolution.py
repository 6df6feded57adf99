"""The size of the video, and how a picture is brought to it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UserError

Resolution = Literal["480p", "720p", "from image", "custom"]

LONGEST_SIDE = 8192
"""Pixels; far beyond what the model was trained on, and what any memory holds."""
SIZE_STEP = 16
"""Pixels per token: 8 by the VAE, 2 by the patch embedding."""

STRIP = 16
"""A picture of which the crop shows less than one part in so many is no photograph."""

# Height and width of the sizes that the model was trained on, by height / width.
# MeiGen InfiniteTalk, ASPECT_RATIO_627 and ASPECT_RATIO_960 in `wan/utils/multitalk_utils.py`.
BUCKETS: dict[str, dict[float, tuple[int, int]]] = {
    "480p": {
        0.26: (320, 1216), 0.38: (384, 1024), 0.50: (448, 896), 0.67: (512, 768), 0.82: (576, 704),
        1.00: (640, 640), 1.22: (704, 576), 1.50: (768, 512), 1.86: (832, 448), 2.00: (896, 448),
        2.50: (960, 384), 2.83: (1088, 384), 3.60: (1152, 320), 3.80: (1216, 320), 4.00: (1280, 320),
    },
    "720p": {
        0.22: (448, 2048), 0.29: (512, 1792), 0.36: (576, 1600), 0.45: (640, 1408), 0.55: (704, 1280),
        0.63: (768, 1216), 0.76: (832, 1088), 0.88: (896, 1024), 1.00: (960, 960), 1.14: (1024, 896),
        1.31: (1088, 832), 1.50: (1152, 768), 1.58: (1216, 768), 1.82: (1280, 704), 1.91: (1344, 704),
        2.20: (1408, 640), 2.30: (1472, 640), 2.67: (1536, 576), 2.89: (1664, 576), 3.62: (1856, 512),
        3.75: (1920, 512),
    },
}  # fmt: skip


def video_size(resolution: Resolution, image_height: int, image_width: int, custom: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the video.

    Args:
        resolution: a table of trained sizes (the one nearest in aspect ratio is taken), or the picture's own size or
            the custom size, rounded to 16.
        custom: (height, width), used for `custom` only.

    Raises:
        UserError: an unknown resolution, or a picture too large for its own.
    """
    if resolution in BUCKETS:
        ratio = image_height / image_width
        buckets = BUCKETS[resolution]
        return buckets[min(buckets, key=lambda bucket: abs(bucket - ratio))]
    if resolution == "from image":
        if max(image_height, image_width) > LONGEST_SIDE:
            raise UserError(
                f"The image is {image_width} × {image_height}, and at most {LONGEST_SIDE} pixels a side can be made: "
                "choose another resolution than from image, or scale the image down."
            )
        return round_size(image_height), round_size(image_width)
    if resolution != "custom":
        raise UserError(f"There is no resolution '{resolution}': choose {', '.join(BUCKETS)}, from image or custom.")
    return round_size(custom[0]), round_size(custom[1])


def check_custom_size(height: int, width: int) -> None:
    """Refuse a typed size that would have to be rounded.

    Raises:
        UserError: it is not a multiple of 16.
    """
    for name, size in (("height", height), ("width", width)):
        if size < SIZE_STEP or size % SIZE_STEP:
            below = max(SIZE_STEP, size - size % SIZE_STEP)
            raise UserError(
                f"{name} is {size}, but the video model works in steps of {SIZE_STEP} pixels: set it to {below} or "
                f"{below + SIZE_STEP}."
            )


def round_size(pixels: int) -> int:
    """The nearest multiple of 16, at least 16."""
    return max(SIZE_STEP, round(pixels / SIZE_STEP) * SIZE_STEP)


def cover_and_crop(image: Tensor, height: int, width: int) -> Tensor:
    """Scale a picture until it covers the size, then cut out the middle.

    On 8-bit pixels with Pillow's bilinear filter and sizes rounded up, as the authors do
    (`resize_and_centercrop` in `wan/multitalk.py`); transparency is laid over black by the caller. Of a strip only the
    middle is scaled: the whole of it may take gigabytes.

    Args:
        image: `[H, W, 3]` in 0 … 1.

    Returns:
        `[1, height, width, 3]` float32 in 0 … 1, on the CPU.
    """
    scaled_height, scaled_width, top, left = cover(image.shape[0], image.shape[1], height, width)
    pixels = (image.float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    picture, bilinear = Image.fromarray(pixels), Image.Resampling.BILINEAR
    if scaled_height * scaled_width > STRIP * height * width:
        down, across = image.shape[0] / scaled_height, image.shape[1] / scaled_width
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        cropped = np.asarray(picture.resize((width, height), resample=bilinear, box=box))
    else:
        scaled = picture.resize((scaled_width, scaled_height), resample=bilinear)
        cropped = np.asarray(scaled)[top : top + height, left : left + width]
    return torch.from_numpy(cropped.astype(np.float32) / 255)[None]


def cover(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int, int, int]:
    """Scaled height and width that just cover the target, and the top left corner of the crop in its middle."""
    scale = max(target_height / height, target_width / width)
    scaled_height, scaled_width = math.ceil(scale * height), math.ceil(scale * width)
    top = round((scaled_height - target_height) / 2)
    left = round((scaled_width - target_width) / 2)
    return scaled_height, scaled_width, top, left
