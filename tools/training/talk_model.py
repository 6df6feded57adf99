"""The demo's talking model for training: core's Wan 2.1 I2V with InfiniteTalk's layers in its blocks.

It is core's own `WanModel`, with its own embeddings, rotary positions and head; only the block's forward is written
again, because the sampler's hooks change tensors in place and the rotation of newer cores has no gradient. The names of
all weights are those of the files, as in the authors' merged model: reading and writing is a matter of sorting keys.

The demo gives neither a prompt nor a CLIP picture, that is zeros. All rows of a zero embedding are the same, so one
row stands for all: the attention to them is their value. Weights of zero behind them keep it so for any prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import in_process

in_process.import_core()
in_process.load_pack()

import comfy.ops
import numpy as np
import tiny_models
import torch
from cartoon_models import BASE_I2V, INFINITETALK, WAV2VEC
from comfy import model_management
from comfy.ldm.wan.model import WanAttentionBlock, WanModel
from infinitetalk.wanvideo.conditioning import CLIP_WIDTH
from infinitetalk.wanvideo.masks import half_masks, token_masks
from infinitetalk.wanvideo.model.audio_patches import AUDIO_TOKENS_KEY
from infinitetalk.wanvideo.model.modules import HEAD_DIM, AudioBlock, AudioProjection, InfiniteTalkConfig
from infinitetalk.wanvideo.model.speakers import TRAINED_SPEAKERS, attention_maps, token_coordinates
from infinitetalk.wanvideo.schedule import TRAIN_TIMESTEPS
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from training.vae_model import CELL

IN_CHANNELS, OUT_CHANNELS, MASK_CHANNELS = 36, 16, 4
MASKS_KEY = "speaker_masks"
OURS = ("audio_proj.", "audio_cross_attn.", "norm_x.")
"""What a key of InfiniteTalk's own weights holds, and no key of the base model."""
WAV2VEC_SIZES = tiny_models.TinyWav2Vec(hidden=64, layers=3, conv_channels=32, intermediate=128)
WAV2VEC_SEED = 3
"""Of ten the one with which a linear fit hears most: the correlation with the mouth's opening is 0.95."""
WAV2VEC_SPREAD, FIRST_NORM_BIAS = 0.1, 0.5
AUDIO_OUTPUT_SPREAD = 0.02
FIRST_GATE = 0.1
"""How much of attention and FFN comes through at first; with 1 the noise, which is to be predicted, drowns in it."""


@dataclass(frozen=True)
class Sizes:
    """All sizes of the talking model. Together with the VAE the files have less than 15 MB in float16."""

    dim: int = HEAD_DIM
    layers: int = 6
    ffn_dim: int = 448
    audio: tiny_models.TinyWav2Vec = WAV2VEC_SIZES
    audio_hidden: int = 192
    tokens: int = 8
    token_dim: int = 96

    @property
    def infinitetalk(self) -> InfiniteTalkConfig:
        """Sizes of InfiniteTalk's own weights."""
        embedding = self.audio.layers * self.audio.hidden
        return InfiniteTalkConfig(self.dim, self.layers, embedding, self.audio_hidden, self.tokens, self.token_dim)


