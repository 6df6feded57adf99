"""Guidance by text and by audio, each with a scale of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

TEXT_AUDIO = "positive"
"""Pass with the prompt and the audio (`c` in the formulas)."""
NEGATIVE_AUDIO = "negative"
"""Pass with the negative prompt and the audio (`t`)."""
TEXT_SILENT = "positive_silent"
"""Pass with the prompt and zero audio (`a`)."""
NEGATIVE_SILENT = "negative_silent"
"""Pass with the negative prompt and zero audio (`u`)."""


def is_one(scale: float) -> bool:
    """Whether a guidance scale switches its guidance off."""
    return math.isclose(scale, 1.0)


def pass_weights(text_cfg: float, audio_cfg: float) -> dict[str, float]:
    """How much of each pass goes into the guided velocity; a pass that would weigh 0 is left out.

    With text guidance `u + text · (c - t) + audio · (t - u)`, without it `a + audio · (c - a)`
    (MeiGen InfiniteTalk, "vanilla CFG strategy" in `wan/multitalk.py`), written as weights that add up to 1.
    """
    if is_one(text_cfg):
        weights = {TEXT_AUDIO: audio_cfg, TEXT_SILENT: 1 - audio_cfg}
    else:
        weights = {TEXT_AUDIO: text_cfg, NEGATIVE_AUDIO: audio_cfg - text_cfg, NEGATIVE_SILENT: 1 - audio_cfg}
    return {name: weight for name, weight in weights.items() if not math.isclose(weight, 0, abs_tol=1e-9)}


def as_one_guidance(text_cfg: float, audio_cfg: float) -> tuple[float, dict[str, float]]:
    """The same guidance as core has it, with one scale: `away + scale * (c - away)` with the pass with text and audio.

    Nodes that work on what core has guided take it to be so (`sampler_post_cfg_function` in `comfy/samplers.py`).

    Returns:
        The scale, and the weights of the passes that make up `away`; without any guidance that is the only pass.
    """
    weights = pass_weights(text_cfg, audio_cfg)
    scale = weights.pop(TEXT_AUDIO, 0.0)
    if not weights:
        return scale, {TEXT_AUDIO: 1.0}
    return scale, {name: weight / (1 - scale) for name, weight in weights.items()}


def guidance_terms(text_cfg: float, audio_cfg: float) -> list[tuple[float, str, str]]:
    """The differences that push the velocity, as (strength, towards, away from), for projected guidance.

    The velocity with text and audio is the starting point, so each strength is the scale minus 1; a term of
    strength 0 is left out.
    """
    if is_one(text_cfg):
        terms = [(audio_cfg - 1, TEXT_AUDIO, TEXT_SILENT)]
    else:
        terms = [(text_cfg - 1, TEXT_AUDIO, NEGATIVE_AUDIO), (audio_cfg - 1, NEGATIVE_AUDIO, NEGATIVE_SILENT)]
    return [term for term in terms if not math.isclose(term[0], 0, abs_tol=1e-9)]


@dataclass(frozen=True)
class Guidance:
    """How hard the sampler is pushed towards prompt and audio."""

    text_cfg: float = 5.0
    audio_cfg: float = 4.0
    apg: bool = False
    apg_momentum: float = -0.75
    apg_norm_threshold: float = 55.0

    @property
    def passes(self) -> tuple[str, ...]:
        """The model passes that one step needs."""
        if not self.apg:
            return tuple(pass_weights(self.text_cfg, self.audio_cfg))
        names = [TEXT_AUDIO]
        for _, towards, away in guidance_terms(self.text_cfg, self.audio_cfg):
            names += [towards, away]
        return tuple(dict.fromkeys(names))


@dataclass
class ProjectedGuidance:
    """Adaptive projected guidance for one term over the steps of one window.

    Sadat et al., "Eliminating Oversaturation and Artifacts of High Guidance Scales" (arXiv 2410.02416), with
    the authors' constants for InfiniteTalk: negative momentum, a cap on the length, and only what stands at
    right angles to the prediction is kept.
    """

    momentum: float = -0.75
    norm_threshold: float = 55.0
    eta: float = 0.0
    """Share of the parallel part that is kept."""
    running: Tensor | None = field(default=None, repr=False)

    def __call__(self, difference: Tensor, velocity: Tensor) -> Tensor:
        """The update for one step.

        Args:
            difference: `[B, C, T, H, W]`, velocity towards minus velocity away.
            velocity: `[B, C, T, H, W]`, the velocity with text and audio.
        """
        self.running = difference if self.running is None else difference + self.momentum * self.running
        update, axes = self.running, (-1, -2, -3, -4)
        if self.norm_threshold > 0:
            length = update.norm(p=2, dim=axes, keepdim=True)  # [B, 1, 1, 1, 1]
            update = update * torch.clamp(self.norm_threshold / length, max=1.0)
        # The authors do this in float64, which MPS and some of Intel's GPUs do not have; core samples in float32.
        wide, direction = update.float(), velocity.float()
        length = torch.linalg.vector_norm(direction, dim=axes, keepdim=True)  # [B, 1, 1, 1, 1]
        direction = direction / length.clamp(min=1e-12)
        parallel = (wide * direction).sum(dim=axes, keepdim=True) * direction
        return (wide - parallel + self.eta * parallel).to(difference.dtype)
