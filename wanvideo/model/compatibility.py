"""Do VAE, prompts and CLIP vision belong to the Wan model? Asked of what is there, before any of them is loaded."""

from __future__ import annotations

from typing import Any

from comfy.ldm.wan.vae import WanVAE
from comfy.model_patcher import ModelPatcher
from comfy.taesd.taehv import TAEHV
from torch import Tensor, nn

from ...errors import UserError
from ...weight_files import all_finite
from .base_model import LATENT_CHANNELS
from .compiled import uncompiled

VIDEO_DIMENSIONS = 3
TEXT_ENCODERS = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2", 1280: "Stable Diffusion XL", 2048: "SDXL"}
"""Whose prompts have rows of so many numbers."""


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
    """Refuse a prompt of another text encoder than the model's, or one that holds no numbers.

    Raises:
        UserError: it is one; the sentence has `name`.
    """
    width = uncompiled(model.get_model_object("diffusion_model")).text_dim
    needed = "encode it with umt5_xxl in a CLIP Text Encode whose CLIP is loaded with type wan"
    for embedding, _ in conditioning or []:
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
