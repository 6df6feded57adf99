"""Models with a Wan base and InfiniteTalk's audio part in one file: whose each tensor is, and the base by core."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...errors import UserError
from .base_model import I2V_CHANNELS, LATENT_CHANNELS
from .weights import open_weights

NEEDED = "choose a model that has a Wan 2.1 I2V base and InfiniteTalk's audio part in one file, such as SoulX-FlashTalk"
QUANTIZATION = "_quantization_metadata"
"""Where newer scaled checkpoints say how each layer is stored."""


def is_audio_part(name: str) -> bool:
    """Whether a tensor of a merged model is InfiniteTalk's own."""
    return name.startswith("audio_proj.") or ".audio_cross_attn." in name or ".norm_x." in name


def is_merged(names: Iterable[str]) -> bool:
    """Whether there is a base model beside the audio part."""
    return "patch_embedding.weight" in names


def refuse_other_bases(name: str, weights: Mapping[str, Tensor]) -> None:
    """Say which base a merged model has that InfiniteTalk does not run on.

    Raises:
        UserError: the base is not Wan 2.1 I2V.
    """
    embedding = weights["patch_embedding.weight"]
    channels = embedding.shape[1] if embedding.ndim > 1 else 0
    kind = None
    if channels == LATENT_CHANNELS:
        kind = f"a text-to-video model (Wan T2V, {channels} input channels)"
    elif channels != I2V_CHANNELS:
        kind = f"a model of {channels} input channels"
    elif not any(key.startswith("img_emb.") for key in weights):
        kind = "Wan 2.2 I2V (no image embedding)"
    if kind:
        raise UserError(f"{name} has InfiniteTalk's audio part on {kind}, and it runs on Wan 2.1 I2V only: {NEEDED}.")


def load_base(path: Path, dtype: torch.dtype | None = None, *, disable_dynamic: bool = False) -> ModelPatcher:
    """The Wan model of a merged file, as core's Load Diffusion Model makes it of a file without the audio part.

    That node reads a merged file too, but names each tensor of the audio part in its log, and knows neither shards nor
    GGUF.

    Args:
        path: see `open_weights`; GGUF becomes fp16.
        dtype: what the weights are kept in; None for the file's own.
        disable_dynamic: see `load_infinitetalk`.

    Raises:
        UserError: there is no base in the file.
    """
    weights = open_weights(path, NEEDED)
    if not is_merged(weights):
        raise UserError(
            f"{path.name} has no base model in it: load it with Load InfiniteTalk, and a Wan 2.1 I2V model with Load "
            "Diffusion Model."
        )
    base = {name: weights[name] for name in weights if not is_audio_part(name)}
    options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    asked = {"disable_dynamic": True} if disable_dynamic else {}  # of cores that know it
    model = comfy.sd.load_diffusion_model_state_dict(
        base, model_options=options, metadata=_without_audio(weights.metadata), **asked
    )
    if model is None:
        raise UserError(f"{path.name} has a base that this ComfyUI does not know: {NEEDED}.")
    model.cached_patcher_init = (load_base, (path, dtype))
    return model


def _without_audio(metadata: Mapping[str, str]) -> dict[str, str]:
    """The header's texts, with the base's layers only."""
    texts = dict(metadata)
    if QUANTIZATION in texts:
        try:
            stored = json.loads(texts[QUANTIZATION])
            stored["layers"] = {name: how for name, how in stored["layers"].items() if not is_audio_part(f"{name}.")}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"The file's header does not say how its layers are stored ({QUANTIZATION} cannot be read): download "
                "it again."
            ) from error
        texts[QUANTIZATION] = json.dumps(stored)
    return texts
