"""How InfiniteTalk gets into core's Wan model, and leaves no trace in it.

Everything is attached to a clone of the user's model through core's own model patcher:

* the audio tokens travel in the conditionings (`AUDIO_KEY`, with two speakers `SEATS_KEY`), so that core batches and
  splits them with the rest;
* a wrapper around the diffusion model takes them out and hands them to the blocks through `transformer_options`;
* the `attn2_patch` of each block adds the audio cross attention, after text and image and before the FFN;
* with two speakers, the `attn1_patch` reads from the self attention which token belongs to whom.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...errors import UserError
from .legacy_core import blocks_call_patches, emulated_block_patches
from .modules import InfiniteTalk
from .speakers import attention_maps, token_positions

AUDIO_KEY = "audio_embeds"
SEATS_KEY = "infinitetalk_seats"
POSITIONS_KEY = "infinitetalk_positions"
WRAPPER_KEY = "infinitetalk"


@dataclass(frozen=True)
class AudioPatch:
    """`attn2_patch`: adds the audio cross attention to the tokens of a block."""

    weights: InfiniteTalk
    audio_scale: float

    def __call__(self, args: dict[str, Any]) -> Tensor:
        """`x = x + audio_scale · audio_cross_attn(norm_x(x), audio)`; x is `[B, T·S, C]`."""
        x, options = args["x"], args["transformer_options"]
        audio = options[AUDIO_KEY].to(x.dtype)  # [B, T, N, D]
        frames = options["grid_sizes"][0]
        if audio.shape[1] != frames:
            raise UserError(
                f"The model was given {frames} latent frames but audio for {audio.shape[1]}: remove the node before "
                "the sampler that cuts the video into context windows (the sampler has windows of its own)."
            )
        block = self.weights.blocks[options["block_index"]]
        positions = options.pop(POSITIONS_KEY, None)
        heard = block.audio_cross_attn(block.norm_x(x), audio, positions, options)
        return x + self.audio_scale * heard


@dataclass(frozen=True)
class SpeakerPatch:
    """`attn1_patch`: finds out which speaker each token belongs to, for the `AudioPatch` of the same block."""

    masks: Tensor
    """`[regions, S]` of 0 and 1: the voices' faces, then the background, one column per token of a latent frame."""

    def __call__(self, args: dict[str, Any]) -> Tensor:
        """Leaves x as it is; q and k are `[B, T·S, heads, d]`."""
        options = args["transformer_options"]
        seats = options.get(SEATS_KEY)  # [B, T, positions]; None in the passes without audio
        if seats is not None:
            _, rows, columns = options["grid_sizes"]
            if rows * columns != self.masks.shape[1]:
                raise UserError(
                    f"The model was given {rows} × {columns} tokens, a part of the picture, and with two speakers it "
                    "must see all of it: remove the node before the sampler that works in areas or tiles."
                )
            maps = attention_maps(args["q"], args["k"], self.masks.to(args["q"].device))
            options[POSITIONS_KEY] = token_positions(maps, seats.long())
        return args["x"]


def hand_audio_to_blocks(
    executor: Callable[..., Tensor],
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    clip_fea: Tensor | None,
    time_dim_concat: Tensor | None,
    transformer_options: dict[str, Any],
    **kwargs: Any,
) -> Tensor:
    """Wrapper around the diffusion model: moves what is ours from its keywords to `transformer_options`."""
    options = {**transformer_options, AUDIO_KEY: kwargs.pop(AUDIO_KEY), SEATS_KEY: kwargs.pop(SEATS_KEY, None)}
    model = executor.class_obj
    emulation: AbstractContextManager[None] = (
        nullcontext() if blocks_call_patches(model) else emulated_block_patches(model, x, options)
    )
    with emulation:
        return executor(x, timestep, context, clip_fea, time_dim_concat, options, **kwargs)


def attach(
    model: ModelPatcher, infinitetalk: ModelPatcher, audio_scale: float, masks: Tensor | None = None
) -> ModelPatcher:
    """A clone of `model` that listens to audio. `model` itself stays as it is.

    Args:
        model: core's Wan 2.1 I2V model (see `checkpoint.check_base_model`).
        infinitetalk: patcher around `InfiniteTalk`; core loads and offloads it together with the model.
        audio_scale: factor on the audio cross attention.
        masks: `[regions, S]` speaker masks per token (see `masks.token_masks`), None with one speaker.
    """
    weights: InfiniteTalk = infinitetalk.model
    patched = model.clone()
    patched.set_additional_models(WRAPPER_KEY, [infinitetalk])
    patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, WRAPPER_KEY, hand_audio_to_blocks)
    patched.set_model_attn2_patch(AudioPatch(weights, audio_scale))
    if masks is not None:
        patched.set_model_attn1_patch(SpeakerPatch(masks))
    return patched
