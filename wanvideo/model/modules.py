"""What InfiniteTalk adds to Wan 2.1 I2V: the audio projection and one audio cross attention per block.

Shapes are written as B batch, T latent frames, S tokens of one latent frame (H/2 · W/2 of the latent), C model
width, N audio tokens of one latent frame, D audio token width. Layer names are those of the weight files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from einops import rearrange
from torch import Tensor, nn

from ..windows import AUDIO_WINDOW, LATENT_STRIDE
from .speakers import rotate, speaker_key_positions

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
    centre = AUDIO_WINDOW // 2
    groups = rearrange(embeddings[:, 1:], "s (t g) w l c -> s t g w l c", g=LATENT_STRIDE)
    later = torch.cat([groups[:, :, 0, : centre + 1], groups[:, :, 1:-1, centre], groups[:, :, -1, centre:]], dim=2)
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
        self,
        x: Tensor,
        audio: Tensor,
        positions: Tensor | None = None,
        transformer_options: dict[str, Any] | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: `[B, T·S, C]`, already normed.
            audio: `[B, T, N, D]`.
            positions: `[B, T·S]`, where each token stands between the speakers (see `speakers`); None with
                one speaker.

        Returns:
            `[B, T·S, C]`.
        """
        batch, frames = audio.shape[:2]
        q = self.q_linear(x)  # [B, T·S, C]
        k, v = self.kv_linear(audio).chunk(2, dim=-1)  # [B, T, N, C] each
        if positions is not None:
            q = rotate(q, positions, self.heads)
            k = rotate(k, speaker_key_positions(audio.shape[2], self.tokens_per_speaker, k.device), self.heads)
        out = optimized_attention(
            rearrange(q, "b (t s) c -> (b t) s c", t=frames),
            k.flatten(0, 1),
            v.flatten(0, 1),
            heads=self.heads,
            transformer_options=transformer_options or {},
        )
        return self.proj(rearrange(out, "(b t) s c -> b (t s) c", b=batch))


class AudioBlock(nn.Module):
    """InfiniteTalk's part of one transformer block."""

    def __init__(self, config: InfiniteTalkConfig, operations: Any, **factory: Any) -> None:
        super().__init__()
        self.norm_x = operations.LayerNorm(config.dim, eps=1e-6, elementwise_affine=True, **factory)
        self.audio_cross_attn = AudioCrossAttention(config, operations, **factory)


class InfiniteTalk(nn.Module):
    """All of InfiniteTalk's own weights, beside a Wan 2.1 I2V model that core owns."""

    def __init__(self, config: InfiniteTalkConfig, operations: Any, **factory: Any) -> None:
        super().__init__()
        self.config = config
        self.audio_proj = AudioProjection(config, operations, **factory)
        self.blocks = nn.ModuleList(AudioBlock(config, operations, **factory) for _ in range(config.blocks))
