"""One of core's Wan blocks with our hooks on it, as the sampler has them."""

from __future__ import annotations

import contextlib
import statistics
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from infinitetalk.wanvideo.masks import half_masks, token_masks
from infinitetalk.wanvideo.model.audio_patches import CALL_KEY, ModelCall, find_speakers, hear_audio
from infinitetalk.wanvideo.model.legacy_core import blocks_call_patches, emulated_block_patches

LATENT_FRAMES = 21
"""Of a window of 81 frames."""
TEXT_TOKENS, IMAGE_TOKENS = 512, 257
WARM_UP_ROUNDS = 3
"""In which kernels are chosen and the allocator finds its blocks."""


@dataclass(frozen=True)
class BlockFigures:
    """What one forward costs."""

    seconds: float
    gib: float
    """Peak beyond what was allocated before."""
    waits: str | None
    """Where the CPU waits for the GPU, in torch's words; None if nowhere, or without a GPU."""


def block_call(block_of: Any, talk: Any, grid: tuple[int, int], voices: int, like: torch.Tensor) -> tuple[Any, Any]:
    """A forward of block 0, to be called again and again, and the context in which it has to be called.

    Args:
        block_of: core's `WanModel`.
        talk: `InfiniteTalk`.
        grid: rows and columns of tokens.
        voices: 0 for the bare block.
        like: any tensor with the device and dtype to work with.
    """
    rows, columns = grid
    empty = {"device": like.device, "dtype": like.dtype}
    x = torch.randn(1, LATENT_FRAMES * rows * columns, block_of.dim, **empty)
    modulation = torch.randn(1, 6, block_of.dim, **empty) * 0.1
    context = torch.randn(1, TEXT_TOKENS + IMAGE_TOKENS, block_of.dim, **empty)
    freqs = block_of.rope_encode(LATENT_FRAMES, 2 * rows, 2 * columns, **empty)
    options: dict[str, Any] = {"grid_sizes": (LATENT_FRAMES, rows, columns), "block_index": 0, "patches": {}}
    if voices:
        tokens = torch.randn(1, LATENT_FRAMES, talk.config.tokens * voices, talk.config.token_dim, **empty)
        call = ModelCall(talk, 1.0, tokens)
        options |= {CALL_KEY: call, "patches": {"attn2_patch": [hear_audio]}}
        if voices > 1:
            size = (16 * rows, 16 * columns)
            call.faces = token_masks(half_masks(*size), 2, size, size)[None].to(like)
            call.voice_per_slot = torch.arange(2, device=like.device).expand(1, LATENT_FRAMES, 2)
            options["patches"]["attn1_patch"] = [find_speakers]
    around: Any = contextlib.nullcontext()
    if not blocks_call_patches(block_of):
        first = SimpleNamespace(blocks=block_of.blocks[:1], patch_size=(1, 2, 2))
        latent = torch.empty(1, 16, LATENT_FRAMES, 2 * rows, 2 * columns, device="meta")
        around = emulated_block_patches(first, latent, options)

    def call_block() -> torch.Tensor:
        return block_of.blocks[0](
            x, e=modulation, freqs=freqs, context=context, context_img_len=IMAGE_TOKENS, transformer_options=options
        )

    return call_block, around


def measure(models: Any, grid: tuple[int, int], voices: int, rounds: int) -> BlockFigures:
    """Time, memory and waiting of a block; `voices` 0 is the bare one.

    Args:
        models: `full_size.Models`.
        grid: rows and columns of tokens.
        voices: 0, 1 or 2.
        rounds: forwards that are timed.
    """
    from full_size import compute_dtype, device, peak_gib, reset_peak, synchronize

    like = torch.empty(0, device=device(), dtype=compute_dtype())
    call, around = block_call(models.base.model.diffusion_model, models.infinitetalk.model, grid, voices, like)
    with around:
        for _ in range(WARM_UP_ROUNDS):
            call()
        synchronize()
        reset_peak()
        before = torch.cuda.memory_allocated() / 2**30 if like.is_cuda else 0.0
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            result = call()
            synchronize()
            seconds.append(time.perf_counter() - start)
        waits = _where_it_waits(call) if like.is_cuda else None
    if not result.isfinite().all():
        raise ArithmeticError("the block gave numbers that are not finite")
    return BlockFigures(statistics.median(seconds), peak_gib() - before, waits)


def _where_it_waits(call: Any) -> str | None:
    torch.cuda.set_sync_debug_mode("error")
    try:
        call()
    except RuntimeError as error:
        return str(error)[:120]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return None
