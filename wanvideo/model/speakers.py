"""Two speakers in one picture: whose voice a token listens to.

Every token of the video gets a position on a line: 0 … 4 near speaker 1, 20 … 24 near speaker 2, 12 in the
background; the audio tokens of the two speakers stand at 2 and 22. A rotary embedding over these positions lets the
audio cross attention tell the voices apart. Which token belongs to whom is read from the video model's own self
attention. Method and constants: MeiGen InfiniteTalk, `SingleStreamMutiAttention` (class_range 24, class_interval 4).
"""

from __future__ import annotations

import torch
from torch import Tensor

SPEAKER_RANGES = ((0.0, 4.0), (20.0, 24.0))
BACKGROUND_POSITION = 12.0
TRAINED_SPEAKERS = len(SPEAKER_RANGES)

ROPE_BASE = 10000.0
MAP_CHUNK_BYTES = 256 * 2**20
"""Memory that one chunk of the attention map may take."""


def rotate(x: Tensor, positions: Tensor, heads: int) -> Tensor:
    """Rotary embedding over one axis, channel pairs interleaved, computed in float32.

    Args:
        x: `[B, ..., L, heads · d]`.
        positions: `[B, L]` or `[L]`, any real numbers.
    """
    head_dim = x.shape[-1] // heads
    exponents = torch.arange(0, head_dim, 2, device=x.device, dtype=torch.float32) / head_dim
    angles = positions.float()[..., None] / ROPE_BASE**exponents  # [..., L, d/2]
    cos, sin = angles.cos()[..., None, :], angles.sin()[..., None, :]  # [..., L, 1, d/2]
    pairs = x.float().unflatten(-1, (heads, head_dim // 2, 2))
    even, odd = pairs.unbind(-1)  # [B, ..., L, heads, d/2]
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1)
    return turned.flatten(-3).to(x.dtype)


def speaker_key_positions(tokens: int, tokens_per_speaker: int, device: torch.device) -> Tensor:
    """Positions of one latent frame's audio tokens: the middle of each speaker's range. `[tokens]`."""
    centres = torch.tensor([sum(ends) / 2 for ends in SPEAKER_RANGES], device=device)
    return centres.repeat_interleave(tokens_per_speaker)[:tokens]


def attention_maps(q: Tensor, k: Tensor, masks: Tensor) -> Tensor:
    """How much each token looks at each region of the first latent frame.

    Softmax of the self attention over the keys of the first latent frame, averaged over each mask and all heads.

    Args:
        q: `[B, T·S, heads, d]`, normed and with the video's rotary embedding.
        k: `[B, T·S, heads, d]`, likewise.
        masks: `[regions, S]` of 0 and 1: the voices' faces, then the background; an empty one is looked at by nobody.

    Returns:
        `[B, regions, T·S]` float32.
    """
    batch, length, heads, head_dim = q.shape
    reference = k[:, : masks.shape[1]].float().permute(0, 2, 3, 1)  # [B, heads, d, S]
    share = masks.to(reference) / masks.to(reference).sum(dim=1, keepdim=True).clamp(min=1)
    chunk = max(1, MAP_CHUNK_BYTES // (4 * batch * heads * masks.shape[1]))
    maps = []
    for start in range(0, length, chunk):
        part = q[:, start : start + chunk].float().transpose(1, 2) * head_dim**-0.5
        attention = (part @ reference).softmax(dim=-1)  # [B, heads, chunk, S]
        maps.append((attention @ share.T).mean(dim=1))  # [B, chunk, regions]
    return torch.cat(maps, dim=1).transpose(1, 2)


def token_positions(maps: Tensor, seats: Tensor) -> Tensor:
    """Positions of the video tokens on the speaker line.

    A token belongs to the region it looks at most. Within a speaker's range it stands the higher, the more it looks at
    that region, from the least to the most of all tokens. Tokens of the background, and of a voice that has no position
    at the time, stand in the middle.

    Args:
        maps: `[B, regions, T·S]`.
        seats: the voice at each position in each latent frame, `[B, T, positions]`.

    Returns:
        `[B, T·S]` float32.
    """
    least, most = maps.amin(dim=2, keepdim=True), maps.amax(dim=2, keepdim=True)
    owner = maps.argmax(dim=1, keepdim=True)  # [B, 1, T·S]
    looked = ((maps - least) / (most - least + 1e-8)).gather(1, owner)[:, 0]  # [B, T·S]
    tokens_per_frame = maps.shape[2] // seats.shape[1]
    positions = torch.full_like(looked, BACKGROUND_POSITION)
    for (low, high), voice in zip(SPEAKER_RANGES, seats.unbind(dim=2), strict=True):
        seated = owner[:, 0] == voice.repeat_interleave(tokens_per_frame, dim=1)
        positions = torch.where(seated, low + (high - low) * looked, positions)
    return positions
