"""Drawn faces: what moves, moves as it was told, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from training.faces import FPS, SIZE, SWAY_PIXELS, Face, Motion, mouth_box, render

SEEDS = range(12)


def face_of(seed: int) -> Face:
    return Face.random(np.random.default_rng(seed))


def motion(openings: list[float], width: float = 0.5, sway: tuple[float, float] = (0, 0), eyes: float = 1) -> Motion:
    opening = np.array(openings, np.float32)
    return Motion(opening, opening * 0 + width, np.tile(np.float32(sway), (len(opening), 1)), opening * 0 + eyes)


def inside(pixels: np.ndarray, face: Face) -> np.ndarray:
    left, top, right, bottom = mouth_box(face, pixels.shape[1])
    return pixels[:, top:bottom, left:right]


def test_the_same_seed_is_the_same_face_and_others_differ():
    pictures = [render(face_of(seed), Motion.still(1)) for seed in (0, 0, 1, 2)]
    assert np.array_equal(pictures[0], pictures[1])
    for a, b in ((0, 2), (0, 3), (2, 3)):
        assert np.abs(pictures[a].astype(int) - pictures[b]).mean() > 8


@pytest.mark.parametrize("seed", SEEDS)
def test_more_opening_is_more_dark_inside(seed: int):
    face = face_of(seed)
    dark = (inside(render(face, motion([0, 0.25, 0.5, 0.75, 1])), face).astype(int).sum(axis=3) < 200).sum(axis=(1, 2))
    assert dark[0] < 10  # hair may reach into the box
    assert (np.diff(dark) > 8).all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [SIZE, 2 * SIZE])
def test_the_mouth_stays_in_its_box_wherever_the_head_sways(seed: int, size: int):
    face = face_of(seed)
    for sway in ((-SWAY_PIXELS, -SWAY_PIXELS), (SWAY_PIXELS, SWAY_PIXELS)):
        closed = render(face, motion([0], width=0, sway=sway), size).astype(int)
        wide = render(face, motion([1], width=1, sway=sway), size)
        changed = np.abs(wide - closed).max(axis=(0, 3)) > 0
        left, top, right, bottom = mouth_box(face, size)
        changed[top:bottom, left:right] = False
        assert not changed.any()


def test_the_background_does_not_move():
    face = face_of(3)
    still, moved = render(face, motion([0])), render(face, motion([0], sway=(1, 1)))
    assert np.array_equal(still[:, :, :4], moved[:, :, :4])
    assert not np.array_equal(still, moved)


def test_closed_eyes_show_no_white():
    face = face_of(4)
    white = [(render(face, motion([0], eyes=eyes)).min(axis=3) > 235).sum() for eyes in (1, 0)]
    assert white[0] > 20 > white[1]


def test_a_random_motion_sways_little_and_blinks_at_times():
    frames = 20 * FPS
    made = Motion.random(np.random.default_rng(0), np.zeros(frames), np.zeros(frames))
    assert 0.1 < np.abs(made.sway).max() <= SWAY_PIXELS
    assert np.abs(np.diff(made.sway, axis=0)).max() < 0.1
    closings = ((made.eyes[1:] < 0.5) & (made.eyes[:-1] >= 0.5)).sum()
    assert 3 <= closings <= 13
    assert len(made[5:9]) == 4
