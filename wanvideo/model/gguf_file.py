"""Tensors out of a GGUF file, through the `gguf` package."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...errors import UserError

GGUF_MAGIC = b"GGUF"


def read_gguf(path: Path) -> dict[str, Tensor]:
    """All tensors of the file as fp16, dequantized one by one.

    GGUF stores the axes from the last to the first.

    Raises:
        UserError: the file is not GGUF, is cut off, or holds a type that the `gguf` package cannot read.
    """
    import gguf

    with path.open("rb") as file:
        magic = file.read(len(GGUF_MAGIC))
    if magic != GGUF_MAGIC:
        raise UserError(
            f"{path.name} ends in .gguf but is none (it begins with {magic!r}): download it again, or give a "
            ".safetensors file its own ending back."
        )
    state = {}
    try:
        for tensor in gguf.GGUFReader(path).tensors:
            shape = [int(size) for size in reversed(tensor.shape)]
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            state[tensor.name] = torch.from_numpy(values.copy()).reshape(shape).half()
    except (ValueError, NotImplementedError, IndexError, KeyError) as error:
        raise UserError(
            f"{path.name} cannot be read as GGUF ({error}): download it again, or use a Q8_0 file."
        ) from error
    return state
