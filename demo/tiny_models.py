"""Tiny models with the real architecture and the real file formats, made by code.

Their weights are random, so their pictures mean nothing; but every tensor that a real checkpoint has is there and
matters, so core's own loaders, the sampler and the VAE do all of their work, on a CPU in seconds. The weights come
from a generator whose numbers are frozen for ever (`numpy.random.RandomState`, uniform), then rounded to float16:
the same bytes on every machine.

Run it to fill a models folder by hand: `python demo/tiny_models.py ComfyUI/models`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    Weights = dict[str, np.ndarray]

MAX_TEXT_WIDTH = 4096  # width of umt5-xxl's embeddings, fixed in core
TIME_WIDTH = 256  # sinusoidal time embedding, fixed in core
IMAGE_WIDTH = 1280  # width of CLIP ViT-H's embeddings
LATENT_CHANNELS = 16

BASE_I2V = "diffusion_models/tiny_wan2.1_i2v.safetensors"
VAE = "vae/tiny_wan2.1_vae.safetensors"
INFINITETALK = "model_patches/tiny_infinitetalk_single.safetensors"
WAV2VEC = "wav2vec2/tiny_wav2vec2.safetensors"


@dataclass(frozen=True)
class TinyWan:
    """Sizes of a tiny Wan 2.1 transformer. The head width is 128 in core, so `dim` is a multiple of it."""

    dim: int = 256
    layers: int = 2
    ffn_dim: int = 384
    in_channels: int = 36
    """36 is image to video (16 latent, 4 mask, 16 picture channels), 16 is text to video."""

    @property
    def takes_pictures(self) -> bool:
        return self.in_channels == 36


@dataclass(frozen=True)
class TinyWav2Vec:
    """Sizes of a tiny wav2vec 2.0 in the layout of the "base" models; heads are 64 wide as in the real ones."""

    hidden: int = 128
    layers: int = 3
    conv_channels: int = 32
    intermediate: int = 192


@dataclass(frozen=True)
class TinyInfiniteTalk:
    """Sizes of tiny InfiniteTalk weights; they fit `TinyWan()` and `TinyWav2Vec()`."""

    base: TinyWan = TinyWan()
    audio: TinyWav2Vec = TinyWav2Vec()
    intermediate: int = 48
    tokens: int = 8
    out_dim: int = 96


class Maker:
    """Collects named weights from one frozen stream of numbers, each rounded to float16."""

    def __init__(self, seed: int) -> None:
        import numpy as np

        self.weights: Weights = {}
        self._random = np.random.RandomState(seed)

    def noise(self, name: str, *shape: int, std: float, mean: float = 0.0) -> None:
        """Uniform numbers with this mean and standard deviation."""
        unit = (self._random.random_sample(shape) - 0.5) * 12**0.5
        self.weights[name] = (mean + std * unit).astype("float16")

    def linear(self, name: str, inputs: int, outputs: int, *, gain: float = 1.0) -> None:
        """A matrix with unit gain times `gain`, and a bias."""
        self.noise(f"{name}.weight", outputs, inputs, std=gain * inputs**-0.5)
        self.noise(f"{name}.bias", outputs, std=0.05)

    def norm(self, name: str, width: int) -> None:
        """Gain and bias of a LayerNorm."""
        self.noise(f"{name}.weight", width, std=0.1, mean=1.0)
        self.noise(f"{name}.bias", width, std=0.05)

    def rms(self, name: str, width: int) -> None:
        """Gain of an RMSNorm."""
        self.noise(f"{name}.weight", width, std=0.1, mean=1.0)

    def conv(self, name: str, inputs: int, outputs: int, *kernel: int, gain: float = 1.0, smooth: bool = False) -> None:
        """A convolution with unit gain times `gain`, and a bias.

        `smooth` weighs the taps like a binomial filter, so that the pictures are soft blobs and not noise.
        """
        import numpy as np

        shape = (outputs, inputs, *kernel)
        taps = np.ones(kernel)
        for axis, length in enumerate(kernel):
            if smooth and length == 3:
                taps = taps * np.array([0.5, 1.0, 0.5]).reshape([-1 if a == axis else 1 for a in range(len(kernel))])
        self.noise(f"{name}.weight", *shape, std=1.0)
        scale = gain * (inputs * (taps**2).sum()) ** -0.5
        self.weights[f"{name}.weight"] = (self.weights[f"{name}.weight"] * taps * scale).astype("float16")
        self.noise(f"{name}.bias", outputs, std=0.02)


def wan_transformer(sizes: TinyWan, seed: int) -> Weights:
    """Wan 2.1's transformer under the original key names, which core detects by `head.modulation`."""
    make = Maker(seed)
    dim = sizes.dim
    make.conv("patch_embedding", sizes.in_channels, dim, 1, 2, 2)
    make.linear("text_embedding.0", MAX_TEXT_WIDTH, dim)
    make.linear("text_embedding.2", dim, dim)
    make.linear("time_embedding.0", TIME_WIDTH, dim)
    make.linear("time_embedding.2", dim, dim)
    make.linear("time_projection.1", dim, 6 * dim, gain=0.5)
    if sizes.takes_pictures:
        make.norm("img_emb.proj.0", IMAGE_WIDTH)
        make.linear("img_emb.proj.1", IMAGE_WIDTH, IMAGE_WIDTH)
        make.linear("img_emb.proj.3", IMAGE_WIDTH, dim)
        make.norm("img_emb.proj.4", dim)
    for index in range(sizes.layers):
        _wan_block(make, f"blocks.{index}", sizes)
    make.noise("head.modulation", 1, 2, dim, std=0.1)
    make.linear("head.head", dim, LATENT_CHANNELS * 4)
    return make.weights