class TalkBlock(WanAttentionBlock):
    """Core's block with the audio attention where the sampler's hooks add it: between cross attention and FFN."""

    def __init__(self, config: InfiniteTalkConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        audio = AudioBlock(config, comfy.ops.disable_weight_init)  # it asks core's layers for their weights
        self.norm_x, self.audio_cross_attn = audio.norm_x, audio.audio_cross_attn

    def forward(
        self,
        x: Tensor,
        e: Tensor,
        freqs: Tensor,
        context: Tensor,
        context_img_len: int = 1,
        transformer_options: dict[str, Any] | None = None,
    ) -> Tensor:
        """As in core, for a context of one row of image and one of text.

        Args:
            x: `[B, T*S, C]`.
            e: `[B, 1, 6, C]` from the time step.
            freqs: rotary positions `[1, T*S, 1, d/2, 2, 2]`.
            context: `[B, 2, C]`.
            transformer_options: has the audio tokens `[B, T, N, D]` under AUDIO_TOKENS_KEY; with two speakers, their
                masks `[regions, S]` under MASKS_KEY.
        """
        options = transformer_options or {}
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.modulation + e[:, 0])[:, :, None].unbind(1)
        seen, coordinates = self._look_around(torch.addcmul(shift, self.norm1(x), 1 + scale), freqs, options)
        x = torch.addcmul(x, seen, gate)
        cross, (image, text) = self.cross_attn, context.split([context_img_len, 1], dim=1)
        x = x + cross.o(cross.v(text) + cross.v_img(image))
        x = self.audio_cross_attn(x, self.norm_x(x), options[AUDIO_TOKENS_KEY], 1.0, coordinates)
        return torch.addcmul(x, self.ffn(torch.addcmul(ffn_shift, self.norm2(x), 1 + ffn_scale)), ffn_gate)

    def _look_around(self, x: Tensor, freqs: Tensor, options: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Core's self attention, `[B, T*S, C]`, and each token's coordinate between two speakers, `[B, T*S]`."""
        layers = self.self_attn
        q = rotated(layers.norm_q(layers.q(x)), freqs, layers.num_heads)
        k = rotated(layers.norm_k(layers.k(x)), freqs, layers.num_heads)
        seen = layers.o(plain_attention(None, q, k, layers.v(x), layers.num_heads))
        if MASKS_KEY not in options:
            return seen, None
        with torch.no_grad():  # who is nearest has no gradient
            heads = (t.unflatten(-1, (layers.num_heads, -1)) for t in (q, k))
            maps = attention_maps(*heads, options[MASKS_KEY].expand(len(x), -1, -1))
            voice_per_slot = torch.arange(TRAINED_SPEAKERS).expand(*options[AUDIO_TOKENS_KEY].shape[:2], -1)
            return seen, token_coordinates(maps, voice_per_slot)


class TalkModel(WanModel):
    """Transformer and audio weights in one."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(
            model_type="i2v",
            in_dim=IN_CHANNELS,
            dim=sizes.dim,
            ffn_dim=sizes.ffn_dim,
            out_dim=OUT_CHANNELS,
            num_heads=sizes.dim // HEAD_DIM,
            num_layers=sizes.layers,
            wan_attn_block_class=partial(TalkBlock, sizes.infinitetalk),
            operations=nn,
        )
        self.sizes = sizes
        self.audio_proj = AudioProjection(sizes.infinitetalk, nn)
        _initialize(self)

    def velocity(
        self, x: Tensor, sigma: Tensor, condition: Tensor, audio: Tensor, masks: Tensor | None = None
    ) -> Tensor:
        """What the model predicts: noise minus clean latent.

        Args:
            x: noisy latents `[B, 16, T, H, W]` in the model's space, the motion latents in front.
            sigma: `[B]` in 0..1.
            condition: mask and keyframe, `[B, 20, T, H, W]` (see `condition`).
            audio: embeddings `[B, speakers, F, 5, layers, channels]`.
            masks: of two speakers, see `two_speakers`.

        Returns:
            `[B, 16, T, H, W]`.
        """
        options = {AUDIO_TOKENS_KEY: self.audio_tokens(audio), "optimized_attention_override": plain_attention}
        if masks is not None:
            options[MASKS_KEY] = masks
        text, image = x.new_zeros(len(x), 1, self.text_dim), x.new_zeros(len(x), 1, CLIP_WIDTH)
        latents = torch.cat([x, condition], dim=1)
        return self(latents, sigma * TRAIN_TIMESTEPS, text, clip_fea=image, transformer_options=options)

    def audio_tokens(self, audio: Tensor) -> Tensor:
        """Embeddings `[B, speakers, F, 5, layers, channels]` -> tokens `[B, T, speakers * N, D]`."""
        tokens = self.audio_proj(audio.flatten(0, 1))  # takes the batch for speakers, too: [T, B*speakers*N, D]
        return tokens.unflatten(1, (len(audio), -1)).transpose(0, 1)


def two_speakers(height: int, width: int) -> Tensor:
    """Masks of two speakers side by side in a latent of so many cells, as Speaker Masks makes them: `[regions, S]`."""
    size = (height * CELL, width * CELL)
    return token_masks(half_masks(*size), TRAINED_SPEAKERS, size, size)


@contextmanager
def core_in_training() -> Iterator[None]:
    """While this is open, core's functions have gradients: newer cores have fused kernels for them, which have none."""
    before = getattr(model_management, "in_training", False)
    model_management.in_training = True
    try:
        yield
    finally:
        model_management.in_training = before


def rotated(x: Tensor, freqs: Tensor, heads: int) -> Tensor:
    """Core's rotary positions (`apply_rope1`) on `[B, L, C]`: pairs of channels times 2x2 matrices, in float32."""
    pairs = x.to(freqs.dtype).unflatten(-1, (heads, -1, 1, 2))
    return (freqs[..., 0] * pairs[..., 0] + freqs[..., 1] * pairs[..., 1]).flatten(2).to(x.dtype)


