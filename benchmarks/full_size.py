"""Core's models and ours in their real sizes, with random weights made on the device, and jobs for them.

Nobody can look at such videos, but time, memory and the equality of bits do not hang on what the weights are.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import time
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import torch
from comfy.ldm.wan.vae import WanVAE
from comfy.model_patcher import ModelPatcher
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.wanvideo.job import TalkingVideoJob
from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk
from infinitetalk.wanvideo.model.modules import InfiniteTalk, InfiniteTalkConfig
from infinitetalk.wanvideo.pictures import Pictures
from infinitetalk.wanvideo.settings import SamplerSettings
from safetensors.torch import save_file
from torch import Tensor, nn

FPS = 25
AUDIO_LAYERS, AUDIO_CHANNELS = 12, 768
BIG_TENSOR = 2**28
"""Numbers from which on a tensor is drawn in half precision, to save the time and memory of two copies."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the models and of a window."""

    dim: int
    ffn_dim: int
    blocks: int
    vae_width: int
    height: int
    width: int
    window_frames: int
    motion_frames: int


FULL = Sizes(5120, 13824, 40, 96, 480, 832, 81, 9)
"""Wan 2.1 I2V 14B at 480p."""
TINY = Sizes(256, 512, 3, 16, 64, 64, 9, 5)


def device() -> torch.device:
    """Where core works."""
    return comfy.model_management.get_torch_device()


def compute_dtype() -> torch.dtype:
    """fp16 on a GPU, as core loads Wan's fp16 files; fp32 on a CPU."""
    return torch.float32 if device().type == "cpu" else torch.float16


def randomized(module: nn.Module, spread: float = 0.02) -> nn.Module:
    """Fill all weights in place: norms with ones, biases with zeros, the rest by a seeded generator."""
    where = device()
    generator = torch.Generator(where).manual_seed(1)
    for name, parameter in module.named_parameters():
        if parameter.ndim < 2:
            parameter.data.fill_(1 if name.endswith(("weight", "gamma")) else 0)
            continue
        std = spread if parameter.ndim == 2 else 1 / math.sqrt(parameter[0].numel())
        dtype = torch.float32 if parameter.numel() < BIG_TENSOR else torch.float16
        numbers = torch.randn(parameter.shape, generator=generator, device=where, dtype=dtype)
        parameter.data.copy_(numbers * std)
    return module.eval().requires_grad_(False)


