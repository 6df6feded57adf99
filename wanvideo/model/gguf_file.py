"""Tensors out of a GGUF file, dequantized by the `gguf` package.

The header is read here, since the package's own reader believes the counts in it: an array that claims 2^40 entries in
a file of a few bytes would keep it busy for minutes. Layout: `docs/gguf.md` of ggml.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ...weight_files import reason_of

GGUF_MAGIC = b"GGUF"
VERSIONS = (2, 3)
BYTES_OF_TYPE = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a metadata value by the number of its type; strings and arrays have a length of their own."""
STRING, ARRAY, UINT32 = 8, 9, 4
MOST_ENTRIES = 2**20
"""Entries of metadata in all; the vocabularies of language models have a quarter of that."""
DEEPEST_ARRAY = 4
MOST_AXES = 5
"""Of the weight of a convolution over frames, which merged files have; ggml itself knows 4."""
USUAL_ALIGNMENT = 32


class GgufTensors(Mapping[str, Tensor]):
    """The tensors of a GGUF file as fp16, each dequantized when it is asked for.

    GGUF stores the axes from the last to the first.
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            UserError: the file is not GGUF, or is cut off.
        """
        with path.open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
        if magic != GGUF_MAGIC:
            raise UserError(
                f"{path.name} ends in .gguf but is none (it begins with {magic!r}): download it again, or give a "
                ".safetensors file its own ending back."
            )
        self._file_name = path.name
        self._content = np.memmap(path, np.uint8, "r")
        with self._readable():
            header = Header(self._content.data)
            self._entries = {entry.name: entry for entry in header.tensors()}
        self.title = header.title

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The axes of each tensor, from the first to the last."""
        return {name: entry.shape for name, entry in self._entries.items()}

    def __getitem__(self, name: str) -> Tensor:
        """`[*shape]` fp16.

        Raises:
            UserError: its type is one that the `gguf` package cannot read.
        """
        entry = self._entries[name]
        with self._readable():
            return _dequantized(self._content, entry)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (ValueError, NotImplementedError, IndexError, KeyError, struct.error) as error:
            raise UserError(
                f"{self._file_name} cannot be read as GGUF ({reason_of(error)}): download it again, or use a Q8_0 file."
            ) from error


@dataclass(frozen=True)
class Entry:
    """A tensor as the header describes it: its axes from the first to the last, and where its bytes are."""

    name: str
    shape: tuple[int, ...]
    kind: Any
    """`gguf.GGMLQuantizationType`."""
    start: int
    row_bytes: int


class Header:
    """Reads a GGUF header from its start; nothing in it is believed beyond the bytes that there are."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._place = len(GGUF_MAGIC)
        self._entries = 0
        self.title = ""
        """What the file calls itself; known when its tensors are."""

    def tensors(self) -> list[Entry]:
        """Where each tensor lies.

        Raises:
            ValueError, struct.error: the header is damaged, or tells of more than the file has.
        """
        version, tensors, fields = self._numbers("<IQQ")
        if version not in VERSIONS:
            raise ValueError(f"version {version} of the format is not known")
        alignment = USUAL_ALIGNMENT
        for _ in range(self._counted(fields)):
            key, (kind,) = self._text(), self._numbers("<I")
            if (key, kind) == ("general.alignment", UINT32):
                (alignment,) = self._numbers("<I")
            elif (key, kind) == ("general.name", STRING):
                self.title = self._text()
            else:
                self._skip_value(kind, DEEPEST_ARRAY)
        described = [(self._text(), *self._shape_kind_offset()) for _ in range(self._counted(tensors))]
        if not alignment:
            raise ValueError("its alignment is 0")
        data = self._place + -self._place % alignment
        return [self._entry(name, shape, kind, data + offset) for name, shape, kind, offset in described]

    def _entry(self, name: str, shape: tuple[int, ...], kind: int, start: int) -> Entry:
        import gguf

        quantization = gguf.GGMLQuantizationType(kind)
        block_values, block_bytes = gguf.GGML_QUANT_SIZES[quantization]
        row_bytes, rest = divmod(shape[-1] * block_bytes, block_values)
        if rest or start + math.prod(shape[:-1]) * row_bytes > len(self._content):
            raise ValueError(f"{name} is cut off")
        return Entry(name, shape, quantization, start, row_bytes)

    def _shape_kind_offset(self) -> tuple[tuple[int, ...], int, int]:
        (axes,) = self._numbers("<I")
        if not 1 <= axes <= MOST_AXES:
            raise ValueError(f"a tensor has {axes} axes")
        *shape, kind, offset = self._numbers(f"<{axes}QIQ")
        if not all(shape):
            raise ValueError("a tensor has no values")
        return tuple(reversed(shape)), kind, offset

    def _numbers(self, layout: str) -> tuple[int, ...]:
        numbers = struct.unpack_from(layout, self._content, self._place)
        self._place += struct.calcsize(layout)
        return numbers

    def _text(self) -> str:
        (length,) = self._numbers("<Q")
        start = self._place
        self._skip(length)
        return bytes(self._content[start : self._place]).decode("utf-8")

    def _skip(self, length: int) -> None:
        if length > len(self._content) - self._place:
            raise ValueError("it is cut off")
        self._place += length

    def _counted(self, entries: int) -> int:
        """A number of entries to come, if they can be that many."""
        self._entries += entries
        if self._entries > MOST_ENTRIES:
            raise ValueError(f"it claims more than {MOST_ENTRIES} entries")
        return entries

    def _skip_value(self, kind: int, depth: int) -> None:
        if kind == STRING:
            (length,) = self._numbers("<Q")
            self._skip(length)
        elif kind == ARRAY and depth:
            inner, count = self._numbers("<IQ")
            if inner in BYTES_OF_TYPE:
                self._skip(count * BYTES_OF_TYPE[inner])
            else:
                for _ in range(self._counted(count)):
                    self._skip_value(inner, depth - 1)
        elif kind in BYTES_OF_TYPE:
            self._skip(BYTES_OF_TYPE[kind])
        else:
            raise ValueError(f"it holds metadata of the unknown type {kind}")


def _dequantized(content: np.ndarray, entry: Entry) -> Tensor:
    """`[*shape]` fp16."""
    import gguf

    rows = math.prod(entry.shape[:-1])
    data = content[entry.start : entry.start + rows * entry.row_bytes].reshape(rows, entry.row_bytes)
    with np.errstate(all="ignore"):  # what does not fit is infinite, and is refused as such
        values = gguf.quants.dequantize(data, entry.kind).astype(np.float16)
    return torch.from_numpy(values).reshape(entry.shape)