def _wan_block(make: Maker, block: str, sizes: TinyWan) -> None:
    dim = sizes.dim
    make.noise(f"{block}.modulation", 1, 6, dim, std=0.1)
    make.norm(f"{block}.norm3", dim)
    for attention in ("self_attn", "cross_attn"):
        for part in "qkvo":
            make.linear(f"{block}.{attention}.{part}", dim, dim)
        for part in "qk":
            make.rms(f"{block}.{attention}.norm_{part}", dim)
    if sizes.takes_pictures:
        make.linear(f"{block}.cross_attn.k_img", dim, dim)
        make.linear(f"{block}.cross_attn.v_img", dim, dim)
        make.rms(f"{block}.cross_attn.norm_k_img", dim)
    make.linear(f"{block}.ffn.0", dim, sizes.ffn_dim)
    make.linear(f"{block}.ffn.2", sizes.ffn_dim, dim)


def infinitetalk(sizes: TinyInfiniteTalk, seed: int) -> Weights:
    """InfiniteTalk's own weights as published: audio projection, audio cross attention and its norm per block."""
    make = Maker(seed)
    channels = sizes.audio.layers * sizes.audio.hidden
    # The first frame sees 5 embeddings; each later latent frame stands for 4 frames and sees 3 + 1 + 1 + 3.
    make.linear("audio_proj.proj1", 5 * channels, sizes.intermediate)
    make.linear("audio_proj.proj1_vf", 8 * channels, sizes.intermediate)
    make.linear("audio_proj.proj2", sizes.intermediate, sizes.intermediate)
    make.linear("audio_proj.proj3", sizes.intermediate, sizes.tokens * sizes.out_dim)
    make.norm("audio_proj.norm", sizes.out_dim)
    dim = sizes.base.dim
    for index in range(sizes.base.layers):
        attention = f"blocks.{index}.audio_cross_attn"
        make.linear(f"{attention}.q_linear", dim, dim)
        make.linear(f"{attention}.kv_linear", sizes.out_dim, 2 * dim)
        make.linear(f"{attention}.proj", dim, dim)
        make.norm(f"blocks.{index}.norm_x", dim)
    return make.weights


