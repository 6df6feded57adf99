"""How InfiniteTalk gets into core's Wan model, and leaves no trace in it.

Everything is attached to a clone of the user's model through core's own model patcher:

* audio tokens, faces and the slots' voices travel in the conditionings, so that core takes them to the device;
* a wrapper around the diffusion model collects them in a `ModelCall`, which the blocks find in `transformer_options`;
* the `attn2_patch` of each block adds the audio cross attention, after text and image and before the FFN;
* with two speakers, the `attn1_patch` reads from the self attention which token belongs to whom.

None of the four is ever compiled into a graph: what they read changes between windows, passes and jobs, and compilers
are told to drop their guards on `transformer_options`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import comfy.conds
import torch
from comfy.model_management import is_device_cpu
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrapperExecutor, WrappersMP
from torch import Tensor, nn

from ...errors import UserError
from .compiled import is_compiled, uncompiled
from .legacy_core import blocks_call_patches, call_with_emulated_patches
from .modules import InfiniteTalk
from .speakers import attention_maps, token_coordinates

log = logging.getLogger(__name__)

AUDIO_TOKENS_KEY = "infinitetalk_audio_tokens"
VOICE_PER_SLOT_KEY = "infinitetalk_voice_per_slot"
FACES_KEY = "infinitetalk_faces"
ATTACHMENT_KEY = "infinitetalk"
CALL_KEY = "infinitetalk_call"


class UnbatchedCond(comfy.conds.CONDRegular):
    """A condition that core never puts into one model call with another one.

    Core batches passes when there is free memory, and a batch gives other bits than its parts one by one: a job that is
    resumed would not go on as it began. At these lengths a pass alone fills the GPU.
    """

    def can_concat(self, other: Any) -> bool:
        """Never."""
        return False


@dataclass
class BlocksHeard:
    """In how many blocks the audio was heard, for each model call that was made."""

    calls: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Attachment:
    """What does not change during a window; lies in `transformer_options` under `ATTACHMENT_KEY`."""

    weights: dict[nn.Module, InfiniteTalk]
    """InfiniteTalk's weights by the diffusion model beside which they stand: core's MultiGPU nodes copy both."""
    audio_scale: float
    report: BlocksHeard | None = None
    """Where to note the blocks that heard audio, if somebody wants to know."""


@dataclass
class ModelCall:
    """What the blocks need during one call of the model; lies in `transformer_options` under `CALL_KEY`."""

    weights: InfiniteTalk
    audio_scale: float
    audio_tokens: Tensor
    """`[B, T, N, D]`"""
    voice_per_slot: Tensor | None = None
    """The voice at each of the two trained slots in each latent frame, `[B, T, slots]`; None without a second
    speaker, also in the passes without audio."""
    faces: Tensor | None = None
    """Which tokens of the first latent frame are whose face: `[B, regions, S]` of 0 and 1, the background last."""
    token_coordinates: Tensor | None = None
    """`[B, T·S]`, found in the self attention of the block that is now computed, for its cross attention."""
    blocks_heard: int = 0


@torch.compiler.disable
def hear_audio(args: dict[str, Any]) -> Tensor:
    """`attn2_patch`: `x + audio_scale · audio_cross_attn(norm_x(x), audio)`; x is `[B, T·S, C]`.

    Raises:
        UserError: another node shows the model a part of the window, or hides who each token belongs to.
    """
    x, options = args["x"], args["transformer_options"]
    call: ModelCall = options[CALL_KEY]
    audio = call.audio_tokens.to(x.dtype)
    frames = options["grid_sizes"][0]
    if audio.shape[1] != frames:
        raise UserError(
            f"The model was given {frames} latent frames but audio for {audio.shape[1]}: remove the node that shows it "
            "a part of the time only, such as a prompt for an area of a video (temporal below 1) or context windows "
            "(the sampler has windows of its own)."
        )
    coordinates, call.token_coordinates = call.token_coordinates, None
    if call.voice_per_slot is not None and coordinates is None:
        raise UserError(
            "The self attention of the model did not say which token belongs to which speaker: remove the node before "
            "the sampler that replaces or compiles the attention of its blocks."
        )
    block = call.weights.blocks[options["block_index"]]
    call.blocks_heard += 1
    return block.audio_cross_attn(x, block.norm_x(x), audio, call.audio_scale, coordinates)


@torch.compiler.disable
def find_speakers(args: dict[str, Any]) -> Tensor:
    """`attn1_patch`: notes which speaker each token belongs to; leaves x. q and k are `[B, T·S, heads, d]`.

    Raises:
        UserError: another node shows the model a part of the picture.
    """
    call: ModelCall = args["transformer_options"][CALL_KEY]
    if call.voice_per_slot is not None and call.faces is not None:
        _, rows, columns = args["transformer_options"]["grid_sizes"]
        if rows * columns != call.faces.shape[2]:
            raise UserError(
                f"The model was given {rows} × {columns} tokens, a part of the picture, and with two speakers it "
                "must see all of it: remove the node before the sampler that works in areas or tiles."
            )
        call.token_coordinates = token_coordinates(
            attention_maps(args["q"], args["k"], call.faces), call.voice_per_slot.long()
        )
    return args["x"]


@torch.compiler.disable(recursive=False)
def hand_audio_to_blocks(
    executor: WrapperExecutor,
    x: Tensor,
    timestep: Tensor,
    context: Tensor,
    clip_fea: Tensor | None,
    time_dim_concat: Tensor | None,
    transformer_options: dict[str, Any],
    **kwargs: Any,
) -> Tensor:
    """Wrapper around the diffusion model: moves what is ours from its keywords to `transformer_options`.

    It alone is left out of compiled graphs; the model below it may be compiled.

    Raises:
        UserError: another node calls the model without our conditions.
    """
    if AUDIO_TOKENS_KEY not in kwargs:
        raise UserError(
            "The audio did not reach the model: remove the node before the sampler that calls the model with "
            "conditions of its own (a cache or a wrapper of the model's function)."
        )
    attachment: Attachment = transformer_options[ATTACHMENT_KEY]
    tokens, voice_per_slot, faces = (kwargs.pop(key, None) for key in (AUDIO_TOKENS_KEY, VOICE_PER_SLOT_KEY, FACES_KEY))
    model: nn.Module = executor.class_obj
    call = ModelCall(attachment.weights[model], attachment.audio_scale, tokens, voice_per_slot, faces)
    options = {**transformer_options, CALL_KEY: call}
    arguments = (x, timestep, context, clip_fea, time_dim_concat, options)
    if blocks_call_patches(model):
        velocity = executor(*arguments, **kwargs)
    else:
        velocity = call_with_emulated_patches(executor, model, *arguments, **kwargs)
    if attachment.report is not None:
        attachment.report.calls.append(call.blocks_heard)
    return velocity


def attach(model: ModelPatcher, infinitetalk: ModelPatcher, audio_scale: float, *, two_speakers: bool) -> ModelPatcher:
    """A clone of `model` that listens to audio. `model` itself stays as it is.

    Args:
        model: core's Wan 2.1 I2V model (see `base_model.check_base_model`).
        infinitetalk: patcher around `InfiniteTalk`; core loads and offloads it together with the model.
        audio_scale: factor on the audio cross attention.
        two_speakers: whether the blocks have to find out who is where.
    """
    infinitetalk = _where(model, infinitetalk)
    patched = model.clone()
    patched.set_additional_models(ATTACHMENT_KEY, [infinitetalk])
    patched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, ATTACHMENT_KEY, hand_audio_to_blocks)
    patched.set_model_attn2_patch(hear_audio)
    # A compiled graph remembers whether there was an attn1_patch, and nobody checks that again: one made for one voice
    # would serve two. Without a compiler one voice does without, since the patch keeps queries and keys in memory.
    compiled = is_compiled(model)
    if two_speakers or compiled:
        patched.set_model_attn1_patch(find_speakers)
    if compiled and not blocks_call_patches(uncompiled(model.model.diffusion_model)):
        log.info("torch.compile has no effect on InfiniteTalk's sampling in this ComfyUI: 0.11 and newer can do both.")
    attachment = Attachment(weights_by_model(patched, {}), audio_scale)
    patched.model_options["transformer_options"][ATTACHMENT_KEY] = attachment
    return patched


def _where(model: ModelPatcher, infinitetalk: ModelPatcher) -> ModelPatcher:
    """InfiniteTalk's weights on the devices of the model that they belong to, wherever a node has put that."""
    if infinitetalk.load_device == model.load_device:
        return infinitetalk
    if is_device_cpu(model.load_device) and getattr(infinitetalk, "is_dynamic", bool)():
        # As core's own node puts a model there: what pages weights for a GPU fails on the CPU.
        plain = infinitetalk.clone(disable_dynamic=True)
        plain.load_device = plain.offload_device = model.load_device
        return plain
    if hasattr(infinitetalk, "deepclone_multigpu"):  # a copy: the other device may still hold the weights
        return infinitetalk.deepclone_multigpu(new_load_device=model.load_device)
    moved = infinitetalk.clone()
    moved.load_device = model.load_device
    return moved


def weights_by_model(patched: ModelPatcher, model_options: dict[str, Any]) -> dict[nn.Module, InfiniteTalk]:
    """InfiniteTalk's weights for each copy of the diffusion model among which core's MultiGPU nodes share the passes.

    Args:
        patched: from `attach`.
        model_options: those of a sampling step; core puts its copies for other devices there.
    """
    copies = model_options.get("multigpu_clones", {"alone": patched}).values()
    return {
        uncompiled(copy.model.diffusion_model): copy.get_additional_models_with_key(ATTACHMENT_KEY)[0].model
        for copy in copies
    }
