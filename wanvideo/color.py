"""Keep the colors of a long video from drifting away from its picture."""

from __future__ import annotations

import torch
from torch import Tensor

FLAT_STD = 1e-4
"""A Lab channel that varies less than this over a frame has no shape to stretch, only rounding noise."""

LEAST_CONTRAST = 2.0
"""Standard deviation of lightness, 0 to 100. A reference with less is black before a fade, or a plain color: it has no
look that a scene could be held to, and all of the scene would become as black."""


def has_a_look(reference: Tensor) -> bool:
    """Whether colors can be held to a picture `[1, H, W, 3]` in 0 … 1."""
    from kornia.color import rgb_to_lab  # ComfyUI brings it

    return bool(rgb_to_lab(reference[0].float().movedim(-1, 0))[0].std(correction=0) >= LEAST_CONTRAST)


def match_colors(
    frames: Tensor, reference: Tensor, strength: float, device: torch.device | str | None = None
) -> Tensor:
    """Give every frame the mean and spread of the reference in each Lab channel.

    Reinhard et al., "Color Transfer between Images" (2001), frame by frame, as MeiGen InfiniteTalk's
    `match_and_blend_colors`; a flat channel only takes the reference's mean.

    Args:
        frames: `[F, H, W, 3]` in 0 … 1.
        reference: `[1, H', W', 3]` in 0 … 1.
        strength: 0 leaves the frames, 1 takes the matched ones.
        device: where to compute, one frame at a time; None for where the frames are.

    Returns:
        `[F, H, W, 3]` on the frames' device.
    """
    if strength == 0:
        return frames
    from kornia.color import rgb_to_lab  # ComfyUI brings it

    device = device or frames.device
    target = rgb_to_lab(reference[0].to(device, torch.float32).movedim(-1, 0))  # [3, H', W']
    mean, std = _mean_and_spread(target)
    matched = torch.empty_like(frames)
    for frame, place in zip(frames, matched, strict=True):
        place.copy_(_match_frame(frame.to(device), mean, std, strength))
    return matched


def _match_frame(frame: Tensor, mean: Tensor, std: Tensor, strength: float) -> Tensor:
    """One frame `[H, W, 3]`; mean and std `[3, 1, 1]` of the reference."""
    from kornia.color import lab_to_rgb, rgb_to_lab

    frame = frame.float().clamp(0, 1)
    lab = rgb_to_lab(frame.movedim(-1, 0))  # [3, H, W]
    own_mean, own_std = _mean_and_spread(lab)
    stretch = torch.where(own_std > FLAT_STD, std / own_std.clamp(min=FLAT_STD), torch.zeros_like(std))
    matched = lab_to_rgb((lab - own_mean) * stretch + mean, clip=True).movedim(0, -1)
    return torch.lerp(frame, matched, strength)


def _mean_and_spread(lab: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of `[3, H, W]`, `[3, 1, 1]` each."""
    return lab.mean((1, 2), keepdim=True), lab.std((1, 2), correction=0, keepdim=True)
