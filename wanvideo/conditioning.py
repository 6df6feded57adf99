"""Text, picture and audio conditions in the form that core's samplers take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .keyframe import Keyframe
from .model.audio_patches import AUDIO_TOKENS_KEY, FACES_KEY, VOICE_PER_SLOT_KEY, UnbatchedCond

CLIP_TOKENS, CLIP_WIDTH = 257, 1280
"""Shape of CLIP ViT-H's penultimate hidden states, the image embedding of Wan 2.1 I2V."""
TEXT_LENGTH = 512
"""Rows that Wan 2.1 pads its prompts to."""

Conditioning = list[tuple[Tensor, dict[str, Any]]]


class ZeroClipOutput:
    """Stands where core expects a CLIP vision output, when no CLIP vision model is connected."""

    penultimate_hidden_states = torch.zeros(1, CLIP_TOKENS, CLIP_WIDTH)


def empty_text(text_dim: int) -> Conditioning:
    """The condition of an unconnected prompt: zero embeddings `[1, 512, text_dim]`."""
    return [(torch.zeros(1, TEXT_LENGTH, text_dim), {})]


def with_window(
    text: Conditioning,
    keyframe: Keyframe,
    audio_tokens: Tensor,
    voice_per_slot: Tensor | None = None,
    faces: Tensor | None = None,
) -> Conditioning:
    """Text conditions plus one window's picture and audio; the given conditions are not changed.

    Args:
        text: core's CONDITIONING.
        keyframe: goes in as core's `WanImageToVideo` puts it: `concat_latent_image`, `concat_mask`,
            `clip_vision_output`.
        audio_tokens: `[T, N, D]`.
        voice_per_slot: the voice at each slot in each latent frame, `[T, slots]`; None with one speaker.
        faces: whose face each token is, `[regions, S]`; None with one speaker.
    """
    ours = {AUDIO_TOKENS_KEY: audio_tokens, VOICE_PER_SLOT_KEY: voice_per_slot, FACES_KEY: faces}
    window = {
        "concat_latent_image": keyframe.latent,
        "concat_mask": keyframe.mask,
        "concat_mask_index": 0,  # the mask before the picture; nodes for other models (Wan22FunControlToVideo) differ
        "model_conds": {name: UnbatchedCond(value[None]) for name, value in ours.items() if value is not None},
    }
    if keyframe.clip_vision_output is not None:
        window["clip_vision_output"] = keyframe.clip_vision_output
    return [(embedding, {"clip_vision_output": ZeroClipOutput, **options, **window}) for embedding, options in text]
