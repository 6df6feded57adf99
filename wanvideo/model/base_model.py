"""Is this the Wan model that the InfiniteTalk weights were trained on?"""

from __future__ import annotations

from comfy.ldm.wan.model import WanModel
from comfy.model_patcher import ModelPatcher
from torch import nn

from ...errors import UserError
from .compiled import uncompiled
from .modules import InfiniteTalkConfig

I2V_CHANNELS = 36
"""16 of the noisy latent, 4 of the mask, 16 of the image condition."""
LATENT_CHANNELS = 16

NEEDED = "load a Wan 2.1 image-to-video model (I2V 14B 480P or 720P) in the node that feeds `model`"


def check_base_model(model: ModelPatcher, config: InfiniteTalkConfig) -> None:
    """Refuse a model that InfiniteTalk's weights do not fit.

    Raises:
        UserError: the model is no Wan 2.1 I2V model, or one of another size than the weights.
    """
    if not hasattr(model.model, "diffusion_model"):
        raise UserError(f"The model is no diffusion model ({type(model.model).__name__}): {NEEDED}.")
    diffusion_model: WanModel = uncompiled(model.get_model_object("diffusion_model"))
    kind = _other_kind(diffusion_model)
    if kind:
        raise UserError(f"The model is {kind}, but InfiniteTalk runs on Wan 2.1 I2V: {NEEDED}.")
    blocks = len(diffusion_model.blocks)
    if (diffusion_model.dim, blocks) != (config.dim, config.blocks):
        raise UserError(
            f"The model has {blocks} blocks of width {diffusion_model.dim}, but the InfiniteTalk weights are for "
            f"{config.blocks} blocks of width {config.dim}: load a Wan 2.1 I2V model and InfiniteTalk weights of the "
            "same size (the published ones are for 14B: 40 blocks of width 5120)."
        )


def _other_kind(model: nn.Module) -> str | None:
    """What the model is, or None for Wan 2.1 I2V."""
    if not isinstance(model, WanModel):
        return f"no Wan model ({type(model).__name__})"
    if type(model) is not WanModel:
        return f"a special Wan model ({type(model).__name__})"
    if model.out_dim != LATENT_CHANNELS:
        return f"Wan 2.2 TI2V ({model.out_dim} latent channels)"
    if model.in_dim == LATENT_CHANNELS:
        return "a text-to-video model (Wan T2V)"
    if model.img_emb is None:
        return "Wan 2.2 I2V (no image embedding)"
    if model.in_dim != I2V_CHANNELS:
        return f"a Wan Fun/control model ({model.in_dim} input channels)"
    return None
