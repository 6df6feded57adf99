"""InfiniteTalk weight files: what they are, and how they become a model. Detection is by keys and shapes alone."""

from __future__ import annotations

import logging
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...downloads import refuse_pages_and_pointers
from ...errors import UserError
from ..windows import AUDIO_WINDOW
from .gguf_file import read_gguf
from .modules import LATER_WINDOW, InfiniteTalk, InfiniteTalkConfig

log = logging.getLogger(__name__)

StateDict = dict[str, Tensor]

NEEDED = (
    "load InfiniteTalk's own weights (for example Wan2_1-InfiniTetalk-Single_fp16.safetensors or "
    "Wan2_1-InfiniteTalk_Single_Q8.gguf)"
)
PREFIXES = ("model.diffusion_model.", "diffusion_model.")
SCALE_SUFFIXES = (".scale_weight", ".weight_scale")
IGNORED_SUFFIXES = (".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def load_infinitetalk(path: Path, *, disable_dynamic: bool = False) -> ModelPatcher:
    """Read an InfiniteTalk or MultiTalk weight file.

    Args:
        path: `.safetensors`, `.pt`/`.pth`/`.bin` (read with `weights_only`) or `.gguf`.
        disable_dynamic: take core's plain patcher also where it has one for dynamic VRAM; core asks for it when it
            makes a copy that can be compiled.

    Returns:
        A patcher around `InfiniteTalk`, on core's offload device, in the file's own precision (fp8 and GGUF
        become fp16, which holds them without loss but for their scales).

    Raises:
        UserError: the file is no InfiniteTalk weight file, or not a whole one.
    """
    state = _strip_prefix(_read(path))
    refuse_other_models(path.name, state)
    state = dequantized(state)
    config = config_from(path.name, state)
    offload_device = comfy.model_management.unet_offload_device()
    dtype = state["audio_proj.proj1.weight"].dtype
    model = InfiniteTalk(config, comfy.ops.manual_cast, device=offload_device, dtype=dtype)
    _check_complete(path.name, state, model)
    model.load_state_dict(state, strict=False)
    log.info("InfiniteTalk: %s, %d blocks of width %d, %s", path.name, config.blocks, config.dim, dtype)
    # Core's own kind of patcher, which main.py may exchange after the import. A single plain one would make core load
    # everything in the old way, and throw these weights out for every VAE decode.
    newest = getattr(comfy.model_patcher, "CoreModelPatcher", ModelPatcher)
    patcher = (ModelPatcher if disable_dynamic else newest)(
        model.eval(), load_device=comfy.model_management.get_torch_device(), offload_device=offload_device
    )
    patcher.cached_patcher_init = (load_infinitetalk, (path,))  # how core makes a copy for another GPU
    return patcher


def _read(path: Path) -> StateDict:
    refuse_pages_and_pointers(path)
    if path.suffix.lower() == ".gguf":
        return read_gguf(path)
    try:
        return comfy.utils.load_torch_file(str(path), safe_load=True)
    except Exception as error:
        raise UserError(
            f"{path.name} cannot be read as a weight file ({type(error).__name__}: {error}): download it again, and "
            f"{NEEDED}."
        ) from error


def _strip_prefix(state: StateDict) -> StateDict:
    for prefix in PREFIXES:
        if any(key.startswith(prefix) for key in state):
            return {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


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
        ("LongCat-Video-Avatar", has("audio_cross_attn.q_norm")),
        ("a LoRA", has("lora_A.") or has("lora_down") or has(".lora_up") or has(".alpha")),
        (
            "a whole video model with InfiniteTalk merged in",
            has("patch_embedding.") and has("audio_cross_attn."),
        ),
        ("a video model (a base DiT)", has("patch_embedding.") or has("double_blocks.")),
        ("a text encoder", has("shared.weight") or has("token_embd.weight") or has("embed_tokens")),
        ("a wav2vec2 model", has("feature_extractor.conv_layers")),
        ("a CLIP vision model", has("vision_model.") or has("visual.transformer")),
        ("a VAE", has("decoder.conv") and has("encoder.conv")),
    )
    for kind, found in signs:
        if found:
            return kind
    return None if has("audio_proj.proj1.weight") and has("audio_cross_attn.") else "an unknown model"


def dequantized(state: StateDict) -> StateDict:
    """Fp8 weights times their scales, as fp16; everything else as it is.

    Scales stand beside the weight under `.scale_weight` (ComfyUI's first scaled fp8 format) or `.weight_scale`
    (its later one), one number for the tensor or one per row.
    """
    out: StateDict = {}
    for key, tensor in state.items():
        if key.endswith(SCALE_SUFFIXES) or key.endswith(IGNORED_SUFFIXES):
            continue
        if tensor.dtype in FP8:
            layer = key.removesuffix(".weight")
            scale = next((state[layer + suffix] for suffix in SCALE_SUFFIXES if layer + suffix in state), None)
            tensor = tensor.float()
            if scale is not None:
                scale = scale.float()
                tensor = tensor * (scale if scale.numel() == 1 else scale.reshape(-1, 1))
            tensor = tensor.half()
        out[key] = tensor
    return out


def config_from(name: str, state: StateDict) -> InfiniteTalkConfig:
    """Read all sizes from the tensors.

    Raises:
        UserError: tensors that the sizes rest on are missing or contradict each other.
    """
    blocks = sum(key.endswith(".audio_cross_attn.q_linear.weight") for key in state)
    try:
        hidden, first_in = state["audio_proj.proj1.weight"].shape
        later_in = state["audio_proj.proj1_vf.weight"].shape[1]
        token_dim = state["audio_proj.norm.weight"].shape[0]
        tokens, rest = divmod(state["audio_proj.proj3.weight"].shape[0], token_dim)
        dim = state["blocks.0.audio_cross_attn.q_linear.weight"].shape[0]
    except KeyError as missing:
        raise UserError(
            f"{name} lacks {missing}, which all InfiniteTalk weights have: the file is cut off or converted "
            f"wrongly, {NEEDED}."
        ) from missing
    size, odd = divmod(first_in, AUDIO_WINDOW)
    if rest or odd or later_in != LATER_WINDOW * size:
        raise UserError(
            f"{name} has an audio projection of {first_in} and {later_in} inputs, but InfiniteTalk's hears windows of "
            f"{AUDIO_WINDOW} and {LATER_WINDOW} embeddings of one size: {NEEDED}."
        )
    return InfiniteTalkConfig(dim, blocks, size, hidden, tokens, token_dim)


def _check_complete(name: str, state: StateDict, model: InfiniteTalk) -> None:
    for key, tensor in model.state_dict().items():
        found = state.get(key)
        if found is None or found.shape != tensor.shape:
            what = "is missing" if found is None else f"has shape {list(found.shape)}"
            raise UserError(
                f"{name} is not whole: {key} {what} and should have shape {list(tensor.shape)}. Download it again, or "
                f"{NEEDED}."
            )
