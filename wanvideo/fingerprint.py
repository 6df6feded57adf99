"""What decides the pixels of a job, as a short text: the same text, the same video.

A finished window may be used again only if everything that went into it is the same. Weights are not read whole (a
14B model would take minutes): of every tensor its shape, type and some hundred numbers spread over it are taken,
which any training, merging or conversion changes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import comfyui_version
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from .job import TalkingVideoJob
from .windows import Window

FORMAT = 1
"""Raise this when a change of ours changes pixels: finished windows of older releases are then made anew."""

WHOLE_BYTES = 4 * 2**20
"""Tensors up to this size are read whole: pictures, prompts, LoRAs of small rank."""
SAMPLES = 256
"""Elements that are read of a larger tensor."""
MAX_DEPTH = 12


def job_fingerprint(job: TalkingVideoJob) -> str:
    """What all windows of a job share: models and patches, prompts, settings; not the sound, picture and length."""
    clip = job.clip_vision
    digest = Digest()
    digest.add(FORMAT, torch.__version__, comfyui_version.__version__)
    digest.add(job.model.model_dtype(), job.vae.vae_dtype)
    digest.add(job.model, job.infinitetalk, job.vae.patcher, None if clip is None else clip.patcher)
    digest.add(job.settings, job.guidance, job.window_frames, job.motion_frames, job.audio_scale)
    digest.add(job.positive, job.negative, job.speaker_masks, job.pictures.size, job.pictures.source_size)
    digest.add(job.embeds.fps, job.pictures.at(0))  # a picture whole, of a source video every window's key
    return digest.hex()


def window_keys(job: TalkingVideoJob) -> list[str]:
    """What each window hears, shows and keeps."""
    return [_window_key(job, window) for window in job.windows]


def _window_key(job: TalkingVideoJob, window: Window) -> str:
    digest = Digest()
    digest.add(window)
    heard = job.voices.window(window, job.settings.end_padding)  # [positions, W, 5, layers, channels]
    for part in (heard[:, :, heard.shape[2] // 2], heard[:, 0], heard[:, -1]):  # every row once
        digest.add_bytes(part)
    if len(job.voices) > 1:
        digest.add_bytes(job.voices.latent_seats(window))
    digest.add(job.pictures.key(window.start))
    return digest.hex()


class Digest:
    """A SHA-256 over values, the same in every process: no memory addresses, no hashes of Python's own."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._open: set[int] = set()

    def hex(self) -> str:
        """The digest so far."""
        return self._hash.hexdigest()

    def add(self, *values: Any) -> None:
        """Add values of any kind."""
        for value in values:
            self._add(value, MAX_DEPTH)

    def add_bytes(self, tensor: Tensor) -> None:
        """Add every element of a tensor."""
        self._text(f"{tensor.dtype}{list(tensor.shape)}")
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        self._hash.update(flat.view(torch.uint8).numpy())

    def _text(self, text: str) -> None:
        self._hash.update(text.encode() + b"\0")

    def _add(self, value: Any, depth: int) -> None:
        if isinstance(value, str | int | float | bool | bytes | Enum | Path | torch.dtype | type(None)):
            self._text(f"{type(value).__name__}:{value}")
        elif isinstance(value, Tensor):
            self._tensor(value)
        elif id(value) in self._open or depth == 0:
            self._text("…")
        else:
            self._open.add(id(value))
            try:
                self._text(_kind(value))
                for part in _parts(value):
                    self._add(part, depth - 1)
            finally:
                self._open.discard(id(value))

    def _tensor(self, tensor: Tensor) -> None:
        """Small tensors whole, of large ones a sample spread evenly."""
        plain = _plain(tensor)
        if plain.numel() * plain.element_size() > WHOLE_BYTES:
            self._text(f"{plain.dtype}{list(plain.shape)}")
            places = torch.linspace(0, plain.numel() - 1, SAMPLES, dtype=torch.float64, device=plain.device)
            if plain.element_size() == 1:  # fp8 cannot be indexed everywhere
                plain = plain.view(torch.uint8)
            plain = plain.reshape(-1)[places.long()]
        self.add_bytes(plain)


def _plain(tensor: Tensor) -> Tensor:
    """The stored numbers of a tensor; quantized kinds (core's, GGUF packs') keep theirs inside."""
    inner = getattr(tensor, "_qdata", tensor)
    return inner.detach().as_subclass(Tensor)


def _kind(value: Any) -> str:
    if isinstance(value, types.FunctionType | types.MethodType | type):
        return f"{value.__module__}.{value.__qualname__}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _parts(value: Any) -> Iterable[Any]:
    """What a value consists of, in an order that does not depend on the process."""
    if isinstance(value, ModelPatcher):
        return _patcher_parts(value)
    if isinstance(value, nn.Module):
        return _named_tensors(value.state_dict())
    if isinstance(value, Mapping):
        return (part for key in sorted(value, key=str) for part in (str(key), value[key]))
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, Sequence):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.FunctionType):
        return [value.__code__.co_code, value.__defaults__, [cell.cell_contents for cell in value.__closure__ or ()]]
    if isinstance(value, type | types.ModuleType):
        return []
    return [getattr(value, "__dict__", {})]


def _patcher_parts(patcher: ModelPatcher) -> Iterator[Any]:
    """Weights as they are without patches, and every patch of LoRAs and other nodes."""
    weights = dict(patcher.model.state_dict())
    for key, saved in patcher.backup.items():  # weights that a LoRA is baked into while the model is loaded
        weights[key] = saved.weight
    yield from _named_tensors(weights)
    yield patcher.patches
    yield patcher.object_patches
    yield patcher.model_options
    yield patcher.wrappers
    yield patcher.callbacks
    yield patcher.additional_models


def _named_tensors(tensors: Mapping[str, Tensor]) -> Iterator[Any]:
    for name in sorted(tensors):
        yield name
        yield tensors[name]
