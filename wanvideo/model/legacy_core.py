"""The block hooks of newer cores, for ComfyUI before 0.11.

From 0.11 on, core's Wan blocks call `attn2_patch` between text attention and FFN, give `attn1_patch` the self
attention's q and k, and set `block_index` and `grid_sizes`. Older blocks do none of it. Here PyTorch's own forward
hooks do the same for the length of one call, so that the rest of the pack is written against the newer core alone.

Such hooks are what compilers do not guard against: for this call nothing is compiled, and compiled blocks give way to
the modules inside of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from comfy.ldm.wan.model import WanAttentionBlock, WanModel, WanSelfAttention
from torch import Tensor, nn

from .compiled import uncompiled

OVERRIDE_KEY = "optimized_attention_override"
"""Core's name for a function in the options that is called in place of the attention kernel, which it is given."""


def blocks_call_patches(model: WanModel) -> bool:
    """Whether the blocks of this Wan model call `attn2_patch` themselves."""
    return "attn2_patch" in type(uncompiled(model.blocks[0])).forward.__code__.co_consts


def grid_of(model: WanModel, x: Tensor) -> tuple[int, ...]:
    """Tokens along time, height and width for a latent `[B, C, T, H, W]`."""
    return tuple(-(-size // patch) for size, patch in zip(x.shape[2:], model.patch_size, strict=True))


@torch.compiler.disable
def call_with_emulated_patches(executor: Callable[..., Tensor], model: WanModel, *args: Any, **kwargs: Any) -> Tensor:
    """`executor(*args, **kwargs)` as newer cores do it; the latent is the first of `args`, the options the last."""
    compiled = list(model.blocks)
    for index, block in enumerate(compiled):
        model.blocks[index] = uncompiled(block)
    try:
        with emulated_block_patches(model, args[0], args[-1]):
            return executor(*args, **kwargs)
    finally:
        for index, block in enumerate(compiled):
            model.blocks[index] = block


@contextmanager
def emulated_block_patches(model: WanModel, x: Tensor, options: dict[str, Any]) -> Iterator[None]:
    """While this is open, `attn1_patch` and `attn2_patch` in `options` are called as newer cores do.

    Args:
        model: core's `WanModel`.
        x: the latent that the model is about to be called with, `[B, C, T, H, W]`.
        options: the very dict that is passed to the model as `transformer_options`.
    """
    patches = options.get("patches", {})
    options["grid_sizes"] = grid_of(model, x)
    handles = []
    try:
        for index, block in enumerate(model.blocks):
            handles += _follow_block(block, index, options)
            if "attn2_patch" in patches:
                handles += _patch_after_cross_attention(block, patches["attn2_patch"], options)
            if "attn1_patch" in patches:
                handles += _show_self_attention(block.self_attn, patches["attn1_patch"], options)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _follow_block(block: nn.Module, index: int, options: dict[str, Any]) -> list[Any]:
    def enter(*_: Any) -> None:
        options["block_index"] = index

    return [block.register_forward_pre_hook(enter)]


def _patch_after_cross_attention(block: WanAttentionBlock, patches: list[Any], options: dict[str, Any]) -> list[Any]:
    """norm2 is the first to see the sum after the cross attention, which the block goes on with: it is changed in
    place, so that the numbers are to the bit those of a block that calls the patches itself.
    """

    def patch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        patched = inputs[0]  # [B, L, C]
        for patch in patches:
            patched = patch({"x": patched, "transformer_options": options})
        inputs[0].copy_(patched)

    return [block.norm2.register_forward_pre_hook(patch)]


def _show_self_attention(attention: WanSelfAttention, patches: list[Any], options: dict[str, Any]) -> list[Any]:
    """q and k are read on their way into the attention's kernel, where they have their rotary embedding; `o` gets the
    result. It is core's own way for those who bring another kernel: who did so before is still asked.
    """
    seen: dict[str, Tensor] = {}

    def watch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        given = kwargs.get("transformer_options", {})
        chosen = given.get(OVERRIDE_KEY)

        def see(kernel: Callable[..., Tensor], q: Tensor, k: Tensor, *rest: Any, **settings: Any) -> Tensor:
            seen.update(q=q, k=k)
            return kernel(q, k, *rest, **settings) if chosen is None else chosen(kernel, q, k, *rest, **settings)

        return args, {**kwargs, "transformer_options": {**given, OVERRIDE_KEY: see}}

    def patch(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        x = inputs[0]
        if seen:  # else somebody's forward has attention of its own
            q, k = (seen.pop(name).unflatten(-1, (attention.num_heads, -1)) for name in ("q", "k"))  # [B, L, heads, d]
            for patch in patches:
                x = patch({"x": x, "q": q, "k": k, "transformer_options": options})
        return (x,)

    return [
        attention.register_forward_pre_hook(watch, with_kwargs=True),
        attention.o.register_forward_pre_hook(patch),
    ]
