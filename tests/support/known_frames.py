"""Runs with known pixels and states, for the tests of the frame store and for the processes that they start."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from infinitetalk.video_io.store.frame_store import FrameStore

WIDTH, HEIGHT, FRAMES, WINDOW = 6, 4, 40, 7
PIXELS = np.random.default_rng(0).integers(0, 256, (400, HEIGHT, WIDTH, 3), dtype=np.uint8)


def open_store(root: Path, fingerprint: str = "settings", frames: int = FRAMES, resume: bool = True, **more):
    return FrameStore.open(
        root, fingerprint, width=WIDTH, height=HEIGHT, frame_rate=Fraction(25), frames=frames, resume=resume, **more
    )


def state_after(window: int) -> dict[str, torch.Tensor]:
    return {"motion": torch.full((2, 3), 0.1 + window, dtype=torch.float32), "step": torch.tensor(window)}


def add_windows(store: FrameStore, count: int = 1000) -> None:
    """Append windows of the known pixels until `count` are there or the video is complete."""
    while not store.complete and store.windows_done < count:
        start = store.frames_done
        stop = min(start + WINDOW, store.spec.frames)
        store.append(PIXELS[start:stop], state_after(store.windows_done))


def frames_of(store) -> np.ndarray:
    return np.concatenate(list(store.iter_frames()))


def names(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))
