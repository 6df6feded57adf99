"""What may lie in a model file: tensors of numbers, and not what comes in their place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

LFS_POINTER = b"version https://git-lfs"
PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")
LONGEST_REASON = 160


def refuse_pages_and_pointers(path: Path) -> None:
    """Look at the first bytes of a model file, whatever its name ends in.

    Raises:
        UserError: it is a Git LFS pointer or a web page.
    """
    with path.open("rb") as file:
        head = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(LFS_POINTER):
        raise UserError(
            f"{path.name} is a Git LFS pointer, not the model itself: download the file with `git lfs pull` or from "
            "its web page."
        )
    if head.startswith(PAGES):
        raise UserError(
            f"{path.name} is a web page, not a model: download the file itself (Hugging Face has a button for it)."
        )


def reason_of(error: BaseException) -> str:
    """The first sentence of a library's error, which may be pages of advice to programmers."""
    lines = str(error).strip().splitlines()
    first = re.split(r"(?<=\w)[.:] ", lines[0], maxsplit=1)[0] if lines else ""
    return first.rstrip(".")[:LONGEST_REASON] or type(error).__name__


def own_tensors(content: Any, name: str) -> dict[str, Tensor]:
    """The tensors of a file that was read, by name; what else lies in it is left out.

    Args:
        content: what the file held.
        name: of the file.

    Raises:
        UserError: there are none, or one is not whole: a file of a few bytes can describe a tensor of any size.
    """
    from torch import Tensor, strided

    tensors = content if isinstance(content, Mapping) else {}
    tensors = {key: one for key, one in tensors.items() if isinstance(key, str) and isinstance(one, Tensor)}
    if not tensors:
        raise UserError(f"{name} holds a {type(content).__name__} without named tensors: choose a file of weights.")
    for key, tensor in tensors.items():
        whole = tensor.layout is strided and not tensor.is_meta
        if not whole or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.itemsize:
            raise UserError(f"{name} describes {key} without all of its numbers in the file: download it again.")
    return tensors


def count_numbered(keys: Iterable[str], before: str) -> int:
    """How many layers a model has by the highest number in its keys: `before` 0 …, `before` 1 … and so on."""
    numbers = (re.match(re.escape(before) + r"(\d{1,6})\.", key) for key in keys)
    return max((int(number.group(1)) + 1 for number in numbers if number), default=0)


def refuse_unusable(name: str, key: str, tensor: Tensor) -> None:
    """Refuse a tensor of a model's weights that nothing can be computed with.

    Raises:
        UserError: it is no float of a usual kind, or holds NaN or infinite numbers.
    """
    import torch

    if tensor.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        found = str(tensor.dtype).removeprefix("torch.")
        raise UserError(f"{name} holds {key} as {found}, and fp16, bf16 or fp32 is needed: take another file.")
    if not all_finite(tensor):
        raise UserError(
            f"{name} holds NaN or infinite numbers in {key}: the file is damaged or was converted to a type too "
            "small for it, so download it again, or take one in bf16 or fp32."
        )


def all_finite(tensor: Tensor) -> bool:
    """Whether there is no NaN and no infinity; one pass over the memory and, on a GPU, one wait for it."""
    import torch

    if not tensor.numel():
        return True
    if tensor.device.type in ("cpu", "cuda"):  # where both ends are known to be NaN if there is one; much faster
        tensor = torch.stack(tensor.aminmax())
    return bool(torch.isfinite(tensor).all())
