"""Whole files behind each other in one (`cat a b`), of kinds whose headers count the first one, where readers stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO, Literal

from .completeness import size_is_filled_in
from .joined_ogg import sounds_in_ogg

ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
MAX_OFFSET = 1 << 40  # file systems refuse to go to where no file of theirs can reach
MOST_PARTS = 1_000_000  # of a file: hours of single frames
FLV_HEADER_BYTES, FLV_TAG_BYTES = 13, 15  # each with the four bytes behind it that tell its size
APE_TAG, APE_HEADER_BYTES = b"APETAGEX", 32
TTA_HEADER_BYTES = 22  # with its checksum; the table of frames has one of four bytes
Walk = Callable[[BinaryIO, int], int]  # where the file that begins at a byte ends


def files_in(file: BinaryIO) -> list[tuple[int, int]]:
    """First byte and end of each whole file in a file; only one unless what follows its end begins as it does."""
    if joined := sounds_in_ogg(file):
        return joined
    size = file.seek(0, os.SEEK_END)
    starts = [0]
    kind = _kind(file, 0)
    walk = _walk_of(kind)
    while walk is not None and starts[-1] < (end := walk(file, starts[-1])) < size and _kind(file, end) == kind:
        starts.append(end)
    return list(zip(starts, [*starts[1:], size], strict=True))


def _kind(file: BinaryIO, start: int) -> bytes:
    """What a kind of file begins with: without the size that stands in it."""
    head = _bytes(file, start, 16)
    if head[:4] in (b"RIFF", b"FORM"):
        return head[:4] + head[8:12]
    if head[4:8] == b"ftyp":
        return b"ftyp"
    return head if head == ASF_HEADER else head[:4]


def _walk_of(kind: bytes) -> Walk | None:
    walks: dict[bytes, Walk] = {
        b"RIFFWAVE": _riff_end,
        b"FORMAIFF": _riff_end,
        b"FORMAIFC": _riff_end,
        b"ftyp": _boxes_end,
        b"caff": _caf_end,
        b".snd": _au_end,
        b"riff": _w64_end,
        ASF_HEADER: _asf_end,
        b"FLV\x01": _flv_end,
        b"TTA1": _tta_end,
    }
    return walks.get(kind)


def _number(file: BinaryIO, at: int, width: int, order: Literal["big", "little"] = "big") -> int:
    """The unsigned number of so many bytes that stands there; 0 where the file ends before it does."""
    data = _bytes(file, at, width)
    return int.from_bytes(data, order) if len(data) == width else 0


def _bytes(file: BinaryIO, at: int, count: int) -> bytes:
    if at > MAX_OFFSET:  # a size that is none
        return b""
    file.seek(at)
    return file.read(count)


def _riff_end(file: BinaryIO, start: int) -> int:
    length = _number(file, start + 4, 4, "little" if _bytes(file, start, 4) == b"RIFF" else "big")
    return start + 8 + length + length % 2 if size_is_filled_in(length) else start


def _boxes_end(file: BinaryIO, start: int) -> int:
    """Up to the next `ftyp`: only the first box of a file is one."""
    position = start
    for _ in range(MOST_PARTS):
        length = _number(file, position, 4)
        length = _number(file, position + 8, 8) if length == 1 else length
        if length < 8:  # the rest is one box, or the file ends
            break
        position += length
        if _kind(file, position) == b"ftyp":
            return position
    return start


def _caf_end(file: BinaryIO, start: int) -> int:
    position = start + 8
    for _ in range(MOST_PARTS):
        length = _number(file, position + 4, 8)
        if not length:
            break
        position += 12 + length  # an unknown length leads far beyond the end
        if _kind(file, position) == b"caff":
            return position
    return start


def _au_end(file: BinaryIO, start: int) -> int:
    length = _number(file, start + 8, 4)
    return start + _number(file, start + 4, 4) + length if size_is_filled_in(length) else start


def _w64_end(file: BinaryIO, start: int) -> int:
    return start + (_number(file, start + 16, 8, "little") + 7) // 8 * 8


def _asf_end(file: BinaryIO, start: int) -> int:
    position = start
    for _ in range(MOST_PARTS):
        length = _number(file, position + 16, 8, "little")
        if not length:
            break
        position += length
        if _kind(file, position) == ASF_HEADER:
            return position
    return start


def _flv_end(file: BinaryIO, start: int) -> int:
    position = start + FLV_HEADER_BYTES
    for _ in range(MOST_PARTS):
        if _number(file, position, 1) not in (8, 9, 18):  # sound, picture, data
            break
        position += FLV_TAG_BYTES + _number(file, position + 1, 3)
    return position


def _tta_end(file: BinaryIO, start: int) -> int:
    """Behind the frames, whose sizes stand in a table (each but the last has 256 / 245 s), and FFmpeg's tag."""
    samples_of_frame = _number(file, start + 10, 4, "little") * 256 // 245
    samples = _number(file, start + 14, 4, "little")
    frames = -(-samples // samples_of_frame) if samples_of_frame else 0
    if not 0 < frames <= MOST_PARTS:
        return start
    table = _bytes(file, start + TTA_HEADER_BYTES, 4 * frames)
    sizes = (int.from_bytes(table[i : i + 4], "little") for i in range(0, len(table), 4))
    end = start + TTA_HEADER_BYTES + 4 * frames + 4 + sum(sizes)
    if _bytes(file, end, len(APE_TAG)) != APE_TAG:
        return end
    return end + APE_HEADER_BYTES + _number(file, end + 12, 4, "little")
