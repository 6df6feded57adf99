"""Reading a wav2vec 2.0 checkpoint: any of the formats people have, its sizes taken from its tensors.

Key names are those of `transformers` (with or without a prefix); the weight norm of the positional convolution is
folded into one weight on the way.
"""

from __future__ import annotations

import json
import logging
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import UserError
from ..weight_files import count_numbered, own_tensors, reason_of, refuse_pages_and_pointers, refuse_unusable
from .wav2vec_model import Wav2VecConfig

log = logging.getLogger(__name__)

T = TypeVar("T", int, float, bool)

WEIGHT_FILES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin")  # in a folder, best first
FIRST_CONV = "feature_extractor.conv_layers.0.conv.weight"
POSITION = "encoder.pos_conv_embed.conv."
BASE_STRIDES = (5, 2, 2, 2, 2, 2, 2)  # wav2vec 2.0's only published front; strides leave no trace in the tensors
HEAD_CHANNELS = 64
MOST_SETTINGS_BYTES = 1 << 20
LONGEST_STRIDE = 100  # ten times as long as that of any wav2vec 2.0
MOST_LAYERS = 100  # four times as many as wav2vec2-large
# Training-only parts of published checkpoints: the quantizer, projections, mask embedding and heads.
IGNORED = ("quantizer.", "project_hid.", "project_q.", "masked_spec_embed", "lm_head.", "classifier.", "projector.")
ADVICE = "choose a wav2vec2-base checkpoint such as chinese-wav2vec2-base"
# First key that tells another model, and what to call it; looked up in this order.
FOREIGN = (
    ("rel_attn_embed", "a WavLM encoder"),
    ("hubert.", "a HuBERT encoder"),
    ("model.encoder.embed_positions.weight", "a Whisper encoder"),
    ("encoder.embed_positions.weight", "a Whisper encoder"),
    ("lora_", "a LoRA"),
    ("audio_proj.", "an InfiniteTalk or MultiTalk checkpoint"),
    ("self_attn.norm_q.weight", "a Wan video model"),
    ("double_blocks.", "a Flux or Hunyuan model"),
    ("visual_projection", "a CLIP model"),
    ("vision_model.", "a CLIP vision model"),
    ("relative_attention_bias", "a T5 text encoder"),
    ("decoder.conv_in", "a VAE"),
    ("decoder.head.0.gamma", "a Wan VAE"),
    ("model.layers.0.self_attn.q_proj.weight", "a language model"),
)


