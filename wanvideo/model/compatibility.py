"""Do VAE, prompts and CLIP vision belong to the Wan model? Asked of what is there, before any of them is loaded."""

from __future__ import annotations

import math
from typing import Any

from comfy.ldm.wan.vae import WanVAE
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST
from comfy.taesd.taehv import TAEHV
from torch import Tensor, linspace, nn

from ...errors import UserError
from ...weight_files import all_finite
from .base_model import LATENT_CHANNELS
from .compiled import uncompiled

VIDEO_DIMENSIONS = 3
TEXT_ENCODERS = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2", 1280: "Stable Diffusion XL", 2048: "SDXL"}
"""Whose prompts have rows of so many numbers."""
TIMESTEPS = 1000
"""Of Wan: it was trained on its noise levels times this number."""
PICTURES_OF_OTHERS = {"time_dim_concat": "WanPhantomSubjectToVideo", "context_latents": "BerniniConditioning"}
"""What such nodes put into a prompt that core's model would take and fail on, and the nodes."""


def check_vae(vae: Any) -> None:
    """Refuse a VAE of other latents than Wan 2.1's.

    Core's own classes tell what they are; small and distilled VAEs of packs have classes of their own.

    Raises:
        UserError: it is another one.
    """
    inner = type(getattr(vae, "first_stage_model", None))
    if vae.latent_channels != LATENT_CHANNELS or getattr(vae, "latent_dim", None) != VIDEO_DIMENSIONS:
        kind = "video" if getattr(vae, "latent_dim", None) == VIDEO_DIMENSIONS else "pictures"
        found = f"makes latents of {vae.latent_channels} channels for {kind}"
    elif inner.__module__.startswith("comfy.") and not issubclass(inner, WanVAE | TAEHV):
        found = f"is of another model (HunyuanVideo's, for example; its class is {inner.__name__})"
    else:
        return
    raise UserError(
        f"The VAE {found}, but InfiniteTalk needs Wan 2.1's: load wan_2.1_vae.safetensors in the node that feeds `vae`."
    )


def check_prompt(name: str, conditioning: list[tuple[Tensor, dict[str, Any]]] | None, model: ModelPatcher) -> None:
    """Refuse a prompt of another text encoder than the model's, with pictures that core puts beside the video's for
    other models, or one that holds no numbers.

    Raises:
        UserError: it is one; the sentence has `name`.
    """
    width = uncompiled(model.get_model_object("diffusion_model")).text_dim
    needed = "encode it with umt5_xxl in a CLIP Text Encode whose CLIP is loaded with type wan"
    for embedding, options in conditioning or []:
        through = next((node for key, node in PICTURES_OF_OTHERS.items() if options.get(key) is not None), None)
        if through:
            raise UserError(
                f"The prompt at `{name}` comes through a node for another model ({through}), whose pictures this model "
                f"cannot take: connect the CLIP Text Encode before that node to `{name}`."
            )
        if embedding.shape[-1] != width:
            other = TEXT_ENCODERS.get(embedding.shape[-1])
            of = f", like those of {other}" if other else ""
            raise UserError(
                f"The prompt at `{name}` has rows of {embedding.shape[-1]} numbers{of}, but the model needs {width}: "
                f"{needed}."
            )
        if not embedding.numel():
            raise UserError(f"The prompt at `{name}` is empty (shape {list(embedding.shape)}): {needed}.")
        if not all_finite(embedding):
            raise UserError(
                f"The prompt at `{name}` holds NaN or infinite numbers: the text encoder has overflowed or its file "
                "is damaged, so load it in bf16 or fp8, or download it again."
            )


def check_in_every_step(
    name: str, conditioning: list[tuple[Tensor, dict[str, Any]]] | None, model: ModelPatcher, sigmas: Tensor
) -> None:
    """Refuse a prompt that is not there in some step: core takes a prediction of nothing but zeros for it.

    Args:
        sigmas: noise levels of the steps, and the last one, at which no step is made.

    Raises:
        UserError: it is one; the sentence has `name`.
    """
    if conditioning is None:
        return
    sampling = model.get_model_object("model_sampling")
    spans = [_span(options, sampling) for _, options in conditioning if options.get("strength", 1.0) != 0]
    levels = sigmas[:-1].tolist()
    without = [step for step, sigma in enumerate(levels, 1) if not any(low <= sigma <= high for low, high in spans)]
    if without:
        raise UserError(
            f"The prompt at `{name}` is not there in {len(without)} of {len(levels)} steps (step {without[0]} is the "
            "first): take out the Conditioning (Set Timestep Range) or the strength of 0 before it, or add a prompt "
            "for these steps with Conditioning (Combine)."
        )


def _span(options: dict[str, Any], sampling: Any) -> tuple[float, float]:
    """The lowest and the highest noise level at which core has a prompt take part (`comfy/samplers.py`,
    `calculate_start_end_timesteps`).
    """
    starts = [options[name] for name in ("start_percent", "clip_start_percent") if name in options]
    ends = [options[name] for name in ("end_percent", "clip_end_percent") if name in options]
    low = sampling.percent_to_sigma(min(ends)) if ends else -math.inf
    return low, sampling.percent_to_sigma(max(starts)) if starts else math.inf


def check_model_sampling(model: ModelPatcher) -> None:
    """Refuse noise of another kind than Wan's flow, which a node before the sampler has given to the model.

    Raises:
        UserError: it is another one.
    """
    sampling = model.get_model_object("model_sampling")
    levels = linspace(0.2, 1.0, 5)
    if not isinstance(sampling, CONST) or not (sampling.timestep(levels) / TIMESTEPS).allclose(levels):
        raise UserError(
            f"A node before the sampler has set the model's sampling to that of another model ({_origin(sampling)}): "
            "take it out, or use ModelSamplingSD3 to change the shift."
        )


def check_context_windows(model: ModelPatcher, latent_frames: int) -> None:
    """Refuse context windows that are shorter than the sampler's own; longer ones do nothing.

    Raises:
        UserError: there are such.
    """
    length = getattr(model.model_options.get("context_handler"), "context_length", latent_frames)
    if length < latent_frames:
        raise UserError(
            f"A node before the sampler cuts the video into context windows of {length} latent frames, but the "
            f"sampler has windows of its own, here of {latent_frames}: take that node out."
        )


def _origin(sampling: Any) -> str:
    """Names of core's classes that a sampling is made of; nodes call their own all alike."""
    return " and ".join(kind.__name__ for kind in type(sampling).__mro__ if kind.__module__ == CONST.__module__)


def check_clip_vision(clip_vision: Any | None, model: ModelPatcher) -> None:
    """Refuse a CLIP vision model whose hidden states are of another width than the Wan model's image embedding takes.

    Raises:
        UserError: it is one.
    """
    needed = uncompiled(model.get_model_object("diffusion_model")).img_emb.proj[0].normalized_shape[0]
    found = _width(clip_vision)
    if found not in (needed, None):
        raise UserError(
            f"The CLIP vision model is {found} wide, but the model needs {needed}: load clip_vision_h.safetensors in "
            "the node that feeds `clip_vision`, or connect none."
        )


def _width(clip_vision: Any | None) -> int | None:
    """Channels of its hidden states, which its first layer makes; None where that cannot be told."""
    inner = getattr(clip_vision, "model", None)
    names = inner.named_parameters() if isinstance(inner, nn.Module) else ()
    return next((len(weight) for name, weight in names if "patch_embed" in name and name.endswith("weight")), None)
