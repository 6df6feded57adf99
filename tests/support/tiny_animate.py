"""A tiny Wan 2.2 Animate: Wan 2.1 image to video, and what it sees of poses and faces.

Core fixes the sizes of the face encoder, so most of the 70 MB are its; the transformer is as small as that of the demo.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tiny_models import LATENT_CHANNELS, Maker, TinyWan, wan_transformer

if TYPE_CHECKING:
    from tiny_models import Weights

LAYERS_PER_FACE_BLOCK = 5
FACE_WIDTHS = (32, 64, 128, 256, 512, 512, 512, 512)  # of the picture encoder, halving the size each time
STYLE, MOTION, MOTION_CHANNELS, MOTION_HEADS = 512, 20, 1024, 4
HEAD_WIDTH = 128
BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def wan_animate(seed: int) -> Weights:
    """All weights, under the key names by which core knows the model."""
    sizes = replace(TinyWan(), layers=LAYERS_PER_FACE_BLOCK)
    make = Maker(seed)
    make.conv("pose_patch_embedding", LATENT_CHANNELS, sizes.dim, 1, 2, 2)
    _motion_encoder(make)
    _face_encoder(make, sizes.dim)
    block = "face_adapter.fuser_blocks.0"
    make.linear(f"{block}.linear1_kv", sizes.dim, 2 * sizes.dim)
    make.linear(f"{block}.linear1_q", sizes.dim, sizes.dim)
    make.linear(f"{block}.linear2", sizes.dim, sizes.dim)
    make.rms(f"{block}.q_norm", HEAD_WIDTH)
    make.rms(f"{block}.k_norm", HEAD_WIDTH)
    return {**wan_transformer(sizes, seed + 1), **make.weights}


def _motion_encoder(make: Maker) -> None:
    """Face pictures of 512 × 512 become a few numbers of motion; core scales these weights itself."""
    convs = "motion_encoder.enc.net_app.convs"
    width = FACE_WIDTHS[0]
    make.noise(f"{convs}.0.0.weight", width, 3, 1, 1, std=1.0)
    make.noise(f"{convs}.0.1.bias", 1, width, 1, 1, std=0.05)
    for index, out in enumerate(FACE_WIDTHS[1:], start=1):
        block = f"{convs}.{index}"
        make.noise(f"{block}.conv1.0.weight", width, width, 3, 3, std=1.0)
        make.noise(f"{block}.conv1.1.bias", 1, width, 1, 1, std=0.05)
        make.noise(f"{block}.conv2.1.weight", out, width, 3, 3, std=1.0)
        make.noise(f"{block}.conv2.2.bias", 1, out, 1, 1, std=0.05)
        make.noise(f"{block}.skip.1.weight", out, width, 1, 1, std=1.0)
        for blurred in ("conv2", "skip"):
            make.weights[f"{block}.{blurred}.0.kernel"] = BLUR.astype("float16")
        width = out
    make.noise(f"{convs}.{len(FACE_WIDTHS)}.weight", STYLE, width, 4, 4, std=1.0)
    for index in range(5):
        out = STYLE if index < 4 else MOTION
        make.noise(f"motion_encoder.enc.fc.{index}.weight", out, STYLE, std=1.0)
        make.noise(f"motion_encoder.enc.fc.{index}.bias", out, std=0.05)
    make.noise("motion_encoder.dec.direction.weight", STYLE, MOTION, std=1.0)


def _face_encoder(make: Maker, dim: int) -> None:
    """Motion over time becomes tokens, one group per latent frame."""
    make.conv("face_encoder.conv1_local.conv", STYLE, MOTION_HEADS * MOTION_CHANNELS, 3)
    make.conv("face_encoder.conv2.conv", MOTION_CHANNELS, MOTION_CHANNELS, 3)
    make.conv("face_encoder.conv3.conv", MOTION_CHANNELS, MOTION_CHANNELS, 3)
    make.linear("face_encoder.out_proj", MOTION_CHANNELS, dim)
    make.noise("face_encoder.padding_tokens", 1, 1, 1, dim, std=0.1)
