"""Two speakers in one picture: whose voice a token listens to.

InfiniteTalk was trained on two slots. Every token of the video gets a coordinate on a line: 0 … 4 near the speaker of
the first slot, 20 … 24 near that of the second, 12 in the background; the audio tokens of the two slots stand at 2 and
22. A rotary embedding over these coordinates lets the audio cross attention tell the voices apart. Which token belongs
to whom is read from the video model's own self attention. Method and constants: MeiGen InfiniteTalk,
`SingleStreamMutiAttention` (class_range 24, class_interval 4).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

SLOT_RANGES = ((0.0, 4.0), (20.0, 24.0))
BACKGROUND_COORDINATE = 12.0
TRAINED_SPEAKERS = len(SLOT_RANGES)

ROPE_BASE = 10000.0
ROTATED_VALUES = 32 * 2**20
"""Numbers that are turned at a time: 128 MB of float32."""
MAP_CHUNK_BYTES = 256 * 2**20
"""Memory that one chunk of the attention map may take where no fused kernel keeps it out of memory."""
MAP_WIDTH = 16
"""Channels of the map's values: the regions and zeros. cuDNN takes any multiple of 8; 16 was the fastest on an H200."""


def rotate(x: Tensor, coordinates: Tensor, heads: int) -> Tensor:
    """Rotary embedding over one axis, channel pairs interleaved, computed in float32.

    The pairs are turned by core's own function, which is one kernel on newer cores (0.7 ms instead of 2.2 for a 480p
    window on an H200). Older cores' takes several times the memory of what it turns, so it gets a piece at a time.

    Args:
        x: `[B, L, heads · d]`.
        coordinates: `[B, L]` or `[L]`, any real numbers.

    Returns:
        `[B, L, heads · d]`.
    """
    from comfy.ldm.flux.math import apply_rope1  # here alone: the arithmetic around it needs no ComfyUI

    head_dim = x.shape[-1] // heads
    exponents = torch.arange(0, head_dim, 2, device=x.device, dtype=torch.float32) / head_dim
    angles = coordinates.float().reshape(-1, x.shape[1], 1, 1) / ROPE_BASE**exponents  # [B, L, 1, d/2]
    cos, sin = angles.cos(), angles.sin()
    turns = torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))  # [B, L, 1, d/2, 2, 2]
    pairs = x.unflatten(-1, (heads, head_dim))  # [B, L, heads, d]
    turned = torch.empty_like(pairs)
    step = max(1, ROTATED_VALUES * x.shape[1] // x.numel())
    for start in range(0, x.shape[1], step):
        rows = slice(start, start + step)
        turned[:, rows] = apply_rope1(pairs[:, rows], turns[:, rows])
    return turned.flatten(-2)


def key_coordinates(tokens: int, tokens_per_speaker: int, device: torch.device) -> Tensor:
    """Coordinates of one latent frame's audio tokens: the middle of each slot's range. `[tokens]`.

    Made by arithmetic on the device: a list of numbers would have to be copied there, and the CPU would wait for it.
    """
    first, second = (sum(ends) / 2 for ends in SLOT_RANGES)
    speaker = torch.arange(tokens, device=device) // tokens_per_speaker
    return first + (second - first) * speaker


def attention_maps(q: Tensor, k: Tensor, masks: Tensor) -> Tensor:
    """How much each token looks at each region of the first latent frame.

    Softmax of the self attention over the keys of the first latent frame, averaged over each mask and all heads. It is
    one attention call with the masks as values: the sum of a token's weights under a mask is the value it reads there.

    Args:
        q: `[B, T·S, heads, d]`, normed and with the video's rotary embedding.
        k: `[B, T·S, heads, d]`, likewise.
        masks: `[B, regions, S]` of 0 and 1: the voices' faces, then the background; an empty one is looked at by
            nobody.

    Returns:
        `[B, regions, T·S]` float32.
    """
    import comfy.ops  # here alone: the arithmetic around it needs no ComfyUI

    regions, tokens = masks.shape[-2:]
    masks = masks.to(q.dtype)
    reference = k[:, :tokens].transpose(1, 2)  # [B, heads, S, d]
    values = pad(masks.mT, (0, MAP_WIDTH - regions))[:, None].expand(-1, q.shape[2], -1, -1)  # [B, heads, S, 16]
    maps = []
    for part in q.split(_queries_at_once(q, tokens), dim=1):
        # Core's own choice of kernels, not the attention that the user chose: some of those work with 8 bits.
        looked = comfy.ops.scaled_dot_product_attention(part.transpose(1, 2), reference, values)
        maps.append(looked[..., :regions].float().mean(dim=1))  # [B, part, regions]
    return torch.cat(maps, dim=1).mT / masks.float().sum(dim=2, keepdim=True).clamp(min=1)


def _queries_at_once(q: Tensor, tokens: int) -> int:
    """Queries per attention call: all on CUDA and ROCm, whose kernels are fused; elsewhere what bounds the matrix."""
    if q.is_cuda:
        return q.shape[1]
    return max(1, MAP_CHUNK_BYTES // (4 * q.shape[0] * q.shape[2] * tokens))


def token_coordinates(maps: Tensor, voice_per_slot: Tensor) -> Tensor:
    """Coordinates of the video tokens on the speaker line.

    A token belongs to the region it looks at most. Within a slot's range it stands the higher, the more it looks at
    that region, from the least to the most of all tokens. Tokens of the background, and of a voice that has no slot at
    the time, stand in the middle.

    Args:
        maps: `[B, regions, T·S]`.
        voice_per_slot: the voice at each slot in each latent frame, `[B, T, slots]`.

    Returns:
        `[B, T·S]` float32.
    """
    least, most = maps.amin(dim=2, keepdim=True), maps.amax(dim=2, keepdim=True)
    owner = maps.argmax(dim=1, keepdim=True)  # [B, 1, T·S]
    looked = ((maps - least) / (most - least + 1e-8)).gather(1, owner)[:, 0]  # [B, T·S]
    tokens_per_frame = maps.shape[2] // voice_per_slot.shape[1]
    coordinates = torch.full_like(looked, BACKGROUND_COORDINATE)
    for (low, high), voice in zip(SLOT_RANGES, voice_per_slot.unbind(dim=2), strict=True):
        in_slot = owner[:, 0] == voice[..., None].expand(-1, -1, tokens_per_frame).flatten(1)
        coordinates = torch.where(in_slot, low + (high - low) * looked, coordinates)
    return coordinates