@dataclass(frozen=True)
class Checkpoint:
    """What was read: sizes, weights under the names of `Wav2VecModel`, and the folder's wish to normalize."""

    config: Wav2VecConfig
    weights: dict[str, Tensor]
    do_normalize: bool  # zero mean and unit variance of the waveform, if preprocessor_config.json says so


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a `.safetensors` or PyTorch file, or a Hugging Face folder with config.json.

    A config.json is only believed for what tensors cannot tell (heads, strides, epsilon, the place of the layer norms),
    and its sizes must agree with them.

    Raises:
        UserError: a file that cannot be read or is no wav2vec 2.0.
    """
    settings: dict[str, Any] = {}
    do_normalize = False
    file = path
    if path.is_dir():
        settings = _read_json(path / "config.json")
        preprocessor = path / "preprocessor_config.json"
        if preprocessor.is_file():
            do_normalize = _setting(_read_json(preprocessor), path.name, "do_normalize", True)
        file = _weights_in(path)
    kind = settings.get("model_type", "wav2vec2")
    if kind != "wav2vec2":
        raise UserError(f"{path.name} is a model of type {reprlib.repr(kind)}, and wav2vec2 is needed: {ADVICE}.")
    weights = _canonical(_read_tensors(file), path.name)
    config = _with_settings(_config_of(weights, path.name, settings), settings, path.name)
    return Checkpoint(config, weights, do_normalize)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MOST_SETTINGS_BYTES:
            raise ValueError(f"it is larger than {MOST_SETTINGS_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path.parent.name}/{path.name} cannot be read ({reason_of(error)}): download it again."
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path.parent.name}/{path.name} holds no settings: download it again.")
    return content


def _weights_in(folder: Path) -> Path:
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return folder / name
    raise UserError(
        f"The folder {folder.name} has a config.json but none of {', '.join(WEIGHT_FILES)}: put the weights beside it."
    )


def _read_tensors(file: Path) -> dict[str, Tensor]:
    """Every tensor of the file; nothing in it is ever executed."""
    refuse_pages_and_pointers(file)
    with file.open("rb") as stream:
        head = stream.read(16)
    if not head:
        raise UserError(f"{file.name} is empty: download it again.")
    if head.startswith(b"GGUF"):
        raise UserError(f"{file.name} is a GGUF file, which no wav2vec2 comes in: {ADVICE}.")
    if file.suffix.lower() in (".safetensors", ".sft") or head[8:9] == b"{":
        return _read_safetensors(file)
    return _read_pickle(file)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content = load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise UserError(
            f"{file.name} is no complete safetensors file ({reason_of(error)}): download it again."
        ) from error
    return own_tensors(content, file.name)


def _read_pickle(file: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged pickle makes the unpickler do
        raise UserError(
            f"{file.name} is no PyTorch file of plain tensors ({reason_of(error)}): take a .safetensors or "
            "pytorch_model.bin file in the layout of Hugging Face."
        ) from error
    while isinstance(content, Mapping) and not any(isinstance(v, Tensor) for v in content.values()):
        inner = [content[k] for k in ("state_dict", "model", "module") if isinstance(content.get(k), Mapping)]
        if not inner:
            break
        content = inner[0]
    return own_tensors(content, file.name)


def _canonical(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The encoder's tensors without prefix, training-only parts and weight norm."""
    first = next((k for k in tensors if k.endswith(FIRST_CONV)), None)
    foreign = _foreign_model(tensors)
    if first is None or foreign:
        found = foreign or f"{len(tensors)} tensors" + (f" such as {min(tensors)}" if tensors else "")
        raise UserError(f"{name} holds {found}, and a wav2vec2 encoder is needed: {ADVICE}.")
    prefix = first.removesuffix(FIRST_CONV)
    weights = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    weights = {k: v for k, v in weights.items() if not k.startswith(IGNORED)}
    for gain, direction in (
        ("weight_g", "weight_v"),
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ):
        if POSITION + gain in weights and POSITION + direction in weights:
            for key in (gain, direction):
                refuse_unusable(name, POSITION + key, weights[POSITION + key])
            _check_weight_norm(name, weights[POSITION + gain], weights[POSITION + direction])
            g, v = (weights.pop(POSITION + k).float() for k in (gain, direction))
            # Weight norm over all but the kernel's axis (Salimans and Kingma 2016; dim=2 in wav2vec 2.0).
            weights[POSITION + "weight"] = v * (g / v.norm(dim=(0, 1), keepdim=True))
    return weights


def _check_weight_norm(name: str, gain: Tensor, direction: Tensor) -> None:
    if direction.ndim != 3 or gain.shape != (1, 1, direction.shape[2]):
        raise UserError(
            f"{name} has a positional convolution of {list(direction.shape)} with a gain of {list(gain.shape)}, and "
            f"one gain for each place of its kernel is needed: {ADVICE}."
        )


def _foreign_model(keys: Iterable[str]) -> str | None:
    """What another model the keys belong to, as far as they tell."""
    keys = list(keys)
    return next((label for mark, label in FOREIGN if any(mark in k for k in keys)), None)


def _numbered(weights: Mapping[str, Tensor], pattern: str) -> list[Tensor]:
    """Tensors `pattern.format(0)`, `pattern.format(1)` … as far as they go."""
    found: list[Tensor] = []
    while pattern.format(len(found)) in weights:
        found.append(weights[pattern.format(len(found))])
    return found


