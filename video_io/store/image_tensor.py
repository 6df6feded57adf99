"""Stored frames as ComfyUI's IMAGE: in RAM when small, else a memory-mapped file that pages in and out."""

from __future__ import annotations

import io
import logging
import math
import mmap
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from .environment import image_ram_share
from .frame_reader import FrameReader
from .frame_store import FrameStore
from .run_folders import folder_unusable, temporary_path

log = logging.getLogger(__name__)


def frames_as_image(
    frames: FrameStore | FrameReader,
    start: int = 0,
    stop: int | None = None,
    *,
    share_of_free_ram: float | None = None,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Frames `start` to `stop` (None: to the end) as float32 [frames, height, width, 3], 0 to 1.

    The tensor is an ordinary CPU tensor that may be written to. When it would take more than `share_of_free_ram`
    (None: the user's choice, see `environment.py`) of the RAM that is free, its content lies in a file of the run
    folder, which goes away with the tensor.

    `check` is called often, as a long video has many gigabytes of pixels; it may raise to stop.

    Raises:
        ValueError: a range outside of the frames.
        UserError: neither RAM nor disk can hold it.
    """
    frames = frames.reader() if isinstance(frames, FrameStore) else frames
    share = image_ram_share() if share_of_free_ram is None else share_of_free_ram
    stop = len(frames) if stop is None else stop
    shape = (stop - start, frames.spec.height, frames.spec.width, 3)
    if math.prod(shape) * 4 <= share * _free_ram_bytes():
        image = torch.empty(shape, dtype=torch.float32)
        position = 0
        for piece in frames.iter_frames(start, stop):
            check()
            np.divide(piece, np.float32(255), out=image[position : position + len(piece)].numpy())
            position += len(piece)
        return image
    return torch.from_numpy(_mapped(frames, start, stop, check).reshape(shape))


def _mapped(frames: FrameReader, start: int, stop: int, check: Callable[[], None]) -> np.ndarray:
    """The pixels as a flat float32 array over a temporary file.

    The file is written and only then mapped, so that filling it takes no RAM. POSIX unlinks it at once, which
    leaves the content to the mapping alone; Windows deletes it when the mapping, its last handle, is closed.
    """
    size_bytes = (stop - start) * frames.spec.frame_bytes * 4
    free_bytes = shutil.disk_usage(frames.folder).free
    if size_bytes > free_bytes:
        raise UserError(
            f"The IMAGE output of {stop - start} frames needs {size_bytes / 1e9:.1f} GB, more than is free in RAM "
            f"or in {frames.folder} ({free_bytes / 1e9:.1f} GB); use the VIDEO output, which needs neither."
        )
    path = temporary_path(frames.folder, ".f32")
    try:
        with _open_temporary(path) as file:
            for piece in frames.iter_frames(start, stop, chunk_frames=1):
                check()
                file.write(np.divide(piece, np.float32(255), dtype=np.float32).data)
            file.flush()
            mapping = mmap.mmap(file.fileno(), size_bytes)
    except OSError as error:
        raise folder_unusable(path, error) from error
    log.info("The IMAGE output (%.1f GB) is memory-mapped from %s", size_bytes / 1e9, frames.folder)
    return np.frombuffer(mapping, dtype=np.float32)


def _open_temporary(path: Path) -> io.BufferedRandom:
    """A new binary file that the system deletes with its last handle."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    if sys.platform == "win32":
        return os.fdopen(os.open(path, flags | os.O_BINARY | os.O_TEMPORARY), "r+b")
    file = os.fdopen(os.open(path, flags, 0o600), "r+b")
    path.unlink()
    return file


def _free_ram_bytes() -> int:
    import psutil  # ComfyUI brings it

    return psutil.virtual_memory().available
