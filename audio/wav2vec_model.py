"""wav2vec 2.0's layers, with a time axis that the caller chooses.

The architecture is that of Baevski et al. 2020 (arXiv:2006.11477); parameters carry the names that checkpoints in
the Hugging Face layout use. InfiniteTalk resamples the convolutional features to the video's frame rate *before* the
transformer (`linear_interpolation` in the authors' `src/audio_analysis/wav2vec2.py`), so the two stages are separate
methods here, and both work on any stretch of a sound: that is what keeps long sounds in flat memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Wav2VecConfig:
    """Everything that decides the shape of a wav2vec 2.0 encoder."""

    channels: int  # width of the transformer
    layers: int
    heads: int
    feed_forward: int
    conv_channels: tuple[int, ...]
    conv_kernels: tuple[int, ...]  # samples for the first layer, features for the others
    conv_strides: tuple[int, ...]
    conv_bias: bool
    group_norm: bool  # True: one normalization over time after the first convolution; False: one per layer
    stable_layer_norm: bool  # True: normalize before attention and feed forward (the large models)
    position_kernel: int
    position_groups: int
    eps: float = 1e-5

    @property
    def hop_samples(self) -> int:
        """Samples from one convolutional feature to the next (320: 20 ms at 16 kHz)."""
        hop = 1
        for stride in self.conv_strides:
            hop *= stride
        return hop

    @property
    def field_samples(self) -> int:
        """Samples that one convolutional feature sees (400: 25 ms at 16 kHz)."""
        field, hop = 1, 1
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            field += (kernel - 1) * hop
            hop *= stride
        return field

    def feature_count(self, samples: int) -> int:
        """Convolutional features of a sound of `samples` samples (0 below `field_samples`)."""
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            samples = max(0, (samples - kernel) // stride + 1)
        return samples


@dataclass(frozen=True)
class ChannelStats:
    """Mean and biased variance over time of each channel, `[channels]` float64 on the CPU, of `count` values."""

    mean: Tensor
    variance: Tensor
    count: int

    def merge(self, other: ChannelStats) -> ChannelStats:
        """Statistics of both stretches together (Chan, Golub and LeVeque 1979)."""
        count = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / count)
        spread = self.variance * self.count + other.variance * other.count
        spread = spread + delta.square() * (self.count * other.count / count)
        return ChannelStats(mean, spread / count, count)


class ConvLayer(nn.Module):
    """One strided convolution over time with its normalization, if it has one, and GELU."""

    def __init__(self, config: Wav2VecConfig, index: int, ops: Any) -> None:
        super().__init__()
        width = config.conv_channels[index]
        before = config.conv_channels[index - 1] if index else 1
        self.conv = ops.Conv1d(
            before, width, config.conv_kernels[index], config.conv_strides[index], bias=config.conv_bias
        )
        self.layer_norm: Any = None  # a module of `ops`, where there is one
        if config.group_norm and index == 0:
            self.layer_norm = ops.GroupNorm(width, width)
        elif not config.group_norm:
            self.layer_norm = ops.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels before, T] -> [B, channels, T']."""
        x = self.conv(x)
        if self.layer_norm is not None:
            x = self.layer_norm(x.transpose(1, 2)).transpose(1, 2)
        return F.gelu(x)


class FeatureExtractor(nn.Module):
    """The convolutional front: waveform -> one feature every 20 ms."""

    def __init__(self, config: Wav2VecConfig, ops: Any) -> None:
        super().__init__()
        self.group_norm = config.group_norm
        self.conv_layers = nn.ModuleList(ConvLayer(config, i, ops) for i in range(len(config.conv_channels)))

    def stats(self, wave: Tensor) -> ChannelStats:
        """What the group norm behind the first convolution would measure on `wave`, `[T]`."""
        y = self._first.conv(wave[None, None])[0].float()  # [channels, T']
        variance, mean = torch.var_mean(y, dim=1, correction=0)
        return ChannelStats(mean.cpu().double(), variance.cpu().double(), y.shape[1])

    def forward(self, wave: Tensor, stats: ChannelStats | None) -> Tensor:
        """`wave` [T] -> features [T', conv channels]; `stats` are those of the whole sound that `wave` is part of."""
        x = wave[None, None]  # [1, 1, T]
        layers = list(self.conv_layers)
        if self.group_norm:
            assert stats is not None  # measured wherever there is a group norm
            x = F.gelu(self._normalize(x, stats))
            del layers[0]
        for layer in layers:
            x = layer(x)
        return x[0].transpose(0, 1)

    @property
    def _first(self) -> ConvLayer:
        first = self.conv_layers[0]
        assert isinstance(first, ConvLayer)
        return first

    def _normalize(self, x: Tensor, stats: ChannelStats) -> Tensor:
        """The first convolution and its group norm, as one scale and shift per channel: [1, 1, T] -> [1, C, T']."""
        y = self._first.conv(x)
        norm = self._first.layer_norm
        # In float32 and on y's device wherever the memory management left the parameters.
        weight, bias = (p.detach().to(y.device, torch.float32) for p in (norm.weight, norm.bias))
        scale = weight * torch.rsqrt(stats.variance.float() + norm.eps).to(y.device)
        shift = bias - stats.mean.float().to(y.device) * scale
        return torch.addcmul(shift[:, None], y.float(), scale[:, None]).to(y.dtype)


