"""Keep the colours of a long video from drifting away from its picture."""

from __future__ import annotations

import torch
from torch import Tensor

# CIE 1931 → sRGB primaries and the D65 white of the 2° observer (IEC 61966-2-1; the numbers of skimage.color).
RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.95047, 1.0, 1.08883)
LAB_THRESHOLD = 0.008856
FLAT_STD = 1e-4
"""A Lab channel that varies less than this over a frame has no shape to stretch, only rounding noise."""


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """sRGB in 0 … 1 to CIE L*a*b*, channels last."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ _matrix(rgb).T / torch.tensor(WHITE).to(rgb)
    f = torch.where(xyz > LAB_THRESHOLD, xyz.clamp(min=LAB_THRESHOLD) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """CIE L*a*b* to sRGB, clipped to 0 … 1, channels last."""
    lightness, a, b = lab.unbind(-1)
    y = (lightness + 16) / 116
    f = torch.stack([y + a / 500, y, (y - b / 200).clamp(min=0)], dim=-1)
    xyz = torch.where(f > 0.2068966, f**3, (f - 16 / 116) / 7.787) * torch.tensor(WHITE).to(lab)
    linear = xyz @ torch.linalg.inv(_matrix(lab).double()).to(lab).T
    gamma = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, gamma, linear * 12.92).clamp(0, 1)


def _matrix(like: Tensor) -> Tensor:
    return torch.tensor(RGB_TO_XYZ, dtype=like.dtype, device=like.device)


def match_colors(frames: Tensor, reference: Tensor, strength: float) -> Tensor:
    """Give every frame the mean and spread of the reference in each Lab channel.

    Reinhard et al., "Color Transfer between Images" (2001), frame by frame, as MeiGen InfiniteTalk's
    `match_and_blend_colors`; a flat channel only takes the reference's mean.

    Args:
        frames: `[F, H, W, 3]` in 0 … 1.
        reference: `[1, H', W', 3]` in 0 … 1.
        strength: 0 leaves the frames, 1 takes the matched ones.

    Returns:
        `[F, H, W, 3]` on the frames' device.
    """
    if strength == 0:
        return frames
    target = rgb_to_lab(reference.to(frames.device, torch.float32)).flatten(0, 2)  # [H'·W', 3]
    mean, std = target.mean(0), target.std(0, correction=0)
    return torch.stack([_match_frame(frame, mean, std, strength) for frame in frames])


def _match_frame(frame: Tensor, mean: Tensor, std: Tensor, strength: float) -> Tensor:
    """One frame `[H, W, 3]`; mean and std `[3]` of the reference."""
    frame = frame.float().clamp(0, 1)
    lab = rgb_to_lab(frame)
    own_mean, own_std = lab.mean((0, 1)), lab.std((0, 1), correction=0)
    stretch = torch.where(own_std > FLAT_STD, std / own_std.clamp(min=FLAT_STD), torch.zeros_like(std))
    matched = lab_to_rgb((lab - own_mean) * stretch + mean)
    return torch.lerp(frame, matched, strength)
