"""Files that survive a crash: on the disk before anybody is told that they exist."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CHUNK_BYTES = 8 * 2**20
IN_USE_TRIES = 10
OTHERS_BLOCK_FILES = os.name == "nt"
"""Whether a file that another program has open may be neither renamed nor replaced."""
HAS_NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES}


def write_durably(path: Path, data: bytes | memoryview) -> int:
    """Write `data` to a new file `path`, flushed to the disk; returns its CRC-32.

    An older file of that name is unlinked, never written over: another run may share it by a hard link.

    Raises:
        OSError: it cannot be written; no file is left behind.
    """
    view = memoryview(data).cast("B")
    crc32 = 0
    path.unlink(missing_ok=True)
    try:
        with path.open("wb") as file:
            for start in range(0, len(view), CHUNK_BYTES):
                piece = view[start : start + CHUNK_BYTES]
                crc32 = zlib.crc32(piece, crc32)
                file.write(piece)
            file.flush()
            flush(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
        raise
    return crc32


def replace_durably(path: Path, data: bytes) -> None:
    """Give `path` the content `data` in one step: after a crash it is the old or the new, whole."""
    temporary = path.with_name(path.name + ".new")
    write_durably(temporary, data)
    patiently(lambda: temporary.replace(path))
    flush_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, and flush their names to the disk.

    Raises:
        OSError: it cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        flush_folder(path.parent)


def flush_file(path: Path) -> None:
    """Flush a file that another program wrote to the disk.

    Raises:
        OSError: the disk did not take it.
    """
    with path.open("r+b") as file:
        flush(file.fileno())


def flush_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk (POSIX; Windows journals them and cannot open a folder)."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that takes files and shows none
        return
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


def flush(descriptor: int) -> None:
    """`os.fsync`, where the file system has it: some network disks do not."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in HAS_NO_FLUSH:
            raise


def crc32_of_file(path: Path) -> int:
    """CRC-32 of a file's content, read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    crc32 = 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            crc32 = zlib.crc32(piece, crc32)
    return crc32


def patiently(attempt: Callable[[], T]) -> T:
    """What `attempt` gives, tried again for 3 s where a virus scanner or an indexer has the file open (Windows)."""
    for tries in range(1, IN_USE_TRIES):
        try:
            return attempt()
        except PermissionError:
            if not OTHERS_BLOCK_FILES:
                raise
            time.sleep(0.06 * tries)
    return attempt()
