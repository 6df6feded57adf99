"""ComfyUI nodes for `length.py`: models that only pretend to think, so that 20 minutes of video end in minutes.

Copied into the `custom_nodes` folder of the benchmark's own server. What they replace is arithmetic whose memory does
not depend on the length of the video: the transformer, the VAE and the wav2vec model. Each gives tensors of the true
shapes, types and places (long embeddings lie in a mapped file, as the real encoder's do).
"""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LAYERS, CHANNELS = 12, 768
"""Of wav2vec2-base, the model that InfiniteTalk was trained with."""
PIECE_FRAMES = 1000


class HalfOfTheNoise:
    """In place of the transformer: `[B, 16, T, H/8, W/8]` -> the same. It says that all blocks have heard the audio."""

    def __init__(self, package: str, blocks: int) -> None:
        self._key = importlib.import_module(f"{package}.wanvideo.model.audio_patches").ATTACHMENT_KEY
        self._blocks = blocks

    def __call__(self, apply_model: Any, args: dict[str, Any]) -> Tensor:
        report = args["c"]["transformer_options"][self._key].report
        if report is not None:
            report.calls.append(self._blocks)
        return args["input"] * 0.5


def encode_pictures(pixels: Tensor) -> Tensor:
    """In place of the VAE's encoder: `[F, H, W, 3]` -> `[1, 16, (F-1)/4+1, H/8, W/8]`."""
    return pixels[::4, ::8, ::8, :1].permute(3, 0, 1, 2)[None].expand(1, 16, -1, -1, -1).clone()


def decode_latents(latent: Tensor) -> Tensor:
    """In place of the VAE's decoder: a bar that moves over a gradient, `[1, F, H, W, 3]` float32."""
    frames, height, width = (latent.shape[2] - 1) * 4 + 1, latent.shape[3] * 8, latent.shape[4] * 8
    pictures = torch.linspace(0.1, 0.8, width)[None, None, None, :, None].expand(1, frames, height, width, 3).clone()
    for frame in range(frames):
        pictures[0, frame, height // 2 :, frame * 4 : frame * 4 + 8] = 1.0
    return pictures + latent.mean() * 1e-6


class StandInEncoder:
    """In place of a wav2vec encoder: a smooth curve for every channel of every layer."""

    def __init__(self, package: str) -> None:
        self._spool = importlib.import_module(f"{package}.spool").Spool

    def encode(self, wave: Tensor, frames: int, *, folder: Path | None = None, **_: Any) -> Tensor:
        """`[frames, layers, channels]` float32, in a mapped file when long."""
        curve = torch.linspace(-1, 1, CHANNELS)
        with self._spool((CHANNELS,), folder=folder) as spool:
            for layer in range(LAYERS):
                for start in range(0, frames, PIECE_FRAMES):
                    time = torch.arange(start, min(start + PIECE_FRAMES, frames))[:, None] / 25
                    spool.append(torch.sin(time * (1 + layer)) + curve)
            return spool.finish().unflatten(0, (LAYERS, frames)).transpose(0, 1)

    def encode_end(self, wave: Tensor, frames: int, first: int, **_: Any) -> Tensor:
        """`[frames - first, layers, channels]`."""
        return torch.zeros(frames - first, LAYERS, CHANNELS)


class StandInModels:
    """Takes real, tiny models and gives them back without their arithmetic."""

    CATEGORY = "benchmark"
    FUNCTION = "replace"
    RETURN_TYPES = ("MODEL", "VAE", "INFINITETALK_WAV2VEC")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  (core's name)
        """Core's description of the inputs."""
        return {"required": {"model": ("MODEL",), "vae": ("VAE",), "wav2vec": ("INFINITETALK_WAV2VEC",)}}

    def replace(self, model: Any, vae: Any, wav2vec: Any) -> tuple[Any, Any, Any]:
        """Clones whose work is done by the functions above."""
        package = type(wav2vec).__module__.removesuffix(".audio.wav2vec")
        blocks = len(model.model.diffusion_model.blocks)
        model = model.clone()
        model.set_model_unet_function_wrapper(HalfOfTheNoise(package, blocks))
        vae = copy.copy(vae)
        vae.encode, vae.decode = encode_pictures, decode_latents
        encoder = copy.copy(wav2vec)
        stand_in = StandInEncoder(package)
        encoder.encode, encoder.encode_end = stand_in.encode, stand_in.encode_end
        return model, vae, encoder


class CollectFrames:
    """All frames of a video in one IMAGE tensor in RAM, as other packs hand them to core's Save Video."""

    CATEGORY = "benchmark"
    FUNCTION = "collect"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  (core's name)
        """Core's description of the inputs."""
        return {"required": {"video": ("VIDEO",)}}

    def collect(self, video: Any) -> tuple[Tensor]:
        """`[F, H, W, 3]` float32; each frame is held once."""
        width, height = video.get_dimensions()
        images = torch.empty(video.get_frame_count(), height, width, 3)
        position = 0
        for piece in video.iter_frames():
            images[position : position + len(piece)] = torch.from_numpy(piece / 255)
            position += len(piece)
        return (images,)


NODE_CLASS_MAPPINGS = {"StandInModels": StandInModels, "CollectFrames": CollectFrames}
