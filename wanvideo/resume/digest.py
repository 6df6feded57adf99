"""SHA-256 over values of any kind: the same in every process, and the same before and after a model has run.

No memory addresses, no order of sets, no hashes of Python's own. What changes when a model is used does not count:
where its weights lie, LoRAs that core has worked into them, counters that a patch keeps in its closure, where hooks of
a conditioning stand.
"""

from __future__ import annotations

import dataclasses
import dis
import functools
import hashlib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from comfy.hooks import Hook, HookKeyframe, HookKeyframeGroup
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import ModelSamplingDiscreteFlow
from torch import Tensor, nn

from ..model.compiled import uncompiled
from ..model.noise_levels import flow_sigmas, tables_are_mixed_up
from . import bypass_lora

WHOLE_BYTES = 64 * 2**10
"""Weights up to this size are read whole."""
PIECES, PIECE_BYTES = 4, 16 * 2**10
"""What is read of larger weights: pieces spread evenly over the tensor, its first and last bytes among them."""
MAX_DEPTH = 16
"""Nesting that is followed; deeper values are those of other packs' objects, far from what they were given."""

OWN_PACKAGE = __name__.removesuffix(".wanvideo.resume.digest")
PLAIN = (str, int, float, complex, bool, bytes, Enum, PurePath, torch.dtype, torch.Size, type(None), type(Ellipsis))
PATCHER_PARTS = (
    "patches",
    "object_patches",
    "weight_wrapper_patches",
    "model_options",
    "wrappers",
    "callbacks",
    "injections",
    "attachments",
    "hook_patches",
    "forced_hooks",
    "additional_models",
)
"""What core and other packs put on a model beside its weights."""
WHERE_HOOKS_STAND = {
    *("start_t", "curr_t", "_curr_t", "_skip_adding"),
    *("_current_keyframe", "_current_used_steps", "_current_index", "_current_strength"),
}
"""Attributes in which core's hooks of conditionings note how far a run has come, and which nobody resets
(`comfy/hooks.py`)."""
HARDWARE_KEYS = ("multigpu", "multigpu_options")
"""Where core's MultiGPU nodes keep the copies for other devices: one and two GPUs make the same video."""


