"""The picture that a window starts from, as the model wants to see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .finite import CLIP_VISION_OVERFLOWS, VAE_OVERFLOWS, refuse_not_finite

CLIP_SIZE = 224
KEPT_KEYFRAMES = 4
"""Scenes may alternate between so many pictures, and each is encoded once; 15 MB each at 480p, 35 MB at 720p."""
GRAY = 0.5
"""What the frames after the keyframe are filled with: 0 in the VAE's own range of -1 … 1."""


@dataclass(frozen=True)
class Keyframe:
    """One picture, encoded once for all windows that start from it."""

    image: Tensor
    """`[1, H, W, 3]` in 0 … 1."""
    latent: Tensor
    """`[1, 16, T, H/8, W/8]`, the picture followed by gray frames, as the VAE gives it."""
    clip_vision_output: Any | None
    """Core's CLIP vision output; None where no CLIP vision model is connected."""

    @property
    def first_latent(self) -> Tensor:
        """`[1, 16, 1, H/8, W/8]`, the picture alone (the VAE is causal: frame 0 does not see the later ones)."""
        return self.latent[:, :, :1]

    @property
    def mask(self) -> Tensor:
        """`[1, 1, T, H/8, W/8]` in core's sense: 0 where the picture is given, 1 where frames are to be made."""
        mask = torch.ones_like(self.latent[:, :1])
        mask[:, :, 0] = 0
        return mask


class KeyframeEncoder:
    """Encodes keyframes with core's VAE and CLIP vision; the pictures used last are known and not encoded again."""

    def __init__(self, vae: Any, clip_vision: Any | None, window_frames: int) -> None:
        self.vae = vae
        self.clip_vision = clip_vision
        self.window_frames = window_frames
        self._known: list[Keyframe] = []

    def encode(self, image: Tensor) -> Keyframe:
        """Encode a picture.

        Args:
            image: `[1, H, W, 3]` in 0 … 1, at the size of the video.

        Raises:
            UserError: the VAE or the CLIP vision model gives NaN or infinite numbers.
        """
        keyframe = next((known for known in self._known if torch.equal(known.image, image)), None)
        if keyframe is None:
            keyframe = Keyframe(image, self._latent(image), self._clip(image))
        others = [known for known in self._known if known is not keyframe]
        self._known = [keyframe, *others[: KEPT_KEYFRAMES - 1]]
        return keyframe

    def _latent(self, image: Tensor) -> Tensor:
        frames = torch.full((self.window_frames, *image.shape[1:]), GRAY)  # [F, H, W, 3]
        frames[:1] = image
        latent = self.vae.encode(frames)
        refuse_not_finite(latent, "The VAE gave for the picture", VAE_OVERFLOWS)
        return latent

    def _clip(self, image: Tensor) -> Any | None:
        if self.clip_vision is None:
            return None
        output = self.clip_vision.encode_image(squash_for_clip(image), crop=False)
        hidden = output.penultimate_hidden_states
        refuse_not_finite(hidden, "The CLIP vision model gave for the picture", CLIP_VISION_OVERFLOWS)
        return output


def squash_for_clip(image: Tensor) -> Tensor:
    """Resize a picture to CLIP's square without keeping its aspect ratio.

    Bicubic without antialiasing or crop, as the authors do (Wan 2.1, `CLIPModel.visual`). Core would crop and
    antialias a picture of another size; one of 224 × 224 it only rounds to 8 bits.

    Args:
        image: `[1, H, W, 3]` in 0 … 1.

    Returns:
        `[1, 224, 224, 3]`; overshoot beyond 0 … 1 is left for core to clip.
    """
    squashed = torch.nn.functional.interpolate(
        image.movedim(-1, 1), size=(CLIP_SIZE, CLIP_SIZE), mode="bicubic", align_corners=False
    )
    return squashed.movedim(1, -1)
