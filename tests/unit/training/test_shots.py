"""Shots: head and background move as far as they were told, and the face is before what moves behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation.dubbing import background_drift, head_places
from training.faces import FPS, SIZE, Face, Motion, render
from training.shots import DRIFT, STRENGTH, WIDTH, Stripes, swaying, wave

FRAMES = 2 * FPS
EMPTY = np.zeros((SIZE, SIZE), bool)
EMPTY[:8] = True  # a small head never comes there


@pytest.mark.parametrize("seed", range(3))
def test_head_and_stripes_are_where_they_were_sent(seed: int):
    face = replace(Face.random(np.random.default_rng(seed)), x=0.5, y=0.5, size=0.25)
    motion = swaying(Motion.random(np.random.default_rng(seed), np.zeros(FRAMES), np.zeros(FRAMES)), 4.0)
    stripes = Stripes(16, 30, 5 * wave(0.4, seed, FRAMES))
    frames = render(face, motion, behind=stripes.behind(face))
    assert np.abs(motion.sway).max() == pytest.approx(4)
    assert np.abs(head_places(frames, face) - motion.sway).max() < 0.5
    moved = background_drift(frames, EMPTY)
    assert np.corrcoef(moved, stripes.drift)[0, 1] > 0.99


def test_what_is_behind_is_seen_where_nobody_is_and_not_through_the_face():
    face = Face.random(np.random.default_rng(5))
    behind = Stripes(12, 40, np.zeros(1)).behind(face)
    plain, striped = render(face, Motion.still(1)), render(face, Motion.still(1), behind=behind)
    assert np.array_equal(striped[0, :4, :4], np.clip(behind[0, :4, :4] + 0.5, 0, 255).astype(np.uint8))
    x, y = round(face.x * SIZE), round(face.y * SIZE)
    assert np.array_equal(plain[0, y - 5 : y + 5, x - 5 : x + 5], striped[0, y - 5 : y + 5, x - 5 : x + 5])


def test_random_stripes_stay_within_what_is_trained_and_differ():
    made = [Stripes.random(np.random.default_rng(seed), 10 * FPS) for seed in range(20)]
    assert all(
        WIDTH[0] <= stripes.width <= WIDTH[1] and STRENGTH[0] <= stripes.strength <= STRENGTH[1] for stripes in made
    )
    assert max(np.abs(stripes.drift).max() for stripes in made) <= DRIFT[1]
    assert len({stripes.width for stripes in made}) == len(made)
