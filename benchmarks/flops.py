"""Floating-point operations of one Wan 2.1 14B block with our hooks: shapes go through it, no numbers."""

from __future__ import annotations

import comfy.ops
import comfy.supported_models
import torch
from infinitetalk.wanvideo.model.modules import InfiniteTalk, InfiniteTalkConfig
from one_block import block_call
from torch.utils.flop_counter import FlopCounterMode

GRIDS = {"480p": (30, 52), "720p": (45, 80)}
"""Tokens of one latent frame: height and width of the video over 16."""
DIM, FFN_DIM = 5120, 13824


def block_flops(grid: tuple[int, int], voices: int) -> int:
    """Operations of one forward of a block.

    Args:
        grid: rows and columns of tokens.
        voices: 0 for the bare block.
    """
    meta = torch.empty(0, device="meta", dtype=torch.float16)
    unet = {"image_model": "wan2.1", "model_type": "i2v", "in_dim": 36, "out_dim": 16, "num_layers": 1}
    config = comfy.supported_models.WAN21_I2V({**unet, "dim": DIM, "ffn_dim": FFN_DIM, "num_heads": DIM // 128})
    config.unet_config["dtype"], config.custom_operations = meta.dtype, comfy.ops.disable_weight_init
    model = config.get_model({}, device=meta.device).diffusion_model
    sizes = InfiniteTalkConfig(DIM, 1, 12 * 768, hidden=512, tokens=32, token_dim=768)
    talk = InfiniteTalk(sizes, comfy.ops.manual_cast, device=meta.device, dtype=meta.dtype)
    call, around = block_call(model, talk, grid, voices, meta)
    with around, FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()
