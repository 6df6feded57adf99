"""Whether a dubbed video kept its source's shot."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from infinitetalk.sync.box import Box
from infinitetalk.sync.plot import draw
from infinitetalk.video_io.read.image_frames import ImageFrames

from ...support.talking_faces import HEIGHT, MOUTH, WIDTH, face, report_on, talking, voice

FRAMES = 75
BOX = Box((MOUTH[0] - 20) / WIDTH, (MOUTH[1] - 16) / HEIGHT, 40 / WIDTH, 32 / HEIGHT)


def shot_of(images: torch.Tensor, source: torch.Tensor, rate: int = 25):
    said = voice(FRAMES / 25, 1)
    return report_on(images, said.audio, box=BOX, shot=ImageFrames(source, Fraction(rate)))


def old_and_new(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The same shot with another voice's mouth."""
    old, new = (voice(FRAMES / 25, number).opening(FRAMES, 25) for number in (2, 1))
    return talking(old), talking(new, seed=seed)


def test_a_shot_that_was_kept_has_the_sources_motion_whatever_the_mouth_does():
    source, dubbed = old_and_new()
    shot = shot_of(dubbed, source).shot
    assert shot.motion_r > 0.99
    assert shot.difference < 0.5
    assert shot.verdict.startswith("Shot kept")


def test_a_shot_that_was_made_anew_has_not():
    source, dubbed = old_and_new(seed=5)  # another wind, other blinks
    shot = shot_of(dubbed, source).shot
    assert abs(shot.motion_r) < 0.5
    assert "made anew" in shot.verdict


def test_noise_of_the_vae_lowers_it_little():
    source, dubbed = old_and_new()
    noise = 0.01 * torch.randn(dubbed.shape, generator=torch.Generator().manual_seed(1))
    assert shot_of((dubbed + noise).clamp(0, 1), source).shot.motion_r > 0.95


def test_a_source_of_another_size_shape_and_rate_is_compared_at_its_places_and_times():
    source, dubbed = old_and_new()
    twice = source.repeat_interleave(2, dim=0)  # 50 fps
    wide = torch.nn.functional.pad(twice.movedim(-1, 1), (30, 30), value=0.5)  # cropped away
    large = torch.nn.functional.interpolate(wide, scale_factor=2, mode="nearest").movedim(1, -1)
    shot = shot_of(dubbed, large, rate=50).shot
    assert shot.motion_r > 0.99
    assert shot.difference < 1


def test_where_nothing_moves_there_is_nothing_to_compare():
    opening = voice(FRAMES / 25, 1).opening(FRAMES, 25)
    still = torch.from_numpy(np.stack([face(0)] * FRAMES)).float() / 255
    shot = shot_of(talking(opening, lively=False), still).shot
    assert shot.motion_r is None
    assert "nothing moves" in shot.verdict


def test_the_plot_says_it():
    source, dubbed = old_and_new()
    with_source = shot_of(dubbed, source)
    assert not torch.equal(draw(with_source), draw(report_on(dubbed, voice(FRAMES / 25, 1).audio, box=BOX)))


@pytest.mark.parametrize("frames", [1, 10])
def test_a_source_that_is_shorter_stays_on_its_last_frame(frames):
    source, dubbed = old_and_new()
    assert shot_of(dubbed, source[:frames]).shot is not None
