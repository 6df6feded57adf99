"""ComfyUI nodes for tests of what nodes do with anything: the tests copy this file into `custom_nodes`.

`AnyValue` gives a value of JSON, or one of `OBJECTS` by its name, to any socket; `AnySink` takes anything. `AnyLoop`
puts another node in its own place while the graph runs, as nodes for loops do.
"""

from __future__ import annotations

import copy
import json
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.ldm.models.autoencoder
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from comfy_api.input_impl import VideoFromComponents
from comfy_api.util import VideoComponents
from comfy_execution.graph_utils import GraphBuilder

SIDE = 32
BAD = float("nan")


class AnyType(str):
    """A socket type that is no other than any."""

    def __ne__(self, other: object) -> bool:
        return False


ANY = AnyType("*")


def image(*shape: int, fill: float = 0.5, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full(shape or (1, SIDE, SIDE, 3), fill).to(dtype)


def audio(samples: int = 8000, rate: Any = 16000, fill: float = 0.1) -> dict[str, Any]:
    return {"waveform": torch.full((1, 1, samples), fill), "sample_rate": rate}


def video(frames: int = 5, **kind: Any) -> VideoFromComponents:
    images = image(frames, SIDE, SIDE, 3, **kind)
    return VideoFromComponents(VideoComponents(images=images, audio=None, frame_rate=Fraction(25)))


def box(**changed: Any) -> dict[str, Any]:
    return {"x": 4, "y": 4, "width": 16, "height": 16, **changed}


def prompt(rows: int, width: int, fill: float = 0.0) -> list:
    return [[torch.full((1, rows, width), fill), {}]]


def other_vae() -> Any:
    """As core holds HunyuanVideo's VAE: the same channels and dimensions as Wan's, of another class."""
    inner = comfy.ldm.models.autoencoder.AutoencoderKL.__new__(comfy.ldm.models.autoencoder.AutoencoderKL)
    torch.nn.Module.__init__(inner)
    vae = comfy.sd.VAE.__new__(comfy.sd.VAE)
    cpu = torch.device("cpu")
    vae.__dict__.update(first_stage_model=inner, latent_channels=16, latent_dim=3, vae_dtype=torch.float32)
    vae.patcher = ModelPatcher(inner, load_device=cpu, offload_device=cpu)
    return vae


def small_clip_vision() -> Any:
    """A CLIP vision model of another width than the Wan model's."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 1, "num_hidden_layers": 2}
    config = {**sizes, "image_size": 224, "patch_size": 32, "num_channels": 3, "projection_dim": 64}
    config |= {"model_type": "clip_vision_model", "hidden_act": "gelu", "layer_norm_eps": 1e-5}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        file.write_text(json.dumps(config))
        return comfy.clip_vision.ClipVisionModel(str(file))


def no_diffusion_model() -> Any:
    cpu = torch.device("cpu")
    return ModelPatcher(torch.nn.Linear(2, 2), load_device=cpu, offload_device=cpu)


OBJECTS = {
    "image": image,
    "image bf16": lambda: image(dtype=torch.bfloat16),
    "image uint8": lambda: image(fill=200, dtype=torch.uint8),
    "image 0 to 255": lambda: image(fill=200),
    "image negative": lambda: image(fill=-1),
    "image NaN": lambda: image(fill=BAD),
    "image inf": lambda: image(fill=float("inf")),
    "image empty": lambda: image(0, SIDE, SIDE, 3),
    "image no pixels": lambda: image(1, 0, SIDE, 3),
    "image 2 channels": lambda: image(1, SIDE, SIDE, 2),
    "image no batch": lambda: image(SIDE, SIDE, 3),
    "image complex": lambda: image(dtype=torch.complex64),
    "mask": lambda: image(1, SIDE, SIDE, fill=1),
    "mask NaN": lambda: image(1, SIDE, SIDE, fill=BAD),
    "mask empty": lambda: image(0, SIDE, SIDE),
    "mask no pixels": lambda: image(1, 0, SIDE),
    "mask NaN in a row": lambda: image(1, SIDE, SIDE, fill=1).index_fill(1, torch.tensor([0]), BAD),
    "mask of 5": lambda: image(5, SIDE, SIDE, fill=1),
    "mask bf16": lambda: image(1, SIDE, SIDE, fill=1, dtype=torch.bfloat16),
    "mask bool": lambda: image(1, SIDE, SIDE, fill=1, dtype=torch.bool),
    "video": video,
    "video bf16": lambda: video(dtype=torch.bfloat16),
    "video NaN": lambda: video(fill=BAD),
    "video 0 to 255": lambda: video(fill=200),
    "video of no frames": lambda: video(0),
    "boxes": lambda: [box()],
    "boxes NaN": lambda: [box(x=BAD)],
    "boxes inf": lambda: [box(width=float("inf"))],
    "boxes outside": lambda: [box(x=10**9)],
    "boxes many": lambda: [box()] * 20_000,
    "boxes of nothing": list,
    "boxes of texts": lambda: [box(x="left")],
    "audio": audio,
    "audio of two": lambda: {**audio(), "waveform": torch.stack([torch.full((1, 8000), one) for one in (0.1, 0.2)])},
    "audio NaN": lambda: audio(fill=BAD),
    "audio empty": lambda: audio(0),
    "audio without rate": lambda: {"waveform": torch.zeros(1, 1, 800)},
    "audio rate 0": lambda: audio(rate=0),
    "audio rate NaN": lambda: audio(rate=BAD),
    "audio rate text": lambda: audio(rate="fast"),
    "audio of lists": lambda: {"waveform": [[0.0]], "sample_rate": 16000},
    "prompt": lambda: prompt(512, 4096),
    "prompt NaN": lambda: prompt(512, 4096, BAD),
    "prompt of SD 1.5": lambda: prompt(77, 768),
    "prompt of SDXL": lambda: prompt(77, 2048),
    "prompt without tensor": lambda: [["text", {}]],
    "prompt of no rows": lambda: prompt(0, 4096),
    "other vae": other_vae,
    "small clip vision": small_clip_vision,
    "no diffusion model": no_diffusion_model,
    "object": object,
    "class": lambda: dict,
    "list of lists": lambda: [[]],
    "tensor": lambda: torch.tensor(3),
    "tensor NaN": lambda: torch.tensor(BAD),
    "array": lambda: torch.zeros(4).numpy(),
}
"""Everything that is no JSON, by name."""


class AnyValue:
    """One value for any socket: what `value` says in JSON, or the object of that name."""

    DESCRIPTION = ", ".join(OBJECTS)
    CATEGORY = "tests"
    FUNCTION = "execute"
    RETURN_TYPES = (ANY,)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  (core's name)
        return {"required": {"value": ("STRING",), "named": ("BOOLEAN",)}}

    def execute(self, value: str, named: bool) -> tuple[Any]:
        return (copy.copy(OBJECTS[value]()) if named else json.loads(value),)


class AnySink:
    """Makes a graph end at any node."""

    CATEGORY = "tests"
    FUNCTION = "execute"
    OUTPUT_NODE = True
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  (core's name)
        return {"required": {"value": (ANY,)}}

    def execute(self, value: Any) -> dict[str, Any]:
        return {"ui": {}}


class AnyLoop:
    """Stands for a node of JSON, of whose outputs it gives one; no other node knows of that node."""

    CATEGORY = "tests"
    FUNCTION = "execute"
    RETURN_TYPES = (ANY,)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  (core's name)
        return {"required": {"node": ("STRING",), "output": ("INT",)}}

    def execute(self, node: str, output: int) -> dict[str, Any]:
        name = f"{GraphBuilder.alloc_prefix()}inner"
        return {"result": ([name, output],), "expand": {name: json.loads(node)}}


NODE_CLASS_MAPPINGS = {"AnyValue": AnyValue, "AnySink": AnySink, "AnyLoop": AnyLoop}
