"""Whether a file ends where it says that it does: judged by its own structure, never by a declared duration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

UNFILLED = 0x7FF0_0000  # sizes from here on are what programs write that do not know them yet
ROUND = 1_000_000  # and so are decimal round ones, from a billion on: shorter ones are counted by chance
OGG_HEADER_BYTES = 27
OGG_TAIL_BYTES = 1 << 17  # the longest page has 65,307
# The outermost parts of MP4 and MOV. Cameras and programs append what is none: tags, their own notes.
BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"ssix", b"emsg", b"prft", b"meta", b"uuid"}
BOXES |= {b"free", b"skip", b"wide", b"pnot", b"udta", b"pdin"}
EBML_HEADER, EBML_SEGMENT = 0x1A45DFA3, 0x18538067


def size_is_filled_in(size: int) -> bool:
    """Whether a size in a header is one that somebody counted."""
    return 0 < size < UNFILLED and (size < 1000 * ROUND or size % ROUND != 0)


def ends_early(file: BinaryIO) -> bool:
    """Whether the last part that the file announces is cut off. False for kinds of files that announce nothing."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"OggS":
        return _ogg_ends_early(file, size)
    if head[:4] == EBML_HEADER.to_bytes(4, "big"):
        return _matroska_ends_early(file, size)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return any(size_is_filled_in(length) and end > size for end, length in _avi_parts(file, size))
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide"):
        return _boxes_end_early(file, size)
    return False


def _avi_parts(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """End and length of the outermost parts of an AVI; long ones have several. What else follows is none of it."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(8)
        if header[:4] != b"RIFF":
            return
        length = int.from_bytes(header[4:], "little")
        position += 8 + length + length % 2
        yield position, length


def _boxes_end_early(file: BinaryIO, size: int) -> bool:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:  # up to the end of the file
            return False
        if length < 8 or (position + length > size and header[4:8] not in BOXES):
            return False
        position += length
    return position > size


def _matroska_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(0)
    position = 0
    for wanted in (EBML_HEADER, EBML_SEGMENT):
        file.seek(position)
        header = file.read(12)
        if len(header) < 5 or int.from_bytes(header[:4], "big") != wanted or not header[4]:
            return False
        width = 9 - header[4].bit_length()
        value = int.from_bytes(header[4 : 4 + width], "big") & ((1 << 7 * width) - 1)
        unknown = value == (1 << 7 * width) - 1
        position += 4 + width + value
    return not unknown and position > size


def _ogg_ends_early(file: BinaryIO, size: int) -> bool:
    file.seek(max(0, size - OGG_TAIL_BYTES))
    tail = file.read()
    page = tail.rfind(b"OggS")
    header = tail[page : page + OGG_HEADER_BYTES]
    if page < 0:
        return False
    if len(header) < OGG_HEADER_BYTES:
        return True
    segments = tail[page + OGG_HEADER_BYTES :][: header[26]]
    return len(segments) < header[26] or page + OGG_HEADER_BYTES + header[26] + sum(segments) > len(tail)