def plain_attention(_: Callable[..., Tensor] | None, q: Tensor, k: Tensor, v: Tensor, heads: int, **__: Any) -> Tensor:
    """PyTorch's own attention in place of the one that core chooses for a CPU; `[B, L, C]` each."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def condition(keyframe: Tensor) -> Tensor:
    """What core's `WAN21.concat_cond` makes of a keyframe: 1 where the picture is given, then its latent.

    Args:
        keyframe: `[B, 16, T, H, W]` in the model's space.

    Returns:
        `[B, 20, T, H, W]`.
    """
    mask = torch.zeros_like(keyframe[:, :MASK_CHANNELS])
    mask[:, :, 0] = 1
    return torch.cat([mask, keyframe], dim=1)


def _initialize(model: TalkModel) -> None:
    """Give every weight a sensible value; core leaves some as they were in memory."""
    depth = 2 * len(model.blocks)  # sums on the residual path
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(model.patch_embedding.weight.flatten(1), gain=2)
    nn.init.zeros_(model.patch_embedding.bias)
    for block in model.blocks:
        nn.init.normal_(block.modulation, std=0.02)
        with torch.no_grad():
            block.modulation[:, [2, 5]] += FIRST_GATE
            for layer in (block.self_attn.o, block.ffn[2]):
                layer.weight /= math.sqrt(depth)
        nn.init.normal_(block.audio_cross_attn.proj.weight, std=AUDIO_OUTPUT_SPREAD)
        nn.init.ones_(block.norm_x.weight)
        nn.init.zeros_(block.norm_x.bias)
    nn.init.normal_(model.head.modulation, std=0.02)
    nn.init.zeros_(model.head.head.weight)
    # A prompt or a CLIP picture, which the training does not know, shall change nothing.
    for layer in (model.text_embedding[0], model.img_emb.proj[1]):
        nn.init.zeros_(layer.weight)
    for part in (model.text_embedding, model.img_emb):
        part.requires_grad_(False)
    for block in model.blocks:  # without effect on a context whose rows are all the same
        for name in ("q", "k", "k_img", "norm_q", "norm_k", "norm_k_img"):
            getattr(block.cross_attn, name).requires_grad_(False)
        block.norm3.requires_grad_(False)


def save_talk_model(model: TalkModel, folder: Path) -> list[Path]:
    """Write the base model and InfiniteTalk's weights, float16, into a models folder."""
    weights = dict(sorted(model.state_dict().items()))
    ours = {name: value for name, value in weights.items() if any(part in name for part in OURS)}
    base = {name: value for name, value in weights.items() if name not in ours}
    for name, part in ((BASE_I2V, base), (INFINITETALK, ours)):
        write_half(part, folder / name)
    return [folder / BASE_I2V, folder / INFINITETALK]


def load_talk_model(folder: Path, sizes: Sizes) -> TalkModel:
    """Read what `save_talk_model` wrote; float32."""
    model = TalkModel(sizes)
    model.load_state_dict({**load_file(folder / BASE_I2V), **load_file(folder / INFINITETALK)})
    return model


def save_wav2vec(sizes: Sizes, folder: Path) -> Path:
    """Write the wav2vec 2.0 of the demo, which is never trained, into a models folder."""
    file = folder / WAV2VEC
    write_half({name: torch.from_numpy(value) for name, value in _wav2vec(sizes.audio).items()}, file)
    return file


def _wav2vec(sizes: tiny_models.TinyWav2Vec) -> tiny_models.Weights:
    """Random weights, spread as in the initialization of `transformers`' `Wav2Vec2PreTrainedModel`, but for two things.

    With a bias in the first norm the later layers keep how loud it is, and the linear layers do a little more.
    """
    random = np.random.RandomState(WAV2VEC_SEED)  # its numbers are frozen for ever
    weights = {}
    for name, value in tiny_models.wav2vec(sizes, WAV2VEC_SEED).items():
        mean, spread = _mean_and_spread(name, value)
        weights[name] = (mean + spread * random.standard_normal(value.shape)).astype("float16")
    position = "wav2vec2.encoder.pos_conv_embed.conv"
    direction = weights[f"{position}.weight_v"].astype("float32")
    weights[f"{position}.weight_g"] = np.linalg.norm(direction, axis=(0, 1), keepdims=True).astype("float16")
    return weights


def _mean_and_spread(name: str, value: np.ndarray) -> tuple[float, float]:
    if name.endswith("norm.weight"):
        return 1.0, 0.0
    if name.endswith("conv_layers.0.layer_norm.bias"):
        return FIRST_NORM_BIAS, 0.0
    if value.ndim == 1:
        return 0.0, 0.0
    if value.ndim == 2:
        return 0.0, WAV2VEC_SPREAD
    if name.endswith("weight_v"):
        return 0.0, 2 * (len(value) * value.shape[2]) ** -0.5
    return 0.0, (2 / value[0].size) ** 0.5


def write_half(weights: dict[str, Tensor], file: Path) -> None:
    """Write one safetensors file, float16; it appears under its name only when complete."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial_file = file.with_name(file.name + ".partial")
    half = {name: value.half().contiguous() for name, value in weights.items()}
    save_file(half, partial_file, metadata={"format": "pt"})
    partial_file.replace(file)
