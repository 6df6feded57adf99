"""Wan 2.1's VAE for training: the weights and results of core's, from a whole clip at once and in two dimensions.

Core goes through a clip in chunks of four frames and keeps what the causal convolutions saw before; that equals one
pass over all frames with zeros in front. Here frames are one batch of pictures, and a convolution over three frames
is one over three times the channels. Where a level has the frame rate of the video (the two finest ones), only
the last tap is trained and the others stay zero: a third of the work, and each frame is complete there anyway.

Method: https://github.com/Wan-Video/Wan2.1 (wan/modules/vae.py), as in ComfyUI's `comfy/ldm/wan/vae.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LATENT_CHANNELS = 16
LEVELS = (1, 2, 4, 4)  # width of each level over that of the finest one
FINE_LEVELS = 2  # these see single frames
CELL = 2 ** (len(LEVELS) - 1)
"""Pixels of a latent cell, each way."""
LOG_VARIANCE_AT_START = -6.0


class CausalConv(nn.Module):
    """A 3x3 convolution over this frame and, with `taps` = 3, the two before; `[B * frames, C, H, W]`."""

    def __init__(self, inputs: int, outputs: int, taps: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, taps, 3, 3))
        nn.init.normal_(self.weight[:, :, -1].data, std=gain * (inputs * 9) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        outputs, inputs, taps = self.weight.shape[:3]
        if taps == 1 or frames == 1:
            return F.conv2d(x, self.weight[:, :, -1], self.bias, padding=1)
        weight = self.weight.transpose(1, 2).reshape(outputs, taps * inputs, 3, 3)
        return F.conv2d(_with_past(x, frames), weight, self.bias, padding=1)


class TimeConv(nn.Module):
    """A convolution over three frames at one place; `forward` gets the frames already gathered."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 1, 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        with torch.no_grad():  # at first a frame stands for itself and, where frames double, for the next one too
            self.weight[:, :, -1, 0, 0] = torch.eye(inputs).repeat(outputs // inputs, 1)

    def forward(self, gathered: Tensor) -> Tensor:
        """`[N, 3 * inputs, H, W]` -> `[N, outputs, H, W]`."""
        weight = self.weight[..., 0, 0].transpose(1, 2).flatten(1)
        return F.conv2d(gathered, weight[..., None, None], self.bias)


class RMSNorm(nn.Module):
    """Each pixel's channels scaled to a mean square of 1. Core's `F.normalize` is the same and slower."""

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width, *[1] * dimensions))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-12)
        return x * scale * self.gamma.view(1, -1, 1, 1)


class Residual(nn.Module):
    """Two convolutions beside a shortcut; they begin almost without effect."""

    def __init__(self, inputs: int, outputs: int, taps: int) -> None:
        super().__init__()
        self.residual = nn.ModuleDict(
            {
                "0": RMSNorm(inputs, 3),
                "2": CausalConv(inputs, outputs, taps, gain=1.4),
                "3": RMSNorm(outputs, 3),
                "6": CausalConv(outputs, outputs, taps, gain=0.2),
            }
        )
        self.shortcut = nn.Conv3d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        part = self.residual
        y = part["2"](F.silu(part["0"](x)), frames)
        y = part["6"](F.silu(part["3"](y)), frames)
        return y + (x if self.shortcut is None else _pointwise(self.shortcut, x))


