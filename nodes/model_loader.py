"""Load InfiniteTalk: the weights that make a Wan model listen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..errors import UserError
from .checked import CheckedNode
from .known import refusal
from .sockets import CATEGORY, InfiniteTalkModel

FOLDERS = ("model_patches", "diffusion_models")
NO_FILE = "put InfiniteTalk weights into models/model_patches"


def _files() -> dict[str, Path]:
    """Every weight file of the folders by its name in the list; the first folder wins."""
    found: dict[str, Path] = {}
    for folder in reversed(FOLDERS):
        for root in reversed(folder_paths.get_folder_paths(folder)):
            for path in _gguf_files(Path(root)):
                found[path.relative_to(root).as_posix()] = path
        for name in folder_paths.get_filename_list(folder):
            found[name.replace("\\", "/")] = Path(folder_paths.get_full_path_or_raise(folder, name))
    return dict(sorted(found.items()))


def _gguf_files(root: Path) -> Iterator[Path]:
    """GGUF files in a folder and in all below it, linked ones too, as core looks for its own."""
    for folder, _, files in os.walk(root, followlinks=True):
        yield from (Path(folder, name) for name in files if name.lower().endswith(".gguf"))


def _find(model: str) -> Path:
    """The file of that name in the list.

    Raises:
        UserError: there is none.
    """
    path = _files().get(model)
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
                    "fp32, fp16, bf16, scaled fp8 (.safetensors) or .gguf.",
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

        return io.NodeOutput(load_infinitetalk(_find(model)))
