"""SoulX-FlashTalk's loop in float64: what its windows are, from its formulas and given noise.

The constants and the order of the work are those of its repository (Soul-AILab/SoulX-FlashTalk: `infer_params.yaml`,
`FlashTalkPipeline.prepare_params` and `generate`, `match_and_blend_colors_torch`), in the mode that encodes all of the
speech at once (`--audio_encode_mode once`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from reference.wan_forward import WanInFloat64

WINDOW_FRAMES, MOTION_FRAMES = 33, 5
TIMESTEPS = (1000.0, 750.0, 500.0, 250.0, 0.0)
SHIFT = 5.0

LINEAR_TO_XYZ = torch.tensor(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
    dtype=torch.float64,
)
XYZ_TO_LINEAR = torch.tensor(
    [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]],
    dtype=torch.float64,
)
WHITE = torch.tensor([0.95047, 1.0, 1.08883], dtype=torch.float64)
EPSILON, KAPPA = 0.008856, 903.3


@dataclass(frozen=True)
class Vae:
    """A video VAE in float64, with latents in the model's scale."""

    encode: Callable[[Tensor], Tensor]
    """`[3, F, H, W]` in -1 … 1 -> `[16, T, H/8, W/8]`."""
    decode: Callable[[Tensor], Tensor]
    """The way back, limited to -1 … 1."""


@dataclass(frozen=True)
class Inputs:
    """What a video is made of."""

    picture: Tensor
    """`[3, H, W]` in -1 … 1."""
    text: Tensor
    """`[L, 4096]`."""
    clip: Tensor
    """`[257, 1280]`."""
    audio: Tensor
    """`[F, layers, channels]`, one row per frame of the video."""
    noise: Tensor
    """`[windows, 4, 16, T, H/8, W/8]`: what a window begins with, then what each step but the last adds."""


def sigmas() -> list[float]:
    """Noise levels before each step, and 0: the timesteps moved towards noise by the shift."""
    return [SHIFT * t / (1 + (SHIFT - 1) * t) for t in (timestep / 1000 for timestep in TIMESTEPS)]


def make_windows(model: WanInFloat64, vae: Vae, inputs: Inputs) -> list[tuple[Tensor, Tensor]]:
    """Latent `[16, T, H/8, W/8]` and frames `[3, 33, H, W]` in -1 … 1 of each window."""
    picture = inputs.picture[:, None]  # [3, 1, H, W]
    gray = torch.zeros(3, WINDOW_FRAMES - 1, *picture.shape[2:], dtype=torch.float64)
    latents = vae.encode(torch.cat([picture, gray], dim=1))
    mask = torch.zeros(4, *latents.shape[1:], dtype=torch.float64)
    mask[:, 0] = 1
    condition = torch.cat([mask, latents])
    motion = vae.encode(picture)
    windows = []
    for index, noise in enumerate(inputs.noise.double()):
        heard = heard_by(inputs.audio, index * (WINDOW_FRAMES - MOTION_FRAMES))
        latent = sample(
            lambda x, t, heard=heard: model.velocity(x, t, condition, inputs.text, inputs.clip, heard), noise, motion
        )
        frames = matched(vae.decode(latent), inputs.picture)
        windows.append((latent, frames))
        motion = vae.encode(frames[:, -MOTION_FRAMES:])
    return windows


def sample(velocity: Callable[[Tensor, float], Tensor], noise: Tensor, motion: Tensor) -> Tensor:
    """Four steps: to the clean latent, and back to the next noise level with fresh noise."""
    given = motion.shape[1]
    latent = noise[0].clone()
    latent[:, :given] = motion
    levels = sigmas()
    for step, (level, following) in enumerate(pairwise(levels)):
        clean = latent - velocity(latent, 1000 * level) * level
        fresh = noise[step + 1] if following else torch.zeros_like(clean)
        latent = (1 - following) * clean + following * fresh
        latent[:, :given] = motion
    return latent


def heard_by(audio: Tensor, start: int) -> Tensor:
    """Five rows for each frame of a window, held at the ends: `[33, 5, layers, channels]`."""
    rows = torch.arange(start, start + WINDOW_FRAMES)[:, None] + torch.arange(-2, 3)
    return audio[rows.clamp(0, len(audio) - 1)]


def matched(frames: Tensor, picture: Tensor) -> Tensor:
    """Every frame with mean and spread of the picture in each Lab channel: `[3, F, H, W]` in -1 … 1."""
    target, lab = to_lab((picture[:, None] + 1) / 2), to_lab((frames + 1) / 2)
    mean, std = (statistics(target) for statistics in (_mean, _std))
    own_std = _std(lab)
    own_std = torch.where(own_std < 1e-8, torch.ones_like(own_std), own_std)
    return 2 * to_rgb((lab - _mean(lab)) * (std / own_std) + mean) - 1


def _mean(lab: Tensor) -> Tensor:
    return lab.mean((2, 3), keepdim=True)


def _std(lab: Tensor) -> Tensor:
    return lab.std((2, 3), keepdim=True, correction=0)


def to_lab(rgb: Tensor) -> Tensor:
    """sRGB in 0 … 1 to CIE Lab, D65: `[3, F, H, W]` both."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("ij,jfhw->ifhw", LINEAR_TO_XYZ, linear) / WHITE[:, None, None, None]
    xyz = xyz.clamp(1e-8, 1)
    x, y, z = torch.where(xyz > EPSILON, xyz ** (1 / 3), (KAPPA * xyz + 16) / 116)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def to_rgb(lab: Tensor) -> Tensor:
    """CIE Lab to sRGB, limited to 0 … 1."""
    lightness, a, b = lab
    y = (lightness + 16) / 116
    x, z = y + a / 500, y - b / 200
    x, z = (torch.where(v**3 > EPSILON, v**3, (116 * v - 16) / KAPPA) for v in (x, z))
    y = torch.where(lightness > KAPPA * EPSILON, y**3, lightness / KAPPA)
    linear = torch.einsum("ij,jfhw->ifhw", XYZ_TO_LINEAR, torch.stack([x, y, z]) * WHITE[:, None, None, None])
    curved = 1.055 * linear.clamp(min=0) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curved, 12.92 * linear).clamp(0, 1)
