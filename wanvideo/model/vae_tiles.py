"""When the VAE has too little memory for a window: tiles, once, and not in silence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..finite import VAE_OVERFLOWS, refuse_not_finite

TILE, OVERLAP = 32, 8
"""Latent pixels; those of core's own fallback (256 and 64 pixels, `comfy/sd.py`, `VAE.decode`)."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch says of CUDA, MPS and other devices, and of the CPU on Linux and on Windows."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means too little memory, on any device."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in OUT_OF_MEMORY)


def with_tiles_if_needed(vae: Any, tell: Callable[[str], None]) -> Any:
    """A copy of core's VAE that decodes in tiles when the memory is not enough for a whole window, and says so.

    Core falls back to tiles by itself, but only for what it knows as CUDA's error, and tells nobody but the log. The
    pictures of tiles differ a little from those of a whole window. Tiles are tried once: if they do not fit either,
    the error is raised.

    Args:
        vae: core's VAE; it stays as it is.
        tell: is given a sentence for the user.
    """
    careful = copy.copy(vae)
    whole, tiled = careful.decode, careful.decode_tiled_3d  # the latter is what core's own fallback calls
    tried = False

    def in_tiles(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal tried
        tried = True
        tell("Too little memory to decode a whole window: it is decoded in tiles")
        return tiled(*args, **kwargs)

    def decode(latent: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        nonlocal tried
        tried = False
        try:
            return whole(latent, *args, **kwargs)
        except Exception as error:
            if tried or not is_out_of_memory(error):
                raise
        # Outside of the `except`, whose error holds on to everything that filled the memory.
        comfy.model_management.soft_empty_cache()
        return careful.decode_tiled(latent, tile_x=TILE, tile_y=TILE, overlap=OVERLAP)

    careful.decode_tiled_3d, careful.decode = in_tiles, decode
    if hasattr(careful, "process_output"):
        careful.process_output = partial(_finite_pixels, careful.process_output)
    return careful


def _finite_pixels(process_output: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """What core makes of a VAE's output; after it, an infinite pixel is as white as any."""
    refuse_not_finite(pixels, "The VAE gave", VAE_OVERFLOWS)
    return process_output(pixels)
