"""Merged models in every format, and the two files that hold the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

StateDict = dict[str, Tensor]

INDEX = "diffusion_pytorch_model.safetensors.index.json"


@dataclass(frozen=True)
class Format:
    """How tensors are stored, and where the file that is chosen lies."""

    stored: Callable[[StateDict], StateDict]
    write: Callable[[Path, StateDict], Path]
    """Writes into a folder; returns the file to choose."""


def as_dtype(dtype: torch.dtype) -> Callable[[StateDict], StateDict]:
    """All tensors in one precision."""
    return lambda state: {key: tensor.to(dtype) for key, tensor in state.items()}


def scaled_fp8(suffix: str) -> Callable[[StateDict], StateDict]:
    """Matrices in fp8 with a scale each, as ComfyUI stores them; the rest in fp16."""

    def stored(state: StateDict) -> StateDict:
        out: StateDict = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
        for key, tensor in state.items():
            out[key] = tensor.half()
            if key.startswith("blocks.") and key.endswith(".weight") and tensor.ndim == 2:
                scale = (tensor.float().abs().max() / 448).reshape(1)
                out[key] = (tensor.float() / scale).to(torch.float8_e4m3fn)
                out[key.removesuffix(".weight") + suffix] = scale
        return out

    return stored


def one_file(folder: Path, state: StateDict) -> Path:
    """A single safetensors file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    save_file(state, path)
    return path


def with_prefix(folder: Path, state: StateDict) -> Path:
    """As whole checkpoints have it."""
    return one_file(folder, {f"model.diffusion_model.{key}": tensor for key, tensor in state.items()})


def shards(folder: Path, state: StateDict, count: int = 3) -> Path:
    """Several files with an index, as Hugging Face's libraries write them."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[StateDict] = [{} for _ in range(count)]
    for place, (key, tensor) in enumerate(state.items()):
        parts[place * count // len(state)][key] = tensor
    names = [f"diffusion_pytorch_model-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name)
    where = {key: name for name, part in zip(names, parts, strict=True) for key in part}
    size = sum(tensor.nbytes for tensor in state.values())
    index = folder / INDEX
    index.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}), encoding="utf-8")
    return index


def gguf_file(kind: gguf.GGMLQuantizationType, title: str = "") -> Callable[[Path, StateDict], Path]:
    """A GGUF file whose matrices have that type where their rows can be packed, and F32 elsewhere."""

    def write(folder: Path, state: StateDict) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "model.gguf"
        writer = gguf.GGUFWriter(path, "wan")
        if title:
            writer.add_name(title)
        for key, tensor in state.items():
            data = tensor.float().numpy()
            packed = tensor.ndim == 2 and tensor.shape[1] % gguf.GGML_QUANT_SIZES[kind][0] == 0
            writer.add_tensor(
                key, gguf.quants.quantize(data, kind) if packed else data.astype(np.float32),
                raw_dtype=kind if packed else None,
            )  # fmt: skip
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


FORMATS = {
    "fp16": Format(as_dtype(torch.float16), one_file),
    "bf16": Format(as_dtype(torch.bfloat16), one_file),
    "fp16 with a prefix": Format(as_dtype(torch.float16), with_prefix),
    "bf16 in shards": Format(as_dtype(torch.bfloat16), shards),
    "scaled fp8": Format(scaled_fp8(".scale_weight"), one_file),
    "GGUF F16": Format(as_dtype(torch.float16), gguf_file(gguf.GGMLQuantizationType.F16)),
    "GGUF Q8_0": Format(as_dtype(torch.float32), gguf_file(gguf.GGMLQuantizationType.Q8_0)),
}
