"""Where two windows of a dubbed video meet: what jumps comes little by little, what moves moves on."""

from __future__ import annotations

import pytest
import torch
from infinitetalk.wanvideo.seams import FADE_FRAMES, without_jump

MOUTH = slice(None), slice(16, 24), slice(12, 20)  # all frames, rows, columns


def moving(first: int, count: int) -> torch.Tensor:
    """Soft waves that drift evenly, `[count, 32, 32, 3]`."""
    place = torch.arange(32.0)[None] - 0.5 * torch.arange(first, first + count)[:, None]
    wave = 0.5 + 0.2 * torch.sin(place / 5)  # [count, 32]
    return wave[:, None, :, None].expand(count, 32, 32, 3).clone()


def with_mouth(frames: torch.Tensor, first: int) -> torch.Tensor:
    """Frames that begin at frame `first`, with a patch that opens and closes every five frames; in place."""
    opening = 0.5 + 0.3 * torch.sin(2 * torch.pi * torch.arange(first, first + len(frames)) / 5)
    frames[MOUTH] = opening[:, None, None, None]
    return frames


def changes(frames: torch.Tensor) -> torch.Tensor:
    """Mean change of the picture from frame to frame."""
    return frames.diff(dim=0).abs().mean((1, 2, 3))


def jump() -> torch.Tensor:
    """Another shade and texture, `[32, 32, 3]`."""
    return 0.04 + 0.02 * torch.randn(32, 32, 3, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("shown", [1, 2, 5])
def test_a_jump_is_not_seen_and_is_whole_again_after_a_while(shown):
    before, own = moving(0, shown), moving(shown, 30) + jump()
    frames = own.clone()
    without_jump(frames, before)
    usual = changes(moving(0, 30)).mean()
    assert changes(torch.cat([before, own]))[shown - 1] > 2.5 * usual
    assert changes(torch.cat([before, frames])).max() < 1.9 * usual
    assert changes(torch.cat([before, frames]))[shown - 1] < 1.2 * usual
    assert torch.equal(frames[FADE_FRAMES:], own[FADE_FRAMES:])


@pytest.mark.parametrize("shown", [5, 6, 7, 8, 9])
def test_a_mouth_goes_on_as_it_moves_while_the_jump_around_it_goes(shown):
    before, own = with_mouth(moving(0, shown), 0), with_mouth(moving(shown, 30) + jump(), shown)
    frames = own.clone()
    without_jump(frames, before)
    around = torch.ones(32, 32, dtype=torch.bool)
    around[MOUTH[1:]] = False
    assert (frames - own)[0, around].abs().mean() > 0.03
    assert (frames[0] - before[-1])[around].abs().mean() < 1.2 * changes(moving(0, 30)).mean()
    assert (frames - own)[MOUTH].abs().max() < 0.01


def test_where_nothing_jumps_nothing_changes():
    frames = moving(5, 20)
    without_jump(frames, moving(0, 5))
    assert (frames - moving(5, 20)).abs().max() < 2e-3


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_new_frames_are_enough(count):
    frames = moving(5, count) + jump()
    without_jump(frames, moving(0, 5))
    assert len(frames) == count
    assert frames.min() >= 0
    assert frames.max() <= 1
    assert (frames[0] - moving(5, 1)[0]).abs().max() < 0.02
