"""InfiniteTalk weight files: what they are, and how they become a model. Detection is by keys and shapes alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...errors import UserError, plain_text
from ...weight_files import count_numbered, refuse_unusable
from ..windows import AUDIO_WINDOW
from .merged_checkpoint import is_merged, refuse_other_bases
from .modules import HEAD_DIM, LATER_WINDOW, InfiniteTalk, InfiniteTalkConfig
from .origin import origin_of
from .weights import open_weights

log = logging.getLogger(__name__)

StateDict = Mapping[str, Tensor]

NEEDED = (
    "load InfiniteTalk's own weights (for example Wan2_1-InfiniTetalk-Single_fp16.safetensors or "
    "Wan2_1-InfiniteTalk_Single_Q8.gguf)"
)
SCALE_SUFFIXES = (".scale_weight", ".weight_scale")
FIRST_KEY = "audio_proj.proj1.weight"
"""The precision of the model is this one's."""
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
MOST_BLOCKS = 128
"""Three times as many as the largest Wan model has."""


def load_infinitetalk(path: Path, *, disable_dynamic: bool = False) -> ModelPatcher:
    """Read InfiniteTalk's own weights: a file of them, or their part of a merged model.

    Of a merged model nothing else leaves the disk, and no more memory is taken than the part needs.

    Args:
        path: see `open_weights`.
        disable_dynamic: take core's plain patcher also where it has one for dynamic VRAM; core asks for it when it
            makes a copy that can be compiled.

    Returns:
        A patcher around `InfiniteTalk`, on core's offload device, in the file's own precision (fp8 and GGUF
        become fp16, which holds them without loss but for their scales).

    Raises:
        UserError: the file holds no InfiniteTalk weights, or not all of them.
    """
    state = open_weights(path, NEEDED)
    layout = state.layout()
    refuse_other_models(path.name, layout)
    merged = is_merged(layout)
    if merged:
        refuse_other_bases(path.name, layout)
    origin = origin_of(path, state.metadata, merged)
    config = config_from(path.name, layout)
    # PyTorch's layers tell what there has to be: core's own have no weights until they are loaded, where it pages them.
    wanted = InfiniteTalk(config, nn, device="meta").state_dict()
    _check_complete(path.name, layout, wanted)
    first = dequantized(path.name, state, FIRST_KEY)
    refuse_unusable(path.name, FIRST_KEY, first)
    dtype = first.dtype
    del first
    offload_device = comfy.model_management.unet_offload_device()
    weights = {}
    for key in wanted:  # one by one, and taken over as they are: a second copy of all would be as large again
        tensor = dequantized(path.name, state, key)
        refuse_unusable(path.name, key, tensor)
        weights[key] = tensor.to(offload_device, dtype, copy=True)
    model = InfiniteTalk(config, comfy.ops.manual_cast, device="meta", dtype=dtype)
    model.load_state_dict(weights, assign=True)
    model.origin = origin
    log.info(
        "InfiniteTalk: %s is %s, %d blocks of width %d, %s. %s",
        plain_text(path.name), origin.name, config.blocks, config.dim, dtype, origin.advice,
    )  # fmt: skip
    # Core's own kind of patcher, which main.py may exchange after the import. A single plain one would make core load
    # everything in the old way, and throw these weights out for every VAE decode.
    newest = getattr(comfy.model_patcher, "CoreModelPatcher", ModelPatcher)
    patcher = (ModelPatcher if disable_dynamic else newest)(
        model.eval().requires_grad_(False),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=offload_device,
    )
    patcher.cached_patcher_init = (load_infinitetalk, (path,))  # how core makes a copy for another GPU
    return patcher


def refuse_other_models(name: str, state: StateDict) -> None:
    """Say what a file is that holds something else than InfiniteTalk's weights.

    Raises:
        UserError: always, unless the file has InfiniteTalk's audio projection and nothing that contradicts it.
    """
    kind = _other_kind(state)
    if kind:
        raise UserError(f"{name} is {kind}, not InfiniteTalk weights: {NEEDED}.")