class Digester:
    """Digests of values that may refer to each other. Not for values that change meanwhile."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, bytes]] = {}  # by id; the value is held, so that its id stays its own
        self._open: set[int] = set()
        self._accounted: dict[int, Any] = {}  # modules and tensors of the models met so far, by id
        self._in_models = 0

    def digest(self, value: Any, depth: int = MAX_DEPTH) -> bytes:
        """The digest of a value and of all that it holds."""
        if isinstance(value, PLAIN):
            return _sha(type(value).__name__, repr(value.value) if isinstance(value, Enum) else repr(value))
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, np.ndarray | np.generic):
            return _sha("numpy", str(value.dtype), repr(value.shape), np.ascontiguousarray(value).tobytes())
        if id(value) in self._done:
            return self._done[id(value)][1]
        if id(value) in self._open or depth == 0:
            return _sha("…")
        self._open.add(id(value))
        try:
            found = _sha(_kind(value), *(self.digest(part, depth - 1) for part in self._parts(value, depth)))
        finally:
            self._open.discard(id(value))
        self._done[id(value)] = (value, found)
        return found

    def _parts(self, value: Any, depth: int) -> Iterable[Any]:
        """What a value consists of, in an order that does not depend on the process."""
        if isinstance(value, ModelPatcher):
            return [self._patcher(value, depth)]
        if isinstance(value, nn.Module):
            return self._module(value)
        if isinstance(value, Mapping):
            return sorted(self.digest(key, depth - 1) + self.digest(value[key], depth - 1) for key in value)
        if isinstance(value, set | frozenset):
            return sorted(self.digest(part, depth - 1) for part in value)
        if isinstance(value, Sequence):
            return value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return [getattr(value, field.name) for field in dataclasses.fields(value)]
        if bypass_lora.is_bypass_manager(value):
            return [bypass_lora.as_used(value)]
        if isinstance(value, Hook | HookKeyframe | HookKeyframeGroup):
            return [{name: part for name, part in vars(value).items() if name not in WHERE_HOOKS_STAND}]
        return _callable_parts(value) or [getattr(value, "__dict__", {})]

    def _patcher(self, patcher: ModelPatcher, depth: int) -> bytes:
        """Weights as they are without patches, and every patch of LoRAs and other nodes."""
        weights = self._own_weights(patcher)
        self._in_models += 1
        try:
            parts = [weights, *(_without_hardware(getattr(patcher, name, None)) for name in PATCHER_PARTS)]
            return _sha(*(self.digest(part, depth - 1) for part in parts))
        finally:
            self._in_models -= 1

    def _own_weights(self, patcher: ModelPatcher) -> dict[str, Tensor]:
        """The weights of a model by name, as its file has them; notes all of its modules and tensors as accounted for.

        While a model is loaded, core keeps what LoRAs and other patches have replaced in backups.
        """
        replaced: dict[str, Any] = patcher.object_patches_backup
        modules = {name: module for name, module in patcher.model.named_modules() if not _within(name, replaced)}
        for name, original in replaced.items():
            if isinstance(original, nn.Module):
                modules.update((f"{name}.{inner}".rstrip("."), module) for inner, module in original.named_modules())
        weights = {f"{name}.{key}": tensor for name, module in modules.items() for key, tensor in _tensors_of(module)}
        self._accounted.update((id(live), live) for live in (*modules.values(), *weights.values()))
        originals = {key: saved.weight for key, saved in patcher.backup.items()}
        originals |= getattr(patcher, "backup_buffers", {})
        originals |= {key: saved[0] for key, saved in patcher.hook_backup.items()}
        own = {id(module) for module in modules.values()}
        for key, original in originals.items():
            # What stands in a module's place has backups under the name of what was there before.
            if id(_owner(patcher.model, key)) in own:
                key = key.replace("._orig_mod", "")  # the name inside of a compiled module
                if key in weights:
                    weights[key] = original
        for name, module in modules.items():
            weights |= {f"{name}.{key}": tensor for key, tensor in _as_used(module)}
        return weights

    def _module(self, module: nn.Module) -> Iterator[Any]:
        """A module that is not itself a loaded model, such as a patch with weights or numbers of its own.

        Of a compiled one the module inside: torch keeps its memory address in the wrapping.
        """
        module = uncompiled(module)
        if id(module) in self._accounted:
            return
        yield {name: value for name, value in vars(module).items() if isinstance(value, PLAIN) and name != "training"}
        for name, inner in module.named_modules():
            if id(inner) not in self._accounted:
                tensors = {key: one for key, one in _tensors_of(inner) if id(one) not in self._accounted}
                yield {f"{name}.{key}": one for key, one in (tensors | dict(_as_used(inner))).items()}

    def _tensor(self, tensor: Tensor) -> bytes:
        """A tensor whole, or pieces of it if it is a model's and large."""
        stored, scales = _stored(tensor)
        head = (str(stored.dtype), repr(tuple(stored.shape)), self.digest(scales))
        if stored.is_meta:
            return _sha("tensor", *head)
        flat = stored.contiguous().reshape(-1).view(torch.uint8)
        if self._in_models and len(flat) > max(WHOLE_BYTES, PIECE_BYTES):
            steps = np.linspace(0, len(flat) - PIECE_BYTES, PIECES).astype(np.int64).tolist()
            flat = torch.cat([flat[start : start + PIECE_BYTES] for start in steps])
        return _sha("tensor", *head, flat.cpu().numpy().data)