class FeatureProjection(nn.Module):
    """Convolutional features -> the transformer's width."""

    def __init__(self, config: Wav2VecConfig, ops: Any) -> None:
        super().__init__()
        self.layer_norm = ops.LayerNorm(config.conv_channels[-1], eps=config.eps)
        self.projection = ops.Linear(config.conv_channels[-1], config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, conv channels] -> [B, F, channels]."""
        return self.projection(self.layer_norm(x))


class PositionalConv(nn.Module):
    """Relative positions: a wide grouped convolution over time."""

    def __init__(self, config: Wav2VecConfig, ops: Any) -> None:
        super().__init__()
        kernel = config.position_kernel
        self.conv = ops.Conv1d(
            config.channels, config.channels, kernel, padding=kernel // 2, groups=config.position_groups
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, channels] -> the same shape."""
        frames = x.shape[1]
        # An even kernel gives one value too many at the end.
        y = self.conv(x.transpose(1, 2))[..., :frames]
        return F.gelu(y).transpose(1, 2)


class Attention(nn.Module):
    """Self-attention in parts, so that the keys may come from elsewhere than the queries."""

    def __init__(self, config: Wav2VecConfig, ops: Any) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj = ops.Linear(config.channels, config.channels)
        self.k_proj = ops.Linear(config.channels, config.channels)
        self.v_proj = ops.Linear(config.channels, config.channels)
        self.out_proj = ops.Linear(config.channels, config.channels)

    def queries(self, x: Tensor) -> Tensor:
        """[B, F, channels] -> [B, heads, F, channels per head]."""
        return self._by_head(self.q_proj(x))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, F, channels] -> keys and values, [B, heads, F, channels per head] each."""
        return self._by_head(self.k_proj(x)), self._by_head(self.v_proj(x))

    def join_heads(self, attended: Tensor) -> Tensor:
        """What each head took, [B, heads, F, channels per head] -> [B, F, channels]."""
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        """All frames over all frames: [B, F, channels] -> the same shape."""
        return self.join_heads(F.scaled_dot_product_attention(self.queries(x), *self.keys_values(x)))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, config: Wav2VecConfig, ops: Any) -> None:
        super().__init__()
        self.intermediate_dense = ops.Linear(config.channels, config.feed_forward)
        self.output_dense = ops.Linear(config.feed_forward, config.channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, channels] -> the same shape."""
        return self.output_dense(F.gelu(self.intermediate_dense(x)))


class EncoderLayer(nn.Module):
    """One transformer layer; normalization after (base) or before (stable, large) each half."""

    def __init__(self, config: Wav2VecConfig, ops: Any) -> None:
        super().__init__()
        self.stable = config.stable_layer_norm
        self.attention = Attention(config, ops)
        self.layer_norm = ops.LayerNorm(config.channels, eps=config.eps)
        self.feed_forward = FeedForward(config, ops)
        self.final_layer_norm = ops.LayerNorm(config.channels, eps=config.eps)

    def attention_input(self, x: Tensor) -> Tensor:
        """What the attention sees of x, [B, F, channels]."""
        return self.layer_norm(x) if self.stable else x

    def after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of the layer: its input and the attention's output, [B, F, channels] -> the same shape."""
        if self.stable:
            x = x + attended
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + attended)
        return self.final_layer_norm(x + self.feed_forward(x))

    def forward(self, x: Tensor) -> Tensor:
        """[B, F, channels] -> the same shape."""
        return self.after_attention(x, self.attention(self.attention_input(x)))


class Encoder(nn.Module):
    """The transformer."""

    def __init__(self, config: Wav2VecConfig, ops: Any) -> None:
        super().__init__()
        self.stable = config.stable_layer_norm
        self.pos_conv_embed = PositionalConv(config, ops)
        self.layer_norm = ops.LayerNorm(config.channels, eps=config.eps)
        self.layers = nn.ModuleList(EncoderLayer(config, ops) for _ in range(config.layers))

    def begin(self, x: Tensor) -> Tensor:
        """Projected features with their positions, [B, F, channels] -> the first layer's input, the same shape."""
        x = x + self.pos_conv_embed(x)
        return x if self.stable else self.layer_norm(x)

    def output(self, index: int, x: Tensor) -> Tensor:
        """What layer `index` contributes to the embedding, given its output x."""
        return self.layer_norm(x) if self.stable and index == len(self.layers) - 1 else x


class Wav2VecModel(nn.Module):
    """The parts of wav2vec 2.0; `ConvFeatures` and `LayerSweep` put a sound through them.

    `ops` names the layer classes: `torch.nn`, or one of `comfy.ops` so that core can load and cast the weights.
    """

    def __init__(self, config: Wav2VecConfig, ops: Any = nn) -> None:
        super().__init__()
        self.config = config
        self.feature_extractor = FeatureExtractor(config, ops)
        self.feature_projection = FeatureProjection(config, ops)
        self.encoder = Encoder(config, ops)
