"""Weight files of every format as named tensors, of which none leaves the disk before it is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import comfy.utils
import torch
from torch import Tensor

from ...errors import UserError
from ...weight_files import own_tensors, reason_of, refuse_pages_and_pointers
from .gguf_file import GgufTensors

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
INDEX_SUFFIX = ".safetensors.index.json"
"""Of the list that says in which shard of a model each tensor lies (Hugging Face's layout)."""
MOST_INDEX_BYTES = 32 << 20
SHARD_NAME = re.compile(r"-(\d+)-of-(\d+)\.safetensors$", re.IGNORECASE)


class Weights(Mapping[str, Tensor]):
    """The tensors of a weight file, or of all shards that an index lists, without the prefix of whole checkpoints."""

    def __init__(self, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
        """Take what a file holds.

        Args:
            tensors: memory-mapped, or read when asked for.
            metadata: the texts in the header.
        """
        prefix = next((one for one in PREFIXES if any(key.startswith(one) for key in tensors)), "")
        self._tensors = tensors
        self._names = {key.removeprefix(prefix): key for key in tensors}
        self.metadata = metadata

    def layout(self) -> dict[str, Tensor]:
        """All tensors without their numbers, on the meta device."""
        if isinstance(self._tensors, GgufTensors):
            shapes = self._tensors.shapes
            return {
                name: torch.empty(shapes[key], dtype=torch.float16, device="meta") for name, key in self._names.items()
            }
        return {name: torch.empty_like(self[name], device="meta") for name in self}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._names[name]]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def open_weights(path: Path, needed: str) -> Weights:
    """What is in a weight file.

    Args:
        path: `.safetensors`, an index of shards (`.safetensors.index.json`), `.pt`/`.pth`/`.bin` (read with
            `weights_only`) or `.gguf`.
        needed: what to do instead, for the sentence of a refusal.

    Raises:
        UserError: the file cannot be read, is a shard alone, or shards of it are missing.
    """
    refuse_pages_and_pointers(path)
    if path.suffix.lower() == ".gguf":
        tensors = GgufTensors(path)
        return Weights(tensors, {"general.name": tensors.title})
    if path.name.lower().endswith(INDEX_SUFFIX):
        return _open_shards(path, needed)
    weights = Weights(*_open_one(path, needed))
    _refuse_lone_shard(path, weights)
    return weights


def _open_one(path: Path, needed: str) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """Tensors and metadata of one file; core maps safetensors into memory."""
    try:
        content, metadata = comfy.utils.load_torch_file(str(path), safe_load=True, return_metadata=True)
    except Exception as error:
        raise UserError(
            f"{path.name} cannot be read as a weight file ({type(error).__name__}: {reason_of(error)}): download it "
            f"again, and {needed}."
        ) from error
    return own_tensors(_flat(content), path.name), metadata or {}


def _flat(content: Any) -> Any:
    """State dicts inside of a dict, as training code saves them, side by side: `{a: {b: c}}` -> `{a.b: c}`."""
    if not isinstance(content, Mapping):
        return content
    flat: dict[Any, Any] = {}
    for key, value in content.items():
        inner = value if isinstance(value, Mapping) else {}
        flat.update({f"{key}.{name}": tensor for name, tensor in inner.items()} or {key: value})
    return flat


def _open_shards(index: Path, needed: str) -> Weights:
    shards = listed_shards(index)
    missing = [name for name in shards if not (index.parent / name).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UserError(
            f"{index.name} lists {len(shards)} shards, but {missing[0]}{more} cannot be found beside it: download what "
            "is missing into the same folder."
        )
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for name, keys in shards.items():
        refuse_pages_and_pointers(index.parent / name)
        content, texts = _open_one(index.parent / name, needed)
        lost = next((key for key in keys if key not in content), None)
        if lost is not None:
            raise UserError(
                f"{name} lacks {lost}, which {index.name} says it holds: download both again, from one place."
            )
        tensors.update(content)
        metadata.update(texts)
    return Weights(tensors, metadata)


def listed_shards(index: Path) -> dict[str, list[str]]:
    """The names of the tensors in each shard, by the shard's file name.

    Raises:
        UserError: the file is no such index, or names files elsewhere.
    """
    shards: dict[str, list[str]] = {}
    try:
        if index.stat().st_size > MOST_INDEX_BYTES:
            raise ValueError("it is too large")
        for key, name in dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"]).items():
            if (
                not isinstance(name, str)
                or Path(name).name != name
                or "\\" in name
                or not name.endswith(".safetensors")
            ):
                raise ValueError("it names something else than safetensors files beside it")
            shards.setdefault(name, []).append(key)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{index.name} is no index of shards ({reason_of(error)}): download it again, beside its safetensors files."
        ) from error
    if not shards:
        raise UserError(f"{index.name} lists no shards: download it again, beside its safetensors files.")
    return shards


def _refuse_lone_shard(path: Path, weights: Weights) -> None:
    """Refuse one of several files that only together are a model."""
    for index in path.parent.glob(f"*{INDEX_SUFFIX}"):
        try:
            shards = listed_shards(index)
        except UserError:
            continue  # of another model, which this one need not suffer for
        if path.name in shards and len(shards) > 1:
            raise UserError(f"{path.name} is one of {len(shards)} shards of a model: choose {index.name} in its place.")
    named = SHARD_NAME.search(path.name)
    whole = "head.modulation" in weights and "patch_embedding.weight" in weights
    if named and int(named[2]) > 1 and not whole:
        raise UserError(
            f"{path.name} is shard {int(named[1])} of {int(named[2])} of a model: put all of them and the file that "
            f"ends in {INDEX_SUFFIX} into one folder, and choose that."
        )