def _sha(*parts: str | bytes | memoryview) -> bytes:
    """SHA-256 over the parts, each with its length, so that no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.digest()


def _kind(value: Any) -> str:
    if isinstance(value, ModelPatcher) and type(value).__module__ == ModelPatcher.__module__:
        value = ModelPatcher  # core's other kind pages the same weights, and makes the same video
    named = value if isinstance(value, type) or hasattr(value, "__code__") else type(value)
    return f"{_place(named.__module__)}.{named.__qualname__}"


def _place(module: str) -> str:
    """A module's name without the folder that it was loaded from.

    ComfyUI calls the modules of a custom node by the whole path of its folder, which differs between machines, and
    users name the folder of this pack as they like.
    """
    if module == OWN_PACKAGE or module.startswith(f"{OWN_PACKAGE}."):
        return f"infinitetalk{module.removeprefix(OWN_PACKAGE)}"
    return module.replace("\\", "/").rpartition("/")[2]


def _callable_parts(value: Any) -> list[Any]:
    """What functions, methods and types are made of; empty for everything else."""
    if isinstance(value, type | types.ModuleType):
        return [_place(value.__name__)]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.BuiltinFunctionType):
        return [value.__qualname__]
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.FunctionType):
        return [value.__code__, value.__defaults__, value.__kwdefaults__, _captured(value)]
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_consts, value.co_names]
    return []


def _captured(function: types.FunctionType) -> dict[str, Any]:
    """The variables that a function has captured, but for those that it sets itself: they change when it runs."""
    code = function.__code__
    own_state = {op.argval for op in dis.get_instructions(code) if op.opname in ("STORE_DEREF", "DELETE_DEREF")}
    captured = {}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if name not in own_state:
            try:
                captured[name] = cell.cell_contents
            except ValueError:  # never set
                captured[name] = None
    return captured


def _stored(tensor: Tensor) -> tuple[Tensor, Any]:
    """The stored numbers of a tensor, and what quantized kinds (core's, GGUF packs') keep beside them."""
    inner = getattr(tensor, "_qdata", None)
    if inner is not None:
        return _stored(inner)[0], getattr(tensor, "_params", None) or getattr(tensor, "_layout_params", None)
    shape, kind = getattr(tensor, "tensor_shape", None), getattr(tensor, "tensor_type", None)  # GGUF
    return Tensor.as_subclass(tensor, Tensor).detach(), None if kind is None else [tuple(shape or ()), str(kind)]


def _tensors_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and lasting buffers of a module itself, without those of the modules in it.

    Not `state_dict()`: GGUF packs answer that with empty tensors of the right size.
    """
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and name not in module._non_persistent_buffers_set:
            yield name, tensor


def _as_used(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Those tensors of a module itself that core changes for good when it loads a model whose weights it pages, as the
    model's work sees them (`ModelPatcherDynamic` in `comfy/model_patcher.py`).

    What a module with layers in it has of its own, such as the modulation of Wan's blocks, gets the model's type; all
    else stays in the file's. The table of noise levels may become that of another model sampling, which stood in the
    same place before; it follows from the shift.
    """
    for name, tensor in module._parameters.items():
        dtype = getattr(module, f"{name}_comfy_model_dtype", None)
        if dtype not in (None, getattr(tensor, "dtype", None)) and type(tensor) is nn.Parameter and _has_layers(module):
            yield name, tensor.to(dtype)
    if isinstance(module, ModelSamplingDiscreteFlow) and tables_are_mixed_up():
        yield "sigmas", flow_sigmas(module)


def _has_layers(module: nn.Module) -> bool:
    return any(next(inner.parameters(), None) is not None for inner in module.children())


def _owner(model: nn.Module, key: str) -> nn.Module | None:
    """The module that now has a tensor of that name."""
    try:
        return model.get_submodule(key.rpartition(".")[0])
    except AttributeError:
        return None


def _without_hardware(part: Any) -> Any:
    """A patcher's part without what only says how many devices share the work."""
    if isinstance(part, Mapping):
        return {key: value for key, value in part.items() if key not in HARDWARE_KEYS}
    return part


def _within(name: str, parents: Iterable[str]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)
