"""Rows that arrive piece by piece: in memory while they are few, in a temporary file when they are many."""

from __future__ import annotations

import contextlib
import io
import mmap
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from .errors import UserError

MEMORY_BYTES = 32 << 20  # one spool keeps at most this much in memory
_maps: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()  # living maps by their address


def release(tensor: Tensor) -> None:
    """Take the pages of a mapped tensor out of this process's memory; nothing is lost, they are read again on use.

    Call it between stretches of a long pass: the system would drop the pages when memory gets short, but until then
    they count as used. Does nothing to tensors in memory, and nothing where the system has no such call (Windows trims
    by itself).
    """
    mapped = _maps.get(tensor.untyped_storage().data_ptr())
    if mapped is not None and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)  # the map is shared, so even changed pages survive


class Spool:
    """Collects float32 rows of one shape and hands them back as one tensor `[N, *row_shape]`.

    Above `memory_bytes` the rows go to an unnamed temporary file in `folder` (the system's own if None), and `finish`
    maps that file, so that a sound or an embedding of any length needs no memory: the system reads the pages that
    somebody looks at and may drop them again. The file vanishes with the last tensor that uses it, or with the
    process. Use as a context manager: an exception gives the file back.
    """

    def __init__(
        self, row_shape: tuple[int, ...] = (), *, folder: Path | None = None, memory_bytes: int | None = None
    ) -> None:
        self.row_shape = row_shape
        self.folder = folder
        self.memory_bytes = MEMORY_BYTES if memory_bytes is None else memory_bytes
        self.length = 0
        self._row_bytes = 4 * int(np.prod(row_shape, dtype=np.int64))
        self._pieces: list[np.ndarray] = []
        self._file: io.BufferedRandom | None = None

    def check_room(self, rows: int, name: str) -> None:
        """Raise `UserError` where so many rows (of what `name` says) do not fit on the disk."""
        needed = rows * self._row_bytes
        if needed <= self.memory_bytes:
            return
        folder = self.folder or Path(tempfile.gettempdir())
        try:
            free = shutil.disk_usage(folder).free
        except OSError:  # whatever is wrong with it, making the file will say it
            return
        if needed > free:
            raise UserError(
                f"{name} takes {needed / 1e9:.1f} GB when it is decoded, and the disk of {folder} has "
                f"{free / 1e9:.1f} GB left: ask for a part of it, or make room there."
            )

    def append(self, rows: Tensor | np.ndarray) -> None:
        """Add rows `[n, *row_shape]`; any float dtype, on any device. A full disk raises `UserError`."""
        if isinstance(rows, Tensor):
            rows = rows.detach().to("cpu", torch.float32).numpy()
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        if rows.shape[1:] != self.row_shape:
            raise ValueError(f"rows of shape {rows.shape[1:]} in a spool of {self.row_shape}")
        self.length += len(rows)
        if self._file is None and self.length * self._row_bytes > self.memory_bytes:
            self._file = self._temporary_file()
            for piece in self._pieces:
                self._write(self._file, piece)
            self._pieces.clear()
        if self._file is None:
            self._pieces.append(rows.copy())
        else:
            self._write(self._file, rows)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Copy of rows `start … stop - 1`, without mapping anything."""
        if self._file is None:
            return self._joined()[start:stop].copy()
        rows = np.empty((stop - start, *self.row_shape), np.float32)
        with self._explained():
            self._file.seek(start * self._row_bytes)
            if self._file.readinto(rows.data.cast("B")) != rows.nbytes:
                raise OSError(f"the temporary file ends before row {stop}")
            self._file.seek(0, 2)
        return rows

    def finish(self) -> Tensor:
        """All rows, `[N, *row_shape]` float32; the spool must not be used any more."""
        shape = (self.length, *self.row_shape)
        if self._file is None:
            return torch.from_numpy(self._joined().reshape(shape))
        with self._explained():
            self._file.flush()
            # The map keeps its own handle of the file; on Windows the file is deleted with the last handle, elsewhere
            # it has no name anyway. Nobody else has the file, so it may be written through like memory.
            mapped = mmap.mmap(self._file.fileno(), self.length * self._row_bytes, access=mmap.ACCESS_WRITE)
        self.close()
        tensor = torch.from_numpy(np.frombuffer(mapped, np.float32).reshape(shape))
        _maps[tensor.data_ptr()] = mapped
        return tensor

    def close(self) -> None:
        """Let go of everything that `finish` has not handed out."""
        self._pieces.clear()
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk does not take the rest, which nobody wants any more
                self._file.close()
            self._file = None

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _joined(self) -> np.ndarray:
        if not self._pieces:
            return np.empty((0, *self.row_shape), np.float32)
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]

    def _temporary_file(self) -> io.BufferedRandom:
        try:
            return tempfile.TemporaryFile(dir=self.folder)
        except OSError as error:
            raise UserError(
                f"No temporary file can be made in {self.folder or 'the temporary folder'} ({error.strerror}): make "
                "room there, and make it a folder that may be written to."
            ) from error

    def _write(self, file: io.BufferedRandom, rows: np.ndarray) -> None:
        with self._explained():
            file.write(rows.data.cast("B") if rows.size else b"")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What the disk says, in a sentence."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"The disk of {self.folder or tempfile.gettempdir()} took {self.length * self._row_bytes / 1e9:.1f} GB "
                f"of temporary data and then failed ({error.strerror or error}): make room there and queue again."
            ) from error
