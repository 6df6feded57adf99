"""What InfiniteTalk adds to Wan 2.1 I2V: the audio projection and one audio cross attention per block.

Shapes are written as B batch, T latent frames, S tokens of one latent frame (H/2 · W/2 of the latent), C model
width, N audio tokens of one latent frame, D audio token width. Layer names are those of the weight files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.ops
import torch
from einops import rearrange
from torch import Tensor, nn

from ..windows import AUDIO_WINDOW, LATENT_STRIDE
from .origin import INFINITETALK
from .speakers import key_coordinates, rotate

HEAD_DIM = 128
"""Width of one attention head in every Wan 2.1 model (5120/40 in 14B, 1536/12 in 1.3B)."""

LATER_WINDOW = 8
"""Embeddings that a group of four frames gives: 3 of its first frame, 1 + 1 of the middle, 3 of its last."""


@dataclass(frozen=True)
class InfiniteTalkConfig:
    """Sizes of an InfiniteTalk weight file, all read from its tensors."""

    dim: int
    """Width C of the Wan model that the weights belong to."""
    blocks: int
    """Transformer blocks of that model."""
    embedding_size: int
    """Numbers per embedding frame: wav2vec layers × channels (12 × 768 for the real weights)."""
    hidden: int
    tokens: int
    """Audio tokens per latent frame and speaker."""
    token_dim: int


class AudioProjection(nn.Module):
    """Audio embeddings -> audio tokens (`audio_proj`)."""

    def __init__(self, config: InfiniteTalkConfig, operations: Any, **factory: Any) -> None:
        super().__init__()
        self.config = config
        self.proj1 = operations.Linear(AUDIO_WINDOW * config.embedding_size, config.hidden, **factory)
        self.proj1_vf = operations.Linear(LATER_WINDOW * config.embedding_size, config.hidden, **factory)
        self.proj2 = operations.Linear(config.hidden, config.hidden, **factory)
        self.proj3 = operations.Linear(config.hidden, config.tokens * config.token_dim, **factory)
        self.norm = operations.LayerNorm(config.token_dim, **factory)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Project the windows of all speakers and put their tokens side by side.

        Args:
            embeddings: `[speakers, F, 5, layers, channels]`, F = 1 mod 4.

        Returns:
            `[T, speakers · tokens, D]`, speaker 1's tokens first.
        """
        first, later = split_first_and_later(embeddings)
        hidden = torch.cat(
            [
                torch.relu(self.proj1(first.flatten(2))),
                torch.relu(self.proj1_vf(later.flatten(2))),
            ],
            dim=1,
        )  # [speakers, T, hidden]
        tokens = self.proj3(torch.relu(self.proj2(hidden)))
        tokens = self.norm(tokens.unflatten(-1, (self.config.tokens, self.config.token_dim)))
        return rearrange(tokens, "speakers t n d -> t (speakers n) d")


def split_first_and_later(embeddings: Tensor) -> tuple[Tensor, Tensor]:
    """Sort per-frame windows into those of the first latent frame and of the later ones.

    The first frame keeps its whole window. Of every later group of four frames a, b, c, d the slots are
    [a-2, a-1, a | b | c | d, d+1, d+2] (MeiGen InfiniteTalk, `WanModel.forward` in `multitalk_model.py`).

    Args:
        embeddings: `[speakers, F, 5, layers, channels]`.

    Returns:
        `[speakers, 1, 5, layers, channels]` and `[speakers, T - 1, 8, layers, channels]`.
    """
    center = AUDIO_WINDOW // 2
    groups = rearrange(embeddings[:, 1:], "s (t g) w l c -> s t g w l c", g=LATENT_STRIDE)
    later = torch.cat([groups[:, :, 0, : center + 1], groups[:, :, 1:-1, center], groups[:, :, -1, center:]], dim=2)
    return embeddings[:, :1], later


