"""Frames reduced to the mean luma of cells."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.sync.box import WHOLE_PICTURE, Box
from infinitetalk.sync.cells import LumaGrid, watch
from infinitetalk.video_io.read.image_frames import ImageFrames


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).random((height, width, channels), np.float32)


def test_a_cell_is_the_mean_of_its_pixels():
    frame = noise(20, 30)
    grid = LumaGrid(20, 30, WHOLE_PICTURE, 6)
    luma = 255 * frame @ np.array((0.2126, 0.7152, 0.0722))
    expected = luma.reshape(4, 5, 6, 5).mean(axis=(1, 3))
    assert (grid.rows, grid.columns) == (4, 6)
    np.testing.assert_allclose(grid.means(frame), expected, atol=1e-3)


def test_a_box_that_cuts_pixels_takes_its_share_of_them():
    columns = np.broadcast_to(np.arange(10, dtype=np.float32)[None, :, None] / 255, (4, 10, 1))
    grid = LumaGrid(4, 10, Box(0.05, 0, 0.25, 1), 1)  # pixels 0.5 to 3: half of 0, all of 1 and 2
    np.testing.assert_allclose(grid.means(columns).mean(), (0.5 * 0 + 1 + 2) / 2.5, atol=1e-5)


def test_a_box_smaller_than_a_pixel_is_that_pixel():
    frame = noise(8, 8, 1)
    grid = LumaGrid(8, 8, Box(0.51, 0.26, 0.01, 0.01), 16)
    np.testing.assert_allclose(grid.means(frame), [[255 * frame[2, 4, 0]]], rtol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 500), (500, 3), (1080, 1920)])
def test_every_cell_sees_the_picture_whatever_its_shape(height: int, width: int):
    grid = LumaGrid(height, width, WHOLE_PICTURE, 64)
    np.testing.assert_allclose(grid.means(np.ones((height, width, 3), np.float32)), 255, rtol=1e-4)
    assert grid.rows * grid.columns <= 64 * 64


def test_integers_floats_and_grey_frames_are_on_one_scale():
    levels = np.random.default_rng(2).integers(0, 256, (16, 16, 3), np.uint8)
    grid = LumaGrid(16, 16, WHOLE_PICTURE, 4)
    expected = grid.means(levels)
    np.testing.assert_allclose(grid.means(levels / np.float32(255)), expected, atol=1e-3)
    np.testing.assert_allclose(grid.means(levels.astype(np.uint16) * 257), expected, atol=1e-3)
    gray = levels[..., :1]
    np.testing.assert_allclose(grid.means(gray), grid.means(np.repeat(gray, 3, axis=2)), atol=1e-3)


@pytest.mark.parametrize(("kind", "opaque"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_what_is_transparent_is_black(kind: type, opaque: int):
    frame = np.full((4, 8, 4), opaque, kind)
    frame[:, :4, 3] = 0
    np.testing.assert_allclose(LumaGrid(4, 8, WHOLE_PICTURE, 2).means(frame), [[0, 255]], atol=1e-2)


def test_frames_in_half_precision_can_be_watched():
    images = torch.rand(3, 8, 8, 3)
    grids = [LumaGrid(8, 8, WHOLE_PICTURE, 2)]
    exact, half = (
        watch(ImageFrames(i, Fraction(25)), grids, None, lambda *_: None).cells[0].values
        for i in (images, images.bfloat16())
    )
    torch.testing.assert_close(half, exact, atol=1.0, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_pixel_that_is_no_number_is_refused_with_its_frame(bad: float):
    images = torch.rand(5, 8, 8, 3)
    images[3, 2, 5, 1] = bad
    with pytest.raises(UserError, match="Frame 3 has pixels that are not numbers"):
        watch(ImageFrames(images, Fraction(25)), [LumaGrid(8, 8, WHOLE_PICTURE, 2)], None, lambda *_: None)


def test_progress_counts_frames_and_may_stop_the_reading():
    class Stopped(BaseException):
        pass

    seen = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        watch(ImageFrames(torch.rand(9, 8, 8, 3), Fraction(25)), [LumaGrid(8, 8, WHOLE_PICTURE, 2)], None, progress)
    assert seen == [(1, 9), (2, 9)]
