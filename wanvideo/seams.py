"""Where two windows of a dubbed video meet: the picture must not jump.

Each window is sampled from noise of its own. However well its motion frames say how things move, what stands still
comes out a little different: colors, shades and texture jump where the windows meet. The trip of the motion frames
through the VAE is not what is seen there: what it loses has nothing in common with the jump.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

FADE_FRAMES = 8
"""Frames over which a window goes, where nothing moves, from what was there before to its own.

What is held so long costs lip sync where it is the mouth's: in the hardest clip of the small talking models r with the
sound is 0.72 if nothing is held, 0.67 if all of the step is, and 0.70 as it is done here.
"""
USUAL_FRAMES = 12
"""Frames on either side of a seam that tell how a pixel moves without one: half a second of speech."""


def without_jump(frames: Tensor, before: Tensor) -> None:
    """Take the jump out of frames, which then comes little by little; they are changed in place.

    The step from the last frame before to the first one becomes the mean of the steps around it, so that things go on
    as they move. What is left of the step is the jump, and where things move as a mouth does, it is their movement as
    well. So a pixel comes nearer to its own with every frame, the first one too, by as much as its steps around the
    seam differ among each other. Only what is beyond that is taken from the frames, less and less of it (half a
    cosine): all of the jump where a pixel stands still or moves evenly, little of it where a mouth opens and closes.

    Args:
        frames: `[n, H, W, 3]` in 0 … 1, what follows.
        before: `[m, H, W, 3]` in 0 … 1, what was shown last.
    """
    before = before.to(frames)
    steps = [row[1] - row[0] for row in (before[-2:], frames[:2]) if len(row) == 2]
    jump = frames[0] - before[-1] - sum(steps) / max(1, len(steps))
    unrest = _unrest(before[-USUAL_FRAMES - 1 :], frames[: USUAL_FRAMES + 1])
    for frame, place in zip(frames, range(FADE_FRAMES), strict=False):
        share = (1 + math.cos(math.pi * place / FADE_FRAMES)) / 2
        held = torch.minimum(share * jump.abs(), (jump.abs() - (place + 1) * unrest).clamp(min=0))
        frame.sub_(held.copysign(jump)).clamp_(0, 1)


def _unrest(*rows: Tensor) -> Tensor:
    """Standard deviation of each pixel's steps from frame to frame, `[H, W, 3]`; 0 where nothing tells.

    Args:
        rows: frames that follow each other, `[n, H, W, 3]` each.
    """
    pairs = [pair for row in rows for pair in pairwise(row)]
    count = max(1, len(pairs))
    mean = sum(row[-1] - row[0] for row in rows) / count
    squares = torch.zeros_like(rows[0][0])
    for frame, after in pairs:
        squares += (after - frame - mean).square_()
    return squares.div_(count).sqrt_()