def _config_of(weights: Mapping[str, Tensor], name: str, settings: Mapping[str, Any]) -> Wav2VecConfig:
    """The sizes that the tensors tell."""
    convs = _numbered(weights, "feature_extractor.conv_layers.{}.conv.weight")
    dense = _numbered(weights, "encoder.layers.{}.feed_forward.intermediate_dense.weight")
    layers = count_numbered(weights, "encoder.layers.")
    position = weights.get(POSITION + "weight")
    if not dense or layers > MOST_LAYERS or position is None:
        raise UserError(
            f"{name} has a wav2vec2 front but no wav2vec2 transformer ({layers} layers, positional convolution "
            f"{'found' if position is not None else 'missing'}): {ADVICE}."
        )
    for axes, tensors in ((2, dense), (3, (*convs, position))):
        if wrong := [list(w.shape) for w in tensors if w.ndim != axes or not w.numel()]:
            raise UserError(f"{name} has a weight of shape {wrong[0]} where {axes} axes are needed: {ADVICE}.")
    channels = dense[0].shape[1]
    if channels % position.shape[1]:
        raise UserError(
            f"{name} is {channels} wide, which the {position.shape[1]} channels of its positional convolution do not "
            f"divide: {ADVICE}."
        )
    strides = _strides(settings, name)
    if len(strides) != len(convs):
        raise UserError(
            f"{name} has {len(convs)} convolutions for {len(strides)} strides: give its folder with config.json."
        )
    heads = _setting(settings, name, "num_attention_heads", max(1, channels // HEAD_CHANNELS))
    if heads < 1 or channels % heads:
        raise UserError(
            f"{name} is {channels} wide, which {heads} heads do not divide: give its folder with config.json."
        )
    group_norm = "feature_extractor.conv_layers.1.layer_norm.weight" not in weights
    return Wav2VecConfig(
        channels=channels,
        layers=layers,
        heads=heads,
        feed_forward=dense[0].shape[0],
        conv_channels=tuple(w.shape[0] for w in convs),
        conv_kernels=tuple(w.shape[2] for w in convs),
        conv_strides=strides,
        conv_bias="feature_extractor.conv_layers.0.conv.bias" in weights,
        group_norm=group_norm,
        # Keys do not tell; in every published model it goes with the norms of the convolutions.
        stable_layer_norm=_setting(settings, name, "do_stable_layer_norm", not group_norm),
        position_kernel=position.shape[2],
        position_groups=channels // position.shape[1],
        eps=_setting(settings, name, "layer_norm_eps", 1e-5),
    )


def _strides(settings: Mapping[str, Any], name: str) -> tuple[int, ...]:
    """Steps of the convolutions in features of the one before."""
    strides = settings.get("conv_stride", BASE_STRIDES)
    whole = isinstance(strides, list | tuple) and all(type(stride) is int for stride in strides)
    if not whole or not all(1 <= stride <= LONGEST_STRIDE for stride in strides):
        raise UserError(
            f"{name}/config.json says conv_stride {reprlib.repr(strides)}, and whole numbers from 1 to "
            f"{LONGEST_STRIDE} are needed: download it again."
        )
    return tuple(strides)


def _setting(settings: Mapping[str, Any], name: str, key: str, default: T) -> T:
    """A setting of the default's type; floats lie between 0 and 1."""
    value = settings.get(key, default)
    kind = type(default)
    if type(value) is not kind or (kind is float and not 0 < value < 1):
        raise UserError(
            f"{name} has settings that say {key} {reprlib.repr(value)}, and a value like {default!r} is needed: "
            "download it again."
        )
    return value


def _with_settings(config: Wav2VecConfig, settings: Mapping[str, Any], name: str) -> Wav2VecConfig:
    """`config` again, after config.json was found to agree with it."""
    told = {
        "hidden_size": config.channels,
        "num_hidden_layers": config.layers,
        "intermediate_size": config.feed_forward,
        "conv_dim": list(config.conv_channels),
        "conv_kernel": list(config.conv_kernels),
        "conv_bias": config.conv_bias,
        "num_conv_pos_embeddings": config.position_kernel,
        "num_conv_pos_embedding_groups": config.position_groups,
        "feat_extract_norm": "group" if config.group_norm else "layer",
        "hidden_act": "gelu",
        "feat_extract_activation": "gelu",
    }
    for key, value in told.items():
        if key in settings and settings[key] != value:
            raise UserError(
                f"{name}/config.json says {key} {reprlib.repr(settings[key])} and the weights are made for {value}: "
                "download both from one place."
            )
    return config