def wav2vec(sizes: TinyWav2Vec, seed: int) -> Weights:
    """wav2vec 2.0 under the key names of a published `Wav2Vec2ForPreTraining` checkpoint."""
    make = Maker(seed)
    hidden, channels = sizes.hidden, sizes.conv_channels
    features = "wav2vec2.feature_extractor.conv_layers"
    for index, kernel in enumerate((10, 3, 3, 3, 3, 2, 2)):
        inputs = 1 if index == 0 else channels
        # GELU halves the power or so: a gain of 1.7 keeps the loudness alive through seven layers.
        make.noise(f"{features}.{index}.conv.weight", channels, inputs, kernel, std=1.7 * (inputs * kernel) ** -0.5)
    make.norm(f"{features}.0.layer_norm", channels)
    make.norm("wav2vec2.feature_projection.layer_norm", channels)
    make.linear("wav2vec2.feature_projection.projection", channels, hidden)
    position = "wav2vec2.encoder.pos_conv_embed.conv"
    make.noise(f"{position}.weight_g", 1, 1, 128, std=0.1, mean=1.0)
    make.noise(f"{position}.weight_v", hidden, hidden // 16, 128, std=0.1)
    make.noise(f"{position}.bias", hidden, std=0.05)
    make.norm("wav2vec2.encoder.layer_norm", hidden)
    for index in range(sizes.layers):
        layer = f"wav2vec2.encoder.layers.{index}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            make.linear(f"{layer}.attention.{part}", hidden, hidden)
        make.norm(f"{layer}.layer_norm", hidden)
        make.linear(f"{layer}.feed_forward.intermediate_dense", hidden, sizes.intermediate)
        make.linear(f"{layer}.feed_forward.output_dense", sizes.intermediate, hidden)
        make.norm(f"{layer}.final_layer_norm", hidden)
    make.noise("wav2vec2.masked_spec_embed", hidden, std=0.1)
    return make.weights


def wan_vae(base: int, seed: int) -> Weights:
    """Wan 2.1's VAE with `base` channels instead of 96 (core reads the width from `decoder.head.0.gamma`)."""
    make = Maker(seed)
    widths = [base, 2 * base, 4 * base, 4 * base]
    _vae_encoder(make, widths)
    make.conv("conv1", 2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1, 1, 1)
    make.conv("conv2", LATENT_CHANNELS, LATENT_CHANNELS, 1, 1, 1)
    _vae_decoder(make, widths)
    return make.weights


def _vae_encoder(make: Maker, widths: list[int]) -> None:
    _vae_conv(make, "encoder.conv1", 3, widths[0])
    index, width = 0, widths[0]
    for level, out in enumerate(widths):
        for _ in range(2):
            _vae_residual(make, f"encoder.downsamples.{index}", width, out)
            index, width = index + 1, out
        if level < 3:
            make.conv(f"encoder.downsamples.{index}.resample.1", width, width, 3, 3, smooth=True)
            if level > 0:  # the first halving is in space only
                make.conv(f"encoder.downsamples.{index}.time_conv", width, width, 3, 1, 1)
            index += 1
    _vae_middle(make, "encoder.middle", width)
    make.noise("encoder.head.0.gamma", width, 1, 1, 1, std=0.1, mean=1.0)
    _vae_conv(make, "encoder.head.2", width, 2 * LATENT_CHANNELS)


def _vae_decoder(make: Maker, widths: list[int]) -> None:
    width = widths[-1]
    _vae_conv(make, "decoder.conv1", LATENT_CHANNELS, width)
    _vae_middle(make, "decoder.middle", width)
    index = 0
    for level, out in enumerate(reversed(widths)):
        for _ in range(3):
            _vae_residual(make, f"decoder.upsamples.{index}", width, out)
            index, width = index + 1, out
        if level < 3:
            make.conv(f"decoder.upsamples.{index}.resample.1", width, width // 2, 3, 3, smooth=True)
            if level < 2:  # the last doubling is in space only
                make.conv(f"decoder.upsamples.{index}.time_conv", width, 2 * width, 3, 1, 1)
            index, width = index + 1, width // 2
    make.noise("decoder.head.0.gamma", width, 1, 1, 1, std=0.1, mean=1.0)
    _vae_conv(make, "decoder.head.2", width, 3, gain=0.5)


def _vae_middle(make: Maker, name: str, width: int) -> None:
    _vae_residual(make, f"{name}.0", width, width)
    make.noise(f"{name}.1.norm.gamma", width, 1, 1, std=0.1, mean=1.0)
    make.conv(f"{name}.1.to_qkv", width, 3 * width, 1, 1)
    make.conv(f"{name}.1.proj", width, width, 1, 1, gain=0.3)
    _vae_residual(make, f"{name}.2", width, width)


def _vae_residual(make: Maker, name: str, inputs: int, outputs: int) -> None:
    make.noise(f"{name}.residual.0.gamma", inputs, 1, 1, 1, std=0.1, mean=1.0)
    _vae_conv(make, f"{name}.residual.2", inputs, outputs)
    make.noise(f"{name}.residual.3.gamma", outputs, 1, 1, 1, std=0.1, mean=1.0)
    _vae_conv(make, f"{name}.residual.6", outputs, outputs, gain=0.5)
    if inputs != outputs:
        make.conv(f"{name}.shortcut", inputs, outputs, 1, 1, 1)


def _vae_conv(make: Maker, name: str, inputs: int, outputs: int, gain: float = 1.0) -> None:
    make.conv(name, inputs, outputs, 3, 3, 3, gain=gain, smooth=True)


def lora(sizes: TinyWan, seed: int, rank: int = 4) -> Weights:
    """A LoRA on every self attention of the base model, in the key names that core's loader maps."""
    make = Maker(seed)
    for index in range(sizes.layers):
        for part in "qkvo":
            layer = f"diffusion_model.blocks.{index}.self_attn.{part}"
            make.noise(f"{layer}.lora_A.weight", rank, sizes.dim, std=sizes.dim**-0.5)
            make.noise(f"{layer}.lora_B.weight", sizes.dim, rank, std=0.5)
    return make.weights


def write_models(models: Path) -> None:
    """Write the four models of the demo into a ComfyUI models folder; files that are there are kept."""
    makers: dict[str, Callable[[], Weights]] = {
        BASE_I2V: lambda: wan_transformer(TinyWan(), seed=1),
        INFINITETALK: lambda: infinitetalk(TinyInfiniteTalk(), seed=2),
        WAV2VEC: lambda: wav2vec(TinyWav2Vec(), seed=3),
        VAE: lambda: wan_vae(4, seed=4),
    }
    for name, make in makers.items():
        if not (models / name).is_file():
            write(models / name, make())


def write(file: Path, weights: Weights) -> None:
    """Write one safetensors file; it appears under its name only when complete."""
    from safetensors.numpy import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    save_file(weights, partial, metadata={"format": "pt"})
    partial.replace(file)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Usage: python demo/tiny_models.py FOLDER (the models folder of a ComfyUI)")
    write_models(Path(sys.argv[1]))
