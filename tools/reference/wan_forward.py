"""Wan 2.1 I2V with InfiniteTalk's audio attention: one forward with one voice, in float64.

Written from the formulas alone, with nothing of core or of the pack in it. Against the authors' own numbers
(`dit_single.safetensors` of the golden set) it differs by their float32 rounding only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]

HEAD_DIM = 128
TIME_WIDTH = 256
TEXT_ROWS = 512


class WanInFloat64:
    """The model; shapes are those of the authors: no batch, channels first."""

    def __init__(self, weights: Weights) -> None:
        """Take the weights of base and audio part, under the authors' names, in any dtype."""
        self.weights = {name: tensor.double() for name, tensor in weights.items()}
        self.dim = self.weights["head.modulation"].shape[-1]
        self.blocks = sum(name.endswith(".modulation") for name in weights) - 1

    def velocity(
        self, latent: Tensor, timestep: float, condition: Tensor, text: Tensor, clip: Tensor, audio: Tensor
    ) -> Tensor:
        """One forward.

        Args:
            latent: `[16, T, H, W]`.
            timestep: 0 … 1000.
            condition: `[20, T, H, W]`: four channels of the mask, then the picture's latents.
            text: `[L, 4096]`, L up to 512.
            clip: `[257, 1280]`.
            audio: `[F, 5, layers, channels]`, the embeddings that each frame hears.

        Returns:
            `[16, T, H, W]`: noise minus clean latent.
        """
        x = torch.cat([latent, condition])
        patches = F.conv3d(x[None], *self._pair("patch_embedding"), stride=(1, 2, 2))[0]  # [C, T, h, w]
        grid = patches.shape[1:]
        tokens = patches.flatten(1).T  # [S, C]
        time = self._time(timestep)
        gates = self._linear("time_projection.1", F.silu(time)).view(6, self.dim)
        text = F.pad(text.double(), (0, 0, 0, TEXT_ROWS - len(text)))
        text = self._linear("text_embedding.2", F.gelu(self._linear("text_embedding.0", text), approximate="tanh"))
        picture = self._picture(clip.double())
        heard = self._project_audio(audio.double())  # [T, tokens, D]
        angles = rotary_angles(*grid)
        for index in range(self.blocks):
            tokens = self._block(f"blocks.{index}", tokens, gates, angles, text, picture, heard)
        shift, scale = self.weights["head.modulation"][0] + time
        out = self._linear("head.head", F.layer_norm(tokens, (self.dim,), eps=1e-6) * (1 + scale) + shift)
        out = out.view(*grid, 2, 2, -1).permute(5, 0, 1, 3, 2, 4)  # [16, T, h, 2, w, 2]
        return out.reshape(latent.shape)

    def _block(
        self, name: str, x: Tensor, gates: Tensor, angles: Tensor, text: Tensor, picture: Tensor, heard: Tensor
    ) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = self.weights[f"{name}.modulation"][0] + gates
        normed = F.layer_norm(x, (self.dim,), eps=1e-6) * (1 + scale_1) + shift_1
        x = x + gate_1 * self._self_attention(f"{name}.self_attn", normed, angles)
        x = x + self._cross_attention(f"{name}.cross_attn", self._norm(f"{name}.norm3", x, 1e-6), text, picture)
        x = x + self._audio_attention(f"{name}.audio_cross_attn", self._norm(f"{name}.norm_x", x, 1e-6), heard)
        normed = F.layer_norm(x, (self.dim,), eps=1e-6) * (1 + scale_2) + shift_2
        hidden = F.gelu(self._linear(f"{name}.ffn.0", normed), approximate="tanh")
        return x + gate_2 * self._linear(f"{name}.ffn.2", hidden)

    def _self_attention(self, name: str, x: Tensor, angles: Tensor) -> Tensor:
        q, k = (rotated(heads(self._rms(f"{name}.norm_{p}", self._linear(f"{name}.{p}", x))), angles) for p in "qk")
        return self._linear(f"{name}.o", attention(q, k, heads(self._linear(f"{name}.v", x))))

    def _cross_attention(self, name: str, x: Tensor, text: Tensor, picture: Tensor) -> Tensor:
        q = heads(self._rms(f"{name}.norm_q", self._linear(f"{name}.q", x)))
        seen = torch.zeros_like(x)
        for suffix, rows in (("", text), ("_img", picture)):
            k = heads(self._rms(f"{name}.norm_k{suffix}", self._linear(f"{name}.k{suffix}", rows)))
            seen = seen + attention(q, k, heads(self._linear(f"{name}.v{suffix}", rows)))
        return self._linear(f"{name}.o", seen)

    def _audio_attention(self, name: str, x: Tensor, heard: Tensor) -> Tensor:
        """Each latent frame's tokens look at that frame's audio tokens."""
        queries = self._linear(f"{name}.q_linear", x).view(len(heard), -1, self.dim)
        keys, values = self._linear(f"{name}.kv_linear", heard).chunk(2, dim=-1)
        frames = [attention(*map(heads, frame)) for frame in zip(queries, keys, values, strict=True)]
        return self._linear(f"{name}.proj", torch.cat(frames))

    def _project_audio(self, audio: Tensor) -> Tensor:
        """`[F, 5, layers, channels]` -> `[T, tokens, D]`: of four frames 3 + 1 + 1 + 3 of their embeddings."""
        rows = [self._linear("audio_proj.proj1", audio[0].flatten())]
        for start in range(1, len(audio), 4):
            a, b, c, d = audio[start : start + 4]
            heard = torch.cat([a[:3], b[2:3], c[2:3], d[2:]])
            rows.append(self._linear("audio_proj.proj1_vf", heard.flatten()))
        hidden = torch.relu(self._linear("audio_proj.proj2", torch.relu(torch.stack(rows))))
        width = len(self.weights["audio_proj.norm.weight"])
        tokens = self._linear("audio_proj.proj3", hidden).view(len(rows), -1, width)
        return self._norm("audio_proj.norm", tokens, 1e-5)

    def _picture(self, clip: Tensor) -> Tensor:
        hidden = F.gelu(self._linear("img_emb.proj.1", self._norm("img_emb.proj.0", clip, 1e-5)))
        return self._norm("img_emb.proj.4", self._linear("img_emb.proj.3", hidden), 1e-5)

    def _time(self, timestep: float) -> Tensor:
        half = TIME_WIDTH // 2
        angles = timestep * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        wave = torch.cat([angles.cos(), angles.sin()])
        return self._linear("time_embedding.2", F.silu(self._linear("time_embedding.0", wave)))

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]

    def _linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, *self._pair(name))

    def _norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        weight, bias = self._pair(name)
        return F.layer_norm(x, weight.shape, weight, bias, eps)

    def _rms(self, name: str, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weights[f"{name}.weight"]


def heads(x: Tensor) -> Tensor:
    """`[S, C]` -> `[heads, S, 128]`."""
    return x.view(len(x), -1, HEAD_DIM).transpose(0, 1)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`[heads, S, 128]` each -> `[S, C]`."""
    shares = (q @ k.mT * HEAD_DIM**-0.5).softmax(-1)
    return (shares @ v).transpose(0, 1).flatten(1)


def rotary_angles(frames: int, height: int, width: int) -> Tensor:
    """Angle of each pair of channels of each token, `[S, 64]`: 22 pairs follow time, 21 the row, 21 the column."""
    parts = []
    for axis, (size, pairs) in enumerate(zip((frames, height, width), (22, 21, 21), strict=True)):
        speed = 10000.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
        angle = torch.arange(size, dtype=torch.float64)[:, None] * speed  # [size, pairs]
        shape = [1, 1, 1, pairs]
        shape[axis] = size
        parts.append(angle.view(shape).expand(frames, height, width, pairs))
    return torch.cat(parts, dim=-1).flatten(0, 2)


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Turn each pair of neighboring channels of `[heads, S, 128]` by its token's angle."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
