"""Boxes that follow what is in them through a video."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.wanvideo.followed_boxes import followed_boxes, small_size
from scipy.ndimage import gaussian_filter

HEIGHT, WIDTH, SIDE = 120, 160, 40
BOX = (60 / WIDTH, 40 / HEIGHT, SIDE / WIDTH, SIDE / HEIGHT)


def path(frames: int) -> np.ndarray:
    """Where a face is, `[frames, 2]` x and y from its first place."""
    time = np.arange(frames)
    return np.stack([30 * np.sin(time / 8), 14 * np.sin(time / 5)], axis=1).round().astype(int)


def video(frames: int, seed: int = 0, light: float = 0.0) -> torch.Tensor:
    """A patterned face that wanders before another pattern; its mouth changes all the time, and the light too."""
    random = np.random.default_rng(seed)
    behind, face = (gaussian_filter(random.random((side, WIDTH, 3)), (2, 2, 0)) for side in (HEIGHT, SIDE))
    behind, face = ((part - part.mean()) * 3 + 0.5 for part in (behind, face[:, :SIDE]))
    images = np.repeat(behind[None] * 0.5, frames, axis=0)
    for k, (x, y) in enumerate(path(frames)):
        there = images[k, 40 + y : 40 + y + SIDE, 60 + x : 60 + x + SIDE]
        there[:] = face * 0.5 + 0.3
        there[25:35, 10:30] = random.random()
        images[k] += light * k / frames
    return torch.from_numpy(images.clip(0, 1)).float()


def centers(masks: list[np.ndarray]) -> np.ndarray:
    """Middles of the masks, `[frames, 2]` x and y in pixels of the video."""
    size = small_size(HEIGHT, WIDTH)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return np.array(
        [[np.average(x, weights=m) * WIDTH / size[1], np.average(y, weights=m) * HEIGHT / size[0]] for m in masks]
    )


@pytest.mark.parametrize("eight_bit", [False, True])
def test_a_box_stays_on_a_face_that_wanders_talks_and_gets_brighter(eight_bit):
    images = video(60, light=0.2)
    images = (images * 255).round() / 255 if eight_bit else images
    masks = list(followed_boxes(ImageFrames(images, Fraction(25)), [BOX]))
    expected = path(60) + np.array([60, 40]) + SIDE / 2
    assert len(masks) == 60
    assert np.abs(centers(masks) - expected).max() < 2
    areas = [mask.sum() for mask in masks]
    assert np.ptp(areas) < 0.02 * areas[0]


@pytest.mark.parametrize("black", [1, 10])
def test_a_box_stays_on_a_face_that_fades_in_from_black(black: int):
    light = np.concatenate([np.zeros(black), np.linspace(0, 1, 25), np.ones(10)])
    images = video(1) * torch.from_numpy(light).float()[:, None, None, None]
    masks = list(followed_boxes(ImageFrames((images * 255).round() / 255, Fraction(25)), [BOX]))
    assert np.abs(centers(masks) - centers(masks)[0]).max() < 2


@pytest.mark.parametrize("speed", [0.02, -0.02])
def test_a_box_follows_what_moves_slower_than_a_pixel_per_frame(speed: float):
    moved = speed * np.arange(500)
    behind, face = video(1)[0], video(1)[0, 40:80, 60:100]
    images = behind.expand(500, -1, -1, -1).clone()
    for image, x in zip(images, moved, strict=True):
        first, share = 60 + int(np.floor(x)), x % 1
        image[40:80, first + 1 : first + SIDE] = torch.lerp(face[:, 1:], face[:, :-1], share)
    masks = list(followed_boxes(ImageFrames((images * 255).round() / 255, Fraction(25)), [BOX]))
    assert np.abs(centers(masks)[:, 0] - (60 + SIDE / 2 + moved)).max() < 2


def test_two_boxes_make_one_mask():
    (mask,) = followed_boxes(ImageFrames(video(1), Fraction(25)), [(0, 0, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5)])
    assert mask[:60, :80].all()
    assert mask[60:, 80:].all()
    assert not mask[60:, :80].any()


def test_at_a_cut_the_box_is_where_it_was_written():
    images = torch.cat([video(9) * 0.4, video(9, seed=3) * 0.4 + 0.6])
    masks = list(followed_boxes(ImageFrames(images, Fraction(25)), [BOX]))
    assert np.abs(centers(masks)[8] - centers(masks)[0]).max() > 8
    assert np.array_equal(masks[9], masks[0])


def test_after_a_flash_the_box_is_where_it_was():
    images = video(30)
    images[5] = 1
    masks = list(followed_boxes(ImageFrames(images, Fraction(25)), [BOX]))
    expected = path(30) + np.array([60, 40]) + SIDE / 2
    assert np.abs(np.delete(centers(masks) - expected, 5, axis=0)).max() < 2


def test_a_box_at_the_edge_of_the_picture_stays_in_it():
    masks = list(followed_boxes(ImageFrames(video(20), Fraction(25)), [(0.9, 0.9, 0.1, 0.1)]))
    areas = [mask.sum() for mask in masks]
    assert min(areas) > 0.5 * areas[0]


def test_what_is_no_picture_in_color_gets_a_sentence():
    with pytest.raises(UserError, match="The image has 1 channel, but 3"):
        next(followed_boxes(ImageFrames(torch.rand(2, 8, 8, 1), Fraction(25)), [BOX]))


def test_large_frames_make_small_masks():
    assert small_size(1080, 1920) == (108, 192)
    assert small_size(1920, 1080) == (192, 108)
    assert small_size(50, 70) == (50, 70)
