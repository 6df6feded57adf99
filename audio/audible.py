"""When a voice is heard."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from ..spool import release

FRAMES_PER_RELEASE = 1_000  # video frames between two releases of a mapped sound
AUDIBLE_RMS = 10 ** (-50 / 20)  # -50 dBFS: below speech at -23 LUFS, above the noise of a quiet room


def audible_frames(wave: Tensor, frames: int, threshold: float = AUDIBLE_RMS) -> Tensor:
    """In which frames a speech wave is heard.

    Args:
        wave: `[samples]` at any rate, its length being that of the frames; read a stretch at a time.
        threshold: root mean square around the mean of a frame, full scale being 1: a constant offset, as cheap
            recorders have it, is not heard.

    Returns:
        bool `[frames]`.
    """
    ends = [len(wave) * frame // frames for frame in range(frames + 1)]
    audible = torch.zeros(frames, dtype=torch.bool)
    for frame, (first, end) in enumerate(pairwise(ends)):
        if end > first:
            audible[frame] = wave[first:end].std(correction=0) > threshold
        if frame % FRAMES_PER_RELEASE == 0:
            release(wave)
    return audible
