"""Where the samples of a plain sound file stand, and how many bytes of them its header says: whether they are there.

libsndfile takes a file that is shorter than its header as it is, ends where a header ends that was not brought up to
date, and reads a W64 to the end of the file, other parts too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from .completeness import size_is_filled_in

LONGEST = 1 << 48  # of sizes in 64 bits; what is larger was never filled in
IN_32_BITS = 1 << 32
MOST_PARTS = 10_000  # before the samples
LOOKED_AT = 1 << 20
APPENDED = (b"ID3", b"TAG")  # for files of any kind; other tags begin with four letters, as the parts of a WAV do
NAME_BYTES = 4
HEADER_BYTES = 64  # which some programs count as samples


@dataclass(frozen=True)
class SampleData:
    """The samples in a file.

    Attributes:
        start: their first byte.
        length: bytes that the header says; None where nobody has counted them.
        size_at: where a WAV has their size, else None.
        is_w64: whether it is a W64.
    """

    start: int
    length: int | None
    size_at: int | None = None
    is_w64: bool = False

    def breaks_off(self, size: int) -> bool:
        """Whether a file of `size` bytes ends before its samples do."""
        return self.length is not None and self.start + self.length > size + HEADER_BYTES


def sample_data(file: BinaryIO) -> SampleData | None:
    """The samples of a WAV, RF64, AIFF, CAF, AU or W64; None of other files, and where there are none."""
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return next((_wav_data(*part) for part in _parts(file, 12, 4, "little") if part[0] == b"data"), None)
    if head[:4] in (b"RF64", b"BW64"):
        return _rf64_data(file)
    if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        found = next((part for part in _parts(file, 12, 4, "big") if part[0] == b"SSND"), None)
        # Before the samples stand an offset and the size of a block, four bytes each.
        return found and SampleData(found[1] + 8, found[2] - 8 if size_is_filled_in(found[2]) else None)
    if head[:4] == b"caff":
        found = next((part for part in _parts(file, 8, 8, "big") if part[0] == b"data"), None)
        return found and SampleData(found[1], _counted(found[2]))  # with the number of its edits
    if head[:4] == b".snd":
        start, length = (int.from_bytes(head[at : at + 4], "big") for at in (4, 8))
        return SampleData(start, length if size_is_filled_in(length) else None)
    return _w64_data(file) if head[:4] == b"riff" else None


def samples_break_off(file: BinaryIO) -> bool:
    """Whether a plain sound file ends before its samples do; False of other files."""
    data = sample_data(file)
    return data is not None and data.breaks_off(file.seek(0, os.SEEK_END))


def end_of(file: BinaryIO, data: SampleData) -> int | None:
    """Where the samples of a WAV end that go on behind the end that its header tells; None where they do not.

    A size has 32 bits, and of a longer file programs write what is left of it beyond 4 GiB; a recorder that loses its
    power leaves the size that it had written last.
    """
    size = file.seek(0, os.SEEK_END)
    if data.size_at is None or data.breaks_off(size):
        return None
    if data.length is None:
        return size if size - data.start > IN_32_BITS else None
    told = data.start + data.length
    if size - told >= IN_32_BITS:
        return told + (size - told) // IN_32_BITS * IN_32_BITS
    return size if _is_more_sound(file, told) else None


def _is_more_sound(file: BinaryIO, told: int) -> bool:
    """Whether what follows the samples is neither a part of the file, nor a tag, nor a filling of zeros."""
    file.seek(told)
    follows = file.read(NAME_BYTES + 1)
    # A part begins at an even byte, where its program knows that.
    names = follows[:NAME_BYTES], follows[1:]
    if len(follows) <= NAME_BYTES or follows.startswith(APPENDED) or any(map(_are_letters, names)):
        return False
    file.seek(told)
    while block := file.read(LOOKED_AT):
        if block.count(0) < len(block):
            return True
    return False


def _are_letters(text: bytes) -> bool:
    return all(0x20 <= letter < 0x7F for letter in text)


def _parts(file: BinaryIO, start: int, width: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and length of the parts of a file, from `start` on; each length has `width` bytes."""
    size = file.seek(0, os.SEEK_END)
    for _ in range(MOST_PARTS):
        file.seek(start)
        header = file.read(4 + width)
        if len(header) < 4 + width:
            return
        length = int.from_bytes(header[4:], "little" if order == "little" else "big")
        start += 4 + width
        yield header[:4], start, length
        start += length + (length % 2 if width == 4 else 0)
        if start > size:
            return


def _wav_data(_: bytes, start: int, length: int) -> SampleData:
    return SampleData(start, length if size_is_filled_in(length) else None, size_at=start - 4)


def _rf64_data(file: BinaryIO) -> SampleData | None:
    """As of a WAV; but the size of the samples stands in a part of its own, with 64 bits."""
    whole = None
    for name, start, length in _parts(file, 12, 4, "little"):
        if name == b"ds64":
            file.seek(start + 8)
            whole = _counted(int.from_bytes(file.read(8), "little"))
        if name == b"data":
            return SampleData(start, whole if length == IN_32_BITS - 1 else _counted(length))
    return None


def _w64_data(file: BinaryIO) -> SampleData | None:
    """Names of 16 bytes, and sizes that count the name and themselves; the next part begins at a multiple of 8."""
    size, start = file.seek(0, os.SEEK_END), 40
    for _ in range(MOST_PARTS):
        file.seek(start)
        header = file.read(24)
        length = int.from_bytes(header[16:], "little")
        if len(header) < 24 or length < 24:
            return None
        if header[:4] == b"data":
            return SampleData(start + 24, _counted(length - 24), is_w64=True)
        start += -(-length // 8) * 8
        if start > size:
            return None
    return None


def _counted(size: int) -> int | None:
    return size if 0 < size < LONGEST else None
