"""Load InfiniteTalk, the weights that make a Wan model listen; and models that have both in one file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..errors import UserError
from .checked import CheckedNode
from .sockets import CATEGORY, InfiniteTalkModel
from .validation import refusal

WEIGHT_DTYPES: dict[str, torch.dtype | None] = {"default": None, "fp8_e4m3fn": torch.float8_e4m3fn}
FOLDERS = ("model_patches", "diffusion_models")
UNKNOWN_TO_CORE = (".gguf", ".safetensors.index.json")
"""Files beside those that core lists; an index stands for the shards of a model."""
NO_FILE = "put InfiniteTalk weights into models/model_patches"


def _files() -> dict[str, Path]:
    """Every weight file of the folders by its name in the list; the first folder wins."""
    found: dict[str, Path] = {}
    for folder in reversed(FOLDERS):
        for root in reversed(folder_paths.get_folder_paths(folder)):
            for path in _files_unknown_to_core(Path(root)):
                found[path.relative_to(root).as_posix()] = path
        for name in folder_paths.get_filename_list(folder):
            found[name.replace("\\", "/")] = Path(folder_paths.get_full_path_or_raise(folder, name))
    return dict(sorted(found.items()))


def _files_unknown_to_core(root: Path) -> Iterator[Path]:
    """Such files in a folder and in all below it, linked ones too, as core looks for its own."""
    for folder, _, files in os.walk(root, followlinks=True):
        yield from (Path(folder, name) for name in files if name.lower().endswith(UNKNOWN_TO_CORE))


def _find(model: str) -> Path:
    """The file of that name in the list.

    Raises:
        UserError: there is none.
    """
    files = _files()
    path = files.get(model) or files.get(model.replace("\\", "/"))  # as core's lists on Windows have it
    if path is None:
        raise UserError(
            f"There is no InfiniteTalk file '{model}': {NO_FILE} (or models/diffusion_models) and choose it."
        )
    return path


class InfiniteTalkModelLoader(CheckedNode):
    """Thin over `wanvideo.model.checkpoint`."""

    LOOKED_UP = ("model",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs; ids are public for ever."""
        return io.Schema(
            node_id="InfiniteTalkModelLoader",
            display_name="Load InfiniteTalk",
            category=CATEGORY,
            description="Loads InfiniteTalk's (or MultiTalk's) own weights, with which a Wan 2.1 I2V model follows "
            "speech.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(_files()),
                    tooltip="InfiniteTalk weights from models/model_patches or models/diffusion_models: "
                    "fp32, fp16, bf16, scaled fp8 (.safetensors) or .gguf. Of a merged model, such as "
                    "SoulX-FlashTalk, only this part is read.",
                )
            ],
            outputs=[
                InfiniteTalkModel.Output(
                    "infinitetalk", display_name="infinitetalk", tooltip="For the InfiniteTalk Sampler."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        """Refuse a file that is not there, before anything runs."""
        return refusal((partial(cls.check_inputs, model=model),), (_find, model))

    @classmethod
    def run(cls, model: str) -> io.NodeOutput:
        """Load the file."""
        from ..wanvideo.model.checkpoint import load_infinitetalk

        weights = load_infinitetalk(_find(model))
        return io.NodeOutput(weights, ui=_report(weights))


class InfiniteTalkMergedModelLoader(CheckedNode):
    """Thin over `wanvideo.model.merged_checkpoint`."""

    LOOKED_UP = ("model",)

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs; ids are public for ever."""
        return io.Schema(
            node_id="InfiniteTalkMergedModelLoader",
            display_name="Load Merged InfiniteTalk",
            category=CATEGORY,
            description="Loads a model that has a Wan base and InfiniteTalk's audio part in one file or in shards, "
            "such as SoulX-FlashTalk: the same as Load Diffusion Model and Load InfiniteTalk for two files.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(_files()),
                    tooltip="A merged model from models/diffusion_models: fp16, bf16, scaled fp8 (.safetensors), its "
                    "shards by their .safetensors.index.json, or .gguf, which becomes fp16.",
                ),
                io.Combo.Input(
                    "weight_dtype",
                    options=list(WEIGHT_DTYPES),
                    default="default",
                    tooltip="default keeps the base as it is in the file. fp8_e4m3fn halves the memory of fp16 and "
                    "bf16, with a little less quality.",
                ),
            ],
            outputs=[
                io.Model.Output("base", display_name="model", tooltip="The Wan 2.1 I2V base."),
                InfiniteTalkModel.Output(
                    "infinitetalk", display_name="infinitetalk", tooltip="The audio part, for the InfiniteTalk Sampler."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, model: str | None = None, weight_dtype: str | None = None) -> bool | str:
        """Refuse a file that is not there, before anything runs."""
        return refusal((partial(cls.check_inputs, model=model, weight_dtype=weight_dtype),), (_find, model))

    @classmethod
    def run(cls, model: str, weight_dtype: str) -> io.NodeOutput:
        """Load both parts."""
        from ..wanvideo.model.checkpoint import load_infinitetalk
        from ..wanvideo.model.merged_checkpoint import load_base

        path = _find(model)
        weights = load_infinitetalk(path)
        return io.NodeOutput(load_base(path, WEIGHT_DTYPES[weight_dtype]), weights, ui=_report(weights))


def _report(weights: ModelPatcher) -> dict[str, list[str]]:
    """What web/report.js shows on the node: whose weights these are, where they want other settings than the usual;
    nothing else, and what it showed of a file before leaves the node.
    """
    origin = weights.model.origin
    return {"text": [f"{origin.name}\n{origin.advice}"] if origin.advice else []}
