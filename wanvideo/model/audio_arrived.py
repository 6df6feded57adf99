"""Did the audio arrive? Other nodes may replace what the audio hooks hang on, and the video would just not talk."""

from __future__ import annotations

import types
from typing import Any

from comfy.model_patcher import ModelPatcher

from ...errors import UserError
from .audio_patches import BlocksHeard
from .compiled import is_compiled, uncompiled


def check_all_blocks_heard(report: BlocksHeard, patched: ModelPatcher, model_options: dict[str, Any]) -> None:
    """Refuse a step in which blocks did not hear the audio.

    Args:
        report: of all model calls of the step.
        patched: from `audio_patches.attach`.
        model_options: those of the step.

    Raises:
        UserError: a call reached fewer blocks than the model has, or no call was made at all.
    """
    blocks = len(uncompiled(patched.model.diffusion_model).blocks)
    if report.calls and min(report.calls) == blocks:
        return
    heard = min(report.calls, default=0)
    raise UserError(
        f"The audio reached {heard} of the model's {blocks} blocks: {_likely_cause(patched, model_options)}. "
        "From here on the video would not follow the speech. EasyCache works with InfiniteTalk."
    )


def _likely_cause(patched: ModelPatcher, model_options: dict[str, Any]) -> str:
    """What stands between the sampler and the blocks, and what to do about it."""
    model = uncompiled(patched.model.diffusion_model)
    replaced = [
        value
        for name in ("forward", "forward_orig", "_forward")
        if isinstance(value := vars(model).get(name), types.MethodType | types.FunctionType)
    ]
    wrapper = model_options.get("model_function_wrapper")
    for found in (*replaced, wrapper):
        if found is not None:
            named = getattr(found, "__qualname__", type(found).__qualname__)
            module = getattr(found, "__module__", None) or type(found).__module__
            return (
                f"a node before the sampler replaces how the model works ({named} of {module}, as TeaCache, MagCache "
                "and other caches do): remove that node"
            )
    if is_compiled(patched):
        return "a graph that torch.compile made for another job was used: remove the compile node, or restart ComfyUI"
    return "a node before the sampler skips blocks or replaces how they work (TeaCache, MagCache): remove that node"