def base_model(sizes: Sizes, dtype: torch.dtype | None = None, blocks: int | None = None) -> ModelPatcher:
    """Core's Wan 2.1 I2V.

    Args:
        sizes: width, feed-forward width, depth.
        dtype: of the stored weights; the compute dtype if None.
        blocks: another depth than the sizes'.
    """
    unet = {"image_model": "wan2.1", "model_type": "i2v", "in_dim": 36, "out_dim": 16, "dim": sizes.dim}
    unet |= {"ffn_dim": sizes.ffn_dim, "num_heads": sizes.dim // 128, "num_layers": blocks or sizes.blocks}
    config = comfy.supported_models.WAN21_I2V(unet)
    is_cast = dtype not in (None, compute_dtype())
    config.unet_config["dtype"] = dtype or compute_dtype()
    config.manual_cast_dtype = compute_dtype() if is_cast else None
    config.custom_operations = comfy.ops.manual_cast if is_cast else comfy.ops.disable_weight_init
    model = randomized(config.get_model({}, device=device()))
    return comfy.model_patcher.ModelPatcher(model, device(), comfy.model_management.unet_offload_device())


def infinitetalk_weights(sizes: Sizes, blocks: int | None = None) -> ModelPatcher:
    """InfiniteTalk's weights for `base_model`."""
    config = InfiniteTalkConfig(
        sizes.dim, blocks or sizes.blocks, AUDIO_LAYERS * AUDIO_CHANNELS, hidden=512, tokens=32, token_dim=768
    )
    model = InfiniteTalk(config, comfy.ops.manual_cast, device=device(), dtype=compute_dtype())
    return comfy.model_patcher.ModelPatcher(randomized(model), device(), comfy.model_management.unet_offload_device())


def vae(sizes: Sizes) -> Any:
    """Core's VAE around a Wan 2.1 VAE."""
    net = WanVAE(
        dim=sizes.vae_width, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[],
        temperal_downsample=[False, True, True], dropout=0.0,
    ).to(device())  # fmt: skip
    return comfy.sd.VAE(sd={name: tensor.cpu() for name, tensor in randomized(net).state_dict().items()})


def page_weights_as_core_does() -> bool:
    """Switch on what newer cores' `main.py` does on NVIDIA GPUs ("dynamic VRAM"): weights are paged, from then on.

    Layers that are made by hand afterwards have no weights: models come from files then. `gpu.start_pager` goes first.

    Returns:
        Whether this core and this device have it.
    """
    if importlib.util.find_spec("comfy_aimdo") is None or not hasattr(comfy.model_patcher, "ModelPatcherDynamic"):
        return False
    memory, control = (importlib.import_module(name) for name in ("comfy.memory_management", "comfy_aimdo.control"))
    if device().type != "cuda" or not control.init_devices([(device().index or 0, 0)]):
        return False
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    memory.aimdo_enabled = True
    return True


@dataclass(frozen=True)
class Models:
    """The three models of a job."""

    sizes: Sizes
    base: ModelPatcher
    infinitetalk: ModelPatcher
    vae: Any

    def saved_and_loaded(self, folder: Path) -> Models:
        """The same models, by core's loader and ours from files in `folder`."""
        base, talk = folder / "base.safetensors", folder / "infinitetalk.safetensors"
        save_file(self.base.model.diffusion_model.state_dict(), base)
        save_file(self.infinitetalk.model.state_dict(), talk)
        loaded = comfy.sd.load_diffusion_model(str(base)), load_infinitetalk(talk)
        return Models(self.sizes, *loaded, self.vae)

    def job(
        self,
        *,
        voices: int = 1,
        windows: int = 1,
        steps: int = 2,
        size: tuple[int, int] | None = None,
        is_dubbing: bool = False,
        **settings: Any,
    ) -> TalkingVideoJob:
        """A picture (a video, to be dubbed) and random embeddings for so many windows; no guidance unless `settings`
        (the sampler's) say so.
        """
        sizes, random = self.sizes, torch.Generator().manual_seed(2)
        height, width = size or (sizes.height, sizes.width)
        frames = sizes.window_frames + (windows - 1) * (sizes.window_frames - sizes.motion_frames)
        heard = [torch.randn(frames, AUDIO_LAYERS, AUDIO_CHANNELS, generator=random) for _ in range(voices)]
        embeds: Any = SimpleNamespace(
            features=heard,
            silence=[voice[:1] for voice in heard],
            audible=[torch.ones(frames, dtype=torch.bool)] * voices,
            digests=[str(voice) for voice in range(voices)],
            fps=float(FPS),
            frame_rate=Fraction(FPS),
            frames=frames,
        )
        images = torch.rand(frames if is_dubbing else 1, height, width, 3, generator=random)
        return TalkingVideoJob(
            model=self.base,
            infinitetalk=self.infinitetalk,
            embeds=embeds,
            vae=self.vae,
            pictures=Pictures(ImageFrames(images, Fraction(FPS)), Fraction(FPS), frames, (height, width)),
            settings=SamplerSettings(
                seed=5,
                steps=steps,
                shift=3.0,
                window_frames=sizes.window_frames,
                motion_frames=sizes.motion_frames,
                **{"text_cfg": 1.0, "audio_cfg": 1.0, **settings},
            ),
        )


def synchronize() -> None:
    """Wait for everything that the device was given to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_gib() -> float:
    """The most memory that tensors took on the GPU since the last reset."""
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def reset_peak() -> None:
    """Begin to watch the memory anew."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


@dataclass
class Stopwatch:
    """An observer that notes the time of every step of a run, and of the VAE's calls."""

    steps: list[tuple[int, float]] = field(default_factory=list)
    windows: list[float] = field(default_factory=list)
    vae: dict[str, list[float]] = field(default_factory=lambda: {"encode": [], "decode": []})

    def step(self, window: Any, step: int, denoised: Tensor) -> None:
        """After a step."""
        synchronize()
        self.steps.append((window.index, time.perf_counter()))

    def step_seconds(self, window: int) -> float:
        """The shortest time between two steps of a window; NaN with one step."""
        at = [moment for index, moment in self.steps if index == window]
        return min((after - before for before, after in pairwise(at)), default=math.nan)

    def run(self, job: TalkingVideoJob) -> Tensor:
        """All frames of a job, `[F, H, W, 3]`."""
        parts = []
        calls = {name: getattr(job.vae, name) for name in self.vae}
        for name, call in calls.items():
            setattr(job.vae, name, self._timed(name, call))
        try:
            for finished in job.run(self):
                synchronize()
                self.windows.append(time.perf_counter())
                parts.append(finished.frames.clone())
        finally:
            for name in calls:
                delattr(job.vae, name)
        return torch.cat(parts)

    def _timed(self, name: str, call: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> Any:
            synchronize()
            start = time.perf_counter()
            result = call(*args, **kwargs)
            synchronize()
            self.vae[name].append(time.perf_counter() - start)
            return result

        return timed


def run(job: TalkingVideoJob) -> tuple[Tensor, Stopwatch]:
    """The frames of a job and when what was done."""
    watch = Stopwatch()
    return watch.run(job), watch
