"""LoRAs that newer cores compute beside a layer (*Load LoRA (Bypass)*), as they are known before and after a run.

When such a model is first used, core puts each LoRA's weights in their place in the type of the layer that they stand
beside, and what the file had is gone (`BypassForwardHook.inject` in `comfy/weight_adapter/bypass.py`). The same types
are taken before it, so that a job is known again once its model has worked.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

TYPES = (torch.float32, torch.float16, torch.bfloat16)
"""Of a layer; beside one of another type core leaves the weights as they are."""


def is_bypass_manager(value: Any) -> bool:
    """Whether this is core's holder of such LoRAs, which older cores have not."""
    return value.__class__.__module__ == "comfy.weight_adapter.bypass" and hasattr(value, "adapters")


def as_used(manager: Any) -> dict[str, Any]:
    """What a holder has, its LoRAs as they are when the model works; the holder stays as it is.

    Args:
        manager: core's `BypassInjectionManager`.
    """
    hooks = [_hook_as_used(hook) for hook in manager.hooks]
    adapters = {id(hook.adapter): used.adapter for hook, used in zip(manager.hooks, hooks, strict=True)}
    return {
        **vars(manager),
        "adapters": {key: (adapters.get(id(one), one), strength) for key, (one, strength) in manager.adapters.items()},
        "hooks": hooks,
    }


def _hook_as_used(hook: Any) -> Any:
    used = copy.copy(hook)
    used.original_forward = None  # is there while the model works
    dtype = getattr(hook.module.weight, "dtype", None)
    weights = getattr(hook.adapter, "weights", None)
    if dtype in TYPES and isinstance(weights, list | tuple) and not isinstance(hook.adapter, nn.Module):
        used.adapter = copy.copy(hook.adapter)
        used.adapter.weights = type(weights)(one.to(dtype) if isinstance(one, Tensor) else one for one in weights)
    return used
