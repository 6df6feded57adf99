"""Models and blocks inside of torch.compile's wrapping."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import nn

CORE_COMPILE_KEY = "torch.compile"
"""Under which core's `set_torch_compile_wrapper` keeps its wrapper (`comfy_api/torch_helpers`)."""


def uncompiled(module: Any) -> Any:
    """The module itself, without torch.compile's `OptimizedModule` around it."""
    return getattr(module, "_orig_mod", module)


def is_compiled(model: ModelPatcher) -> bool:
    """Whether the model, or any part of it, is or will be compiled, as core's and other packs' nodes do it."""
    if any(CORE_COMPILE_KEY in wrappers for wrappers in model.wrappers.values()):
        return True
    patched: list[Any] = list(model.object_patches.values())
    return any(_is_wrapped(module) for module in (*patched, *model.model.modules()))


def _is_wrapped(module: Any) -> bool:
    return isinstance(module, nn.Module) and hasattr(module, "_orig_mod")
