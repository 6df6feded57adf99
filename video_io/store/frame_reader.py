"""Reading the finished frames of a run, a few at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import UserError
from .manifest import Manifest, RunSpec
from .run_folders import mark_in_use, window_path

CHUNK_BYTES = 8 * 2**20
"""Frames are read in pieces of about this size."""


class FrameReader:
    """The finished frames of a run as they are now. While this object lives, the run is not cleared."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.spec: RunSpec = manifest.spec
        self._starts = [0, *itertools.accumulate(window.frames for window in manifest.windows)]
        self._marker = mark_in_use(folder)

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def window_starts(self) -> list[int]:
        """First frame of every window, in order."""
        return self._starts[:-1]

    def iter_frames(
        self, start: int = 0, stop: int | None = None, chunk_frames: int | None = None
    ) -> Iterator[np.ndarray]:
        """Frames `start` to `stop` (not included; None: to the end) as uint8 [n, height, width, 3].

        n is at most `chunk_frames` (None: about 8 MiB) and less where a window ends; RAM holds one piece.

        Raises:
            ValueError: a range outside of the frames.
            UserError: a file was damaged meanwhile.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise ValueError(f"Frames {start} to {stop} are outside of 0 to {len(self)}")
        chunk_frames = chunk_frames or max(1, CHUNK_BYTES // self.spec.frame_bytes)
        return self._read(start, stop, chunk_frames)

    def _read(self, start: int, stop: int, chunk_frames: int) -> Iterator[np.ndarray]:
        for window, (first, end) in enumerate(itertools.pairwise(self._starts)):
            position, window_stop = max(start, first), min(stop, end)
            if position >= window_stop:
                continue
            path = window_path(self.folder, window)
            try:
                with path.open("rb") as file:
                    file.seek((position - first) * self.spec.frame_bytes)
                    while position < window_stop:
                        count = min(chunk_frames, window_stop - position)
                        yield self._read_piece(file.read(count * self.spec.frame_bytes), count)
                        position += count
            except OSError as error:
                raise UserError(
                    f"The finished frames in {path} cannot be read ({error.strerror or error}); "
                    "restart ComfyUI and queue the graph again: it goes on after the last good window."
                ) from error

    def _read_piece(self, data: bytes, count: int) -> np.ndarray:
        if len(data) != count * self.spec.frame_bytes:
            raise OSError("the file is too short")
        frames = np.frombuffer(data, dtype=np.uint8)
        return frames.reshape(count, self.spec.height, self.spec.width, 3)