def _other_kind(state: StateDict) -> str | None:
    """What the file is, or None where nothing speaks against InfiniteTalk."""

    def has(part: str) -> bool:
        return any(part in key for key in state)

    signs = (
        ("a whole model quantized with quanto", has("._data") or has("quanto")),
        ("LongCat-Video-Avatar", has("audio_cross_attn.q_norm") or has("pre_audio_crs_attn_norm")),
        ("FantasyTalking", has("proj_model.") and has("processor.")),
        ("Wan 2.2 S2V", has("casual_audio_encoder.") or has("audio_injector.")),
        ("HuMo", has("audio_proj_glob_") or has("audio_cross_attn_wrapper.")),
        ("a LoRA", has("lora_A.") or has("lora_down") or has(".lora_up") or has(".alpha")),
        (
            "a video model (a base DiT)",
            not has("audio_cross_attn.") and (has("patch_embedding.") or has("double_blocks.")),
        ),
        ("a text encoder", has("shared.weight") or has("token_embd.weight") or has("embed_tokens")),
        ("a wav2vec2 model", has("feature_extractor.conv_layers")),
        ("a CLIP vision model", has("vision_model.") or has("visual.transformer")),
        ("a VAE", has("decoder.conv") and has("encoder.conv")),
    )
    for kind, found in signs:
        if found:
            return kind
    return None if has("audio_proj.proj1.weight") and has("audio_cross_attn.") else "an unknown model"


def dequantized(name: str, state: StateDict, key: str) -> Tensor:
    """A tensor of the file: fp8 times its scale, as fp16; everything else as it is.

    Scales stand beside the weight under `.scale_weight` (ComfyUI's first scaled fp8 format) or `.weight_scale`
    (its later one), one number for the tensor or one per row.

    Raises:
        UserError: the scale has another shape than the weight needs.
    """
    tensor = state[key]
    if tensor.dtype not in FP8:
        return tensor
    layer = key.removesuffix(".weight")
    scale = next((state[layer + suffix] for suffix in SCALE_SUFFIXES if layer + suffix in state), None)
    if scale is None:
        return tensor.half()
    if scale.numel() not in (1, len(tensor)):
        raise UserError(
            f"{name} has {scale.numel()} scales for the {len(tensor)} rows of {key}: download it again, or {NEEDED}."
        )
    return (tensor.float() * scale.float().reshape(-1, *[1] * (tensor.ndim - 1))).half()


def config_from(name: str, state: StateDict) -> InfiniteTalkConfig:
    """Read all sizes from the tensors.

    Raises:
        UserError: tensors that the sizes rest on are missing or contradict each other.
    """
    blocks = count_numbered(state, "blocks.")
    hidden, first_in = _shape(name, state, "audio_proj.proj1.weight", 2)
    _, later_in = _shape(name, state, "audio_proj.proj1_vf.weight", 2)
    (token_dim,) = _shape(name, state, "audio_proj.norm.weight", 1)
    tokens, rest = divmod(_shape(name, state, "audio_proj.proj3.weight", 2)[0], token_dim)
    dim, _ = _shape(name, state, "blocks.0.audio_cross_attn.q_linear.weight", 2)
    size, odd = divmod(first_in, AUDIO_WINDOW)
    if rest or odd or later_in != LATER_WINDOW * size:
        raise UserError(
            f"{name} has an audio projection of {first_in} and {later_in} inputs, but InfiniteTalk's hears windows of "
            f"{AUDIO_WINDOW} and {LATER_WINDOW} embeddings of one size: {NEEDED}."
        )
    if dim % HEAD_DIM or blocks > MOST_BLOCKS:
        raise UserError(
            f"{name} has {blocks} blocks of width {dim}, and at most {MOST_BLOCKS} of a multiple of {HEAD_DIM} are "
            f"needed: {NEEDED}."
        )
    return InfiniteTalkConfig(dim, blocks, size, hidden, tokens, token_dim)


def _shape(name: str, state: StateDict, key: str, axes: int) -> tuple[int, ...]:
    """The shape of a tensor that sizes are taken from."""
    tensor = state.get(key)
    if tensor is None:
        raise UserError(
            f"{name} lacks {key}, which all InfiniteTalk weights have: the file is cut off or converted wrongly, "
            f"{NEEDED}."
        )
    if tensor.ndim != axes or not tensor.numel():
        raise UserError(f"{name} has {key} of shape {list(tensor.shape)}, and {axes} axes are needed: {NEEDED}.")
    return tuple(tensor.shape)


def _check_complete(name: str, state: StateDict, shapes: StateDict) -> None:
    for key, tensor in shapes.items():
        found = state.get(key)
        if found is None or found.shape != tensor.shape:
            what = "is missing" if found is None else f"has shape {list(found.shape)}"
            raise UserError(
                f"{name} is not whole: {key} {what} and should have shape {list(tensor.shape)}. Download it again, or "
                f"{NEEDED}."
            )
