"""A source video on the golden models: what is dubbed, and jobs that dub it."""

from __future__ import annotations

from fractions import Fraction

import torch

from .two_window_job import FRAMES, make_job

SIZE = (32, 32)


def source_video(frames: int = FRAMES, seed: int = 5) -> torch.Tensor:
    """IMAGE `[frames, 40, 48, 3]`: soft blobs that wander, no cut among them."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.rand(1, 3, 5, 6 + frames, generator=generator)
    wide = torch.nn.functional.interpolate(wide, size=(40, 48 + 8 * frames), mode="bicubic").clamp(0, 1)[0]
    return torch.stack([wide[:, :, 2 * k : 2 * k + 48].movedim(0, -1) for k in range(frames)])


def pictures_of(images: torch.Tensor, rate: int = 25, frames: int = FRAMES):
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.pictures import Pictures

    return Pictures(ImageFrames(images, Fraction(rate)), Fraction(25), frames, SIZE)


def dubbing_job(models, images: torch.Tensor | None = None, **changes):
    """Two windows of five frames at 32 × 32, of a source video."""
    return make_job(models, pictures=pictures_of(source_video() if images is None else images), **changes)


def left_half(masks: int = 1) -> torch.Tensor:
    """An edit mask: the left quarter of the picture may change."""
    mask = torch.zeros(masks, 40, 48)
    mask[:, :, :16] = 1
    return mask
