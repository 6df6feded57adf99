"""Writes the numbers that FlashTalk's loop must give, from its formulas in float64 (`reference/flashtalk.py`).

    .venv/bin/python tools/write_flashtalk_golden.py [GOLDEN]

The models are the golden set's tiny ones, from the folder GOLDEN or the files that ship in `tests/golden`. Of core only
the VAE and the scale of its latents are used, in float64. Takes a minute.
"""

from __future__ import annotations

import lzma
import sys
from pathlib import Path

import in_process
import torch
from reference.flashtalk import WINDOW_FRAMES, Inputs, Vae, make_windows
from reference.wan_forward import WanInFloat64
from safetensors.torch import load, save
from torch import Tensor

SHIPPED = in_process.ROOT / "tests" / "golden"
TARGET = SHIPPED / "flashtalk.safetensors.xz"
SEED, WINDOWS = 33, 3
FRAMES = 120  # of speech: more than the three windows hear
HEIGHT, WIDTH = 48, 64
KEPT = 4  # every 4th pixel of the frames in both directions


def main() -> None:
    """Compute three windows and write inputs and outputs."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED
    in_process.import_core()
    common, single = tensors(folder, "loop_common"), tensors(folder, "dit_single")
    stored = given(common["image"])
    inputs = Inputs(
        picture=stored["image"].double().permute(2, 0, 1) / 127.5 - 1,
        text=single["context"].double(),
        clip=single["clip_fea"][0].double(),
        audio=stored["audio"].double(),
        noise=stored["noise"].double(),
    )
    model = WanInFloat64({**tensors(folder, "dit"), **tensors(folder, "infinitetalk")})
    with torch.inference_mode():
        windows = make_windows(model, vae_in_float64(tensors(folder, "vae")), inputs)
    stored["latent_final"] = torch.stack([latent for latent, _ in windows]).float()
    frames = torch.stack([frames for _, frames in windows]).float()
    stored[f"frames_sub{KEPT}"] = frames[..., ::KEPT, ::KEPT].contiguous()
    TARGET.write_bytes(lzma.compress(save(stored), preset=9))


def given(image: Tensor) -> dict[str, Tensor]:
    """Picture, embeddings and noise: random but for the picture, and exact in fp16."""
    random = torch.Generator().manual_seed(SEED)
    latent = (16, (WINDOW_FRAMES - 1) // 4 + 1, HEIGHT // 8, WIDTH // 8)
    return {
        "image": image[:HEIGHT, :WIDTH].contiguous(),
        "audio": torch.randn(FRAMES, 3, 64, generator=random).half(),
        "noise": torch.randn(WINDOWS, 4, *latent, generator=random).half(),
    }


def vae_in_float64(weights: dict[str, Tensor]) -> Vae:
    """Core's VAE with 16 base channels, and Wan 2.1's scale of latents."""
    from comfy.latent_formats import Wan21
    from comfy.ldm.wan.vae import WanVAE

    vae = WanVAE(dim=16, z_dim=16, temperal_downsample=[False, True, True]).double()
    vae.load_state_dict({name: tensor.double() for name, tensor in weights.items()})
    scale = Wan21()
    mean, std = scale.latents_mean.double()[0], scale.latents_std.double()[0]
    return Vae(
        encode=lambda frames: (vae.encode(frames[None])[0] - mean) / std,
        decode=lambda latent: vae.decode((latent * std + mean)[None])[0].clamp(-1, 1),
    )


def tensors(folder: Path, name: str) -> dict[str, Tensor]:
    """A file of the golden set, packed or not."""
    plain = folder / f"{name}.safetensors"
    packed = plain.with_name(f"{plain.name}.xz")
    return load(plain.read_bytes() if plain.is_file() else lzma.decompress(packed.read_bytes()))


if __name__ == "__main__":
    main()
