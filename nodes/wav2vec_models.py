"""Wav2vec models in ComfyUI's folders and in core's memory management."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import comfy.model_management as mm
import comfy.ops
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher

from ..errors import UserError

if TYPE_CHECKING:
    from ..audio.wav2vec import Wav2VecEncoder

WORK_BYTES = 768 << 20  # device memory for the work itself, beside the weights
MODEL_FOLDERS = ("wav2vec2", "audio_encoders")
MODEL_SUFFIXES = {".safetensors", ".sft", ".bin", ".pt", ".pth"}
LOAD_DEVICES = ("main_device", "offload_device", "cpu")
NO_MODEL = "(no wav2vec2 model found)"
WHERE_TO_PUT = (
    "put chinese-wav2vec2-base (model.safetensors of TencentGameMate/chinese-wav2vec2-base, or "
    "wav2vec2-chinese-base_fp16.safetensors) into ComfyUI/models/audio_encoders and reload the page"
)


def register_model_folder() -> None:
    """Make `models/wav2vec2` known to ComfyUI, beside whatever else knows it already."""
    folder_paths.add_model_folder_path("wav2vec2", str(Path(folder_paths.models_dir) / "wav2vec2"))
    paths, suffixes = folder_paths.folder_names_and_paths["wav2vec2"]
    folder_paths.folder_names_and_paths["wav2vec2"] = (paths, {*suffixes, *MODEL_SUFFIXES})


def model_choices() -> dict[str, Path]:
    """What the loader offers: name -> file, or folder with a config.json; names are paths inside the model folders."""
    choices: dict[str, Path] = {}
    for kind in MODEL_FOLDERS:
        for root in folder_paths.get_folder_paths(kind) if kind in folder_paths.folder_names_and_paths else []:
            for path in _models_below(Path(root)):
                choices.setdefault(path.relative_to(root).as_posix(), path)
    return choices


def _models_below(root: Path) -> Iterator[Path]:
    """Model files and model folders; a folder stands for the files in it."""
    for folder, subfolders, files in os.walk(root, followlinks=True):
        if "config.json" in files and Path(folder) != root:
            subfolders.clear()
            yield Path(folder)
            continue
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        yield from (Path(folder, f) for f in sorted(files) if Path(f).suffix.lower() in MODEL_SUFFIXES)


def find_model(name: str) -> Path:
    """The file or folder behind a choice; `UserError` if there is none (the server does not check choices)."""
    choices = model_choices()
    # A graph saved on Windows has its separators the other way.
    path = choices.get(name) or choices.get(name.replace("\\", "/"))
    if path is not None:
        return path
    if not choices:
        raise UserError(f"There is no wav2vec2 model: {WHERE_TO_PUT}.")
    raise UserError(
        f"The wav2vec2 model {name} is not in {' or '.join(f'models/{f}' for f in MODEL_FOLDERS)}: choose one of "
        f"{', '.join(list(choices)[:5])}, or {WHERE_TO_PUT}."
    )


def load_for_core(path: Path, precision: str, load_device: str) -> Wav2VecEncoder:
    """Load a wav2vec model and hand it to core's memory management.

    Raises:
        UserError: another precision or device than those of the lists, or the file is no such model.
    """
    from ..audio.wav2vec import load_encoder

    if load_device not in LOAD_DEVICES:
        raise UserError(f"load_device is {load_device}, and one of {', '.join(LOAD_DEVICES)} is needed.")
    cpu = torch.device("cpu")
    device = cpu if load_device == "cpu" else mm.get_torch_device()
    encoder = load_encoder(path, precision, ops=comfy.ops.disable_weight_init, cpu=mm.is_device_cpu(device))
    rest = cpu if load_device == "cpu" else mm.unet_offload_device()
    patcher = ModelPatcher(encoder.model, load_device=device, offload_device=rest)

    @contextmanager
    def on_device() -> Iterator[torch.device]:
        mm.load_models_gpu([patcher], memory_required=WORK_BYTES)
        try:
            yield device
        finally:
            if load_device == "offload_device":
                _unload(patcher)

    encoder.on_device = on_device
    return encoder


def _unload(patcher: ModelPatcher) -> None:
    """Take one model off its device and out of core's list."""
    for loaded in [m for m in mm.current_loaded_models if m.model is patcher]:
        loaded.model_unload()
        mm.current_loaded_models.remove(loaded)
    mm.soft_empty_cache()