class Attention(nn.Module):
    """Every place of a frame attends to all others; one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width, 2)
        self.to_qkv = nn.Conv2d(width, 3 * width, 1)
        self.proj = nn.Conv2d(width, width, 1)
        nn.init.normal_(self.proj.weight, std=0.1 * width**-0.5)

    def forward(self, x: Tensor, frames: int) -> Tensor:
        del frames
        q, k, v = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2)[:, None].chunk(3, dim=-1)
        y = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
        return x + self.proj(y)


class Halve(nn.Module):
    """Half the pixels each way and, with `time`, half the frames but for the first one."""

    def __init__(self, width: int, time: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(width, width, 3, stride=2)})
        self.time_conv = TimeConv(width, width) if time else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        x = self.resample["1"](F.pad(x, (0, 1, 0, 1)))
        if self.time_conv is None or frames == 1:
            return x
        x = x.unflatten(0, (-1, frames))
        later = self.time_conv(torch.cat([x[:, :-2:2], x[:, 1:-1:2], x[:, 2::2]], dim=2).flatten(0, 1))
        return torch.cat([x[:, :1], later.unflatten(0, (len(x), -1))], dim=1).flatten(0, 1)


class Double(nn.Module):
    """Twice the pixels each way, half the channels and, with `time`, twice the frames but for the first one."""

    def __init__(self, width: int, time: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(width, width // 2, 3, padding=1)})
        self.time_conv = TimeConv(width, 2 * width) if time else None

    def forward(self, x: Tensor, frames: int) -> Tensor:
        if self.time_conv is not None and frames > 1:
            x = x.unflatten(0, (-1, frames))
            gathered = _with_past(x[:, 1:].flatten(0, 1), frames - 1)  # the first frame is not seen
            later = self.time_conv(gathered).unflatten(1, (2, -1)).flatten(0, 1)
            x = torch.cat([x[:, :1], later.unflatten(0, (len(x), -1))], dim=1).flatten(0, 1)
        return self.resample["1"](F.interpolate(x, scale_factor=2, mode="nearest-exact"))


class Coder(nn.Module):
    """Encoder or decoder: named parts as in the checkpoint, run one after the other."""

    def __init__(self, inputs: int, outputs: int, levels: list[tuple[int, int, int]], *, encodes: bool) -> None:
        super().__init__()
        coarse = levels[-1][1] if encodes else levels[0][0]
        self.conv1 = CausalConv(inputs, levels[0][0], 1 if encodes else 3)
        middle = [Residual(coarse, coarse, 3), Attention(coarse), Residual(coarse, coarse, 3)]
        self.middle = nn.ModuleList(middle)
        steps: list[nn.Module] = []
        for index, (width, out, taps) in enumerate(levels):
            blocks = [Residual(width if i == 0 else out, out, taps) for i in range(2 if encodes else 3)]
            steps += blocks
            if index < len(levels) - 1:
                steps.append(Halve(out, time=index > 0) if encodes else Double(out, time=index < 2))
        if encodes:
            self.downsamples = nn.ModuleList(steps)
            self.order = [self.downsamples, self.middle]
        else:
            self.upsamples = nn.ModuleList(steps)
            self.order = [self.middle, self.upsamples]
        width = levels[-1][1]
        self.head = nn.ModuleDict({"0": RMSNorm(width, 3), "2": CausalConv(width, outputs, 3 if encodes else 1)})

    def forward(self, x: Tensor, frames: int) -> Tensor:
        batch = len(x) // frames
        x = self.conv1(x, frames)
        for parts in self.order:
            for part in parts:
                x = part(x, len(x) // batch)
        return self.head["2"](F.silu(self.head["0"](x)), len(x) // batch)


class VAE(nn.Module):
    """Both halves.

    Args:
        width: channels of the finest level; 96 in the real model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * level for level in LEVELS]
        taps = [1 if index < FINE_LEVELS else 3 for index in range(len(LEVELS))]
        down = list(zip([width, *widths[:-1]], widths, taps, strict=True))
        # Every doubling halves the channels.
        up_inputs = [widths[-1], *(w // 2 for w in reversed(widths[1:]))]
        up = list(zip(up_inputs, reversed(widths), reversed(taps), strict=True))
        self.encoder = Coder(3, 2 * LATENT_CHANNELS, down, encodes=True)
        self.conv1 = nn.Conv3d(2 * LATENT_CHANNELS, 2 * LATENT_CHANNELS, 1)
        self.conv2 = nn.Conv3d(LATENT_CHANNELS, LATENT_CHANNELS, 1)
        self.decoder = Coder(LATENT_CHANNELS, 3, up, encodes=False)
        with torch.no_grad():
            for conv in (self.conv1, self.conv2):
                conv.weight[..., 0, 0, 0] = torch.eye(len(conv.weight))
                conv.bias.zero_()
            self.conv1.weight[LATENT_CHANNELS:] *= 0.1
            self.conv1.bias[LATENT_CHANNELS:] = LOG_VARIANCE_AT_START

    def encode(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Video `[B, F, 3, H, W]` in -1..1, F = 1 + 4k -> mean and log variance `[B, 1 + k, 16, H / 8, W / 8]`."""
        batch, frames = video.shape[:2]
        x = video.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        moments = _pointwise(self.conv1, self.encoder(x, frames))
        mean, log_variance = moments.unflatten(0, (batch, -1)).chunk(2, dim=2)
        return mean, log_variance

    def decode(self, latent: Tensor) -> Tensor:
        """Latent `[B, 1 + k, 16, h, w]` -> video `[B, 1 + 4k, 3, 8h, 8w]`."""
        batch, frames = latent.shape[:2]
        x = latent.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.decoder(_pointwise(self.conv2, x), frames).unflatten(0, (batch, -1))

    def checkpoint(self) -> dict[str, Tensor]:
        """The weights as core reads them: three taps everywhere, the untrained ones zero."""
        weights = {}
        for name, value in self.state_dict().items():
            single = value.ndim == 5 and value.shape[2:] == (1, 3, 3)
            weights[name] = F.pad(value, (0, 0, 0, 0, 2, 0)) if single else value.clone()
        return weights


def _with_past(x: Tensor, frames: int) -> Tensor:
    """Each frame behind the two before it: `[B * frames, C, H, W]` -> `[B * frames, 3 * C, H, W]`; zeros in front."""
    x = x.unflatten(0, (-1, frames))
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, 2, 0))
    return torch.cat([padded[:, :-2], padded[:, 1:-1], x], dim=2).flatten(0, 1)


def _pointwise(conv: nn.Conv3d, x: Tensor) -> Tensor:
    return F.conv2d(x, conv.weight[:, :, 0], conv.bias)