class AudioCrossAttention(nn.Module):
    """Each latent frame's tokens attend to that frame's audio tokens (`audio_cross_attn`)."""

    def __init__(self, config: InfiniteTalkConfig, operations: Any, **factory: Any) -> None:
        super().__init__()
        self.heads = config.dim // HEAD_DIM
        self.tokens_per_speaker = config.tokens
        self.q_linear = operations.Linear(config.dim, config.dim, **factory)
        self.kv_linear = operations.Linear(config.token_dim, 2 * config.dim, **factory)
        self.proj = operations.Linear(config.dim, config.dim, **factory)

    def forward(
        self, residual: Tensor, x: Tensor, audio: Tensor, scale: float, coordinates: Tensor | None = None
    ) -> Tensor:
        """`residual + scale · attention(x, audio)`.

        Args:
            residual: `[B, T·S, C]`; not changed.
            x: `[B, T·S, C]`, the residual already normed.
            audio: `[B, T, N, D]`.
            scale: factor on what is added.
            coordinates: `[B, T·S]`, where each token stands between the speakers (see `speakers`); None with
                one speaker.

        Returns:
            `[B, T·S, C]`.
        """
        batch, length = x.shape[:2]
        frames = rearrange(x, "b (t s) c -> (b t) s c", t=audio.shape[1])
        k, v = self.kv_linear(audio).flatten(0, 1).chunk(2, dim=-1)  # [B·T, N, C] each
        if coordinates is None:
            added_to = rearrange(residual, "b (t s) c -> (b t) s c", t=audio.shape[1])
            return self._attend_folded(added_to, frames, k, v, scale).view(batch, length, -1)
        q = rearrange(rotate(self.q_linear(x), coordinates, self.heads), "b (t s) c -> (b t) s c", t=audio.shape[1])
        k = rotate(k, key_coordinates(k.shape[1], self.tokens_per_speaker, k.device), self.heads)
        q, k, v = (rearrange(t, "f n (h d) -> f h n d", h=self.heads) for t in (q, k, v))
        # Not the attention that the user chose: with so few keys none is faster, and some work with 8 bits.
        heard = comfy.ops.scaled_dot_product_attention(q, k, v)
        heard = self.proj(rearrange(heard, "(b t) h s d -> b (t s) (h d)", b=batch))
        return torch.add(residual, heard, alpha=scale)

    def _attend_folded(self, residual: Tensor, x: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """The same without a query and an output for each token, where nothing stands between projection and keys.

        `(x W_q + b_q) · k` is `x · (k W_q) + k · b_q`, and the output of the weighted values is the weighted sum of
        the values' outputs. With N keys per frame and head in place of head_dim channels, that is N / head_dim of the
        work: a quarter with the published 32 tokens.

        Args:
            residual: `[F, S, C]`, F = B · T.
            x: `[F, S, C]`.
            k: `[F, N, C]`; v likewise.
            scale: factor on what is added.

        Returns:
            `[F, S, C]`.
        """
        count = len(k)
        k, v = (rearrange(t, "f n (h d) -> h (f n) d", h=self.heads) for t in (k * HEAD_DIM**-0.5, v))
        with borrowed_weights(self.q_linear, x) as (weight, bias):
            into_logits = torch.bmm(k, rearrange(weight, "(h d) c -> h d c", h=self.heads))  # [h, F·N, C]
            offsets = torch.bmm(k, rearrange(bias, "(h d) -> h d 1", h=self.heads))
        offsets, into_logits = (rearrange(t, "h (f n) c -> f (h n) c", f=count).mT for t in (offsets, into_logits))
        logits = torch.baddbmm(offsets, x, into_logits)  # [F, S, h·N]
        shares = logits.unflatten(-1, (self.heads, -1)).softmax(dim=-1).flatten(-2)
        with borrowed_weights(self.proj, x) as (weight, bias):
            outputs = torch.bmm(v, rearrange(weight, "c (h d) -> h d c", h=self.heads))  # [h, F·N, C]
            outputs[0] += bias  # the shares of one head add up to 1
        return torch.baddbmm(residual, shares, rearrange(outputs, "h (f n) c -> f (h n) c", f=count), alpha=scale)


class AudioBlock(nn.Module):
    """InfiniteTalk's part of one transformer block."""

    def __init__(self, config: InfiniteTalkConfig, operations: Any, **factory: Any) -> None:
        super().__init__()
        self.norm_x = operations.LayerNorm(config.dim, eps=1e-6, elementwise_affine=True, **factory)
        self.audio_cross_attn = AudioCrossAttention(config, operations, **factory)


class InfiniteTalk(nn.Module):
    """All of InfiniteTalk's own weights, beside a Wan 2.1 I2V model that core owns."""

    origin = INFINITETALK
    """Whose weights these are."""

    def __init__(self, config: InfiniteTalkConfig, operations: Any, **factory: Any) -> None:
        super().__init__()
        self.config = config
        self.audio_proj = AudioProjection(config, operations, **factory)
        self.blocks = nn.ModuleList(AudioBlock(config, operations, **factory) for _ in range(config.blocks))


@contextmanager
def borrowed_weights(layer: nn.Module, like: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of one of core's layers, ready for use with `like`: on its device, in its dtype, with patches.

    Core pages and casts weights inside of a layer's own forward. Whoever multiplies with them differently has to ask
    and to give them back, so that core may reuse the memory.
    """
    weight, bias, stream = comfy.ops.cast_bias_weight(layer, like, offloadable=True)
    try:
        yield weight, bias
    finally:
        comfy.ops.uncast_bias_weight(layer, weight, bias, stream)
