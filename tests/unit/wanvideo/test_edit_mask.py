"""Where a source video may change: soft borders, latents, and masks that cannot work."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.spool import Spool
from infinitetalk.wanvideo.edit_mask import FEATHER_SHARE, EditMask, latent_mask


def edit_mask(masks, frames=1, image_size=(96, 160), size=(96, 160)):
    return EditMask(masks, frames, image_size, size)


def a_box(height=96, width=160):
    mask = torch.zeros(1, height, width)
    mask[:, height // 3 : height * 2 // 3, width // 2 :] = 1
    return mask


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_the_border_lies_outside_and_follows_the_size(scale):
    size = (96 * scale, 160 * scale)
    soft, box = edit_mask(a_box(*size), image_size=size, size=size).at(0), a_box(*size)[0] > 0
    border = 2 * round(96 * scale * FEATHER_SHARE / 2)
    assert border == {1: 4, 2: 6, 5: 16}[scale]
    near = torch.nn.functional.max_pool2d(box[None].float(), 2 * border + 1, stride=1, padding=border)[0] > 0
    assert torch.all(soft[box] == 1)
    assert torch.all(soft[~near] == 0)
    column = soft[: 96 * scale // 2, -1]
    assert torch.all(column.diff() >= 0)
    assert 0 < column.diff().max() < 2.5 / border
    assert torch.count_nonzero((column > 0) & (column < 1)) >= border - 1


def test_masks_of_another_size_mean_the_same_places_and_are_cropped_as_the_picture():
    small, large = (edit_mask(a_box(48 * k, 80 * k), image_size=(480, 800), size=(96, 96)).at(0) for k in (1, 10))
    assert (small - large).abs().max() < 0.2
    assert large[48, 48 + 8] == 1  # the middle of the picture is that of the crop
    assert large[48, 48 - 8] == 0


def test_one_mask_is_for_all_frames_and_several_are_one_each():
    masks = torch.zeros(3, 96, 160)
    masks[1] = 1
    several = edit_mask(masks, frames=3)
    assert [bool(several.at(k).any()) for k in range(3)] == [False, True, False]
    assert several.key(0) == several.key(2) != several.key(1)
    single = edit_mask(a_box(), frames=3)
    assert torch.equal(single.at(0), single.at(2))
    assert single.key(0) == single.key(2)


def test_every_pixel_of_a_mask_counts():
    other = a_box()
    other[0, 95, 3] = 0.01
    assert edit_mask(a_box()).key(0) != edit_mask(other).key(0)
    left, top = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0], [0.0]]])  # one row of pixels, and one column
    assert edit_mask(left).key(0) != edit_mask(top).key(0)


def test_a_latent_may_change_if_any_of_its_pixels_may_in_any_of_its_frames():
    masks = [torch.zeros(16, 24) for _ in range(9)]
    masks[0][0, 0] = 0.001
    masks[4][15, 23] = 1
    expected = torch.zeros(1, 1, 3, 2, 3)
    expected[0, 0, 0, 0, 0] = expected[0, 0, 1, 1, 2] = 1
    assert torch.equal(latent_mask(masks), expected)


@pytest.mark.parametrize(
    ("masks", "named"),
    [
        (torch.ones(2, 96, 160), "2 masks and the source video 5 frames"),
        (torch.ones(1, 5, 96, 160), r"shape \[1, 5, 96, 160\]"),
        (torch.ones(0, 96, 160), "shape"),
        (torch.full((1, 96, 160), torch.nan), "NaN"),
    ],
)
def test_masks_that_cannot_work_get_a_sentence(masks, named):
    with pytest.raises(UserError, match=named):
        edit_mask(masks, frames=5)


def test_masks_that_let_nothing_change_get_a_sentence():
    with pytest.raises(UserError, match="empty within the 160 × 96 video"):
        edit_mask(torch.zeros(1, 96, 160)).check_not_empty(range(5))
    only_the_last = torch.zeros(5, 96, 160)
    only_the_last[4] = 1
    masks = edit_mask(only_the_last, frames=5)
    masks.check_not_empty(range(5))
    with pytest.raises(UserError, match="empty"):
        masks.check_not_empty(range(4))
    beside = torch.zeros(1, 96, 160)
    beside[..., :16] = 1  # cropped away
    with pytest.raises(UserError, match="cropped"):
        edit_mask(beside, size=(96, 96)).check_not_empty(range(5))


@pytest.mark.skipif(sys.platform != "linux", reason="reads what is resident from /proc")
def test_masks_of_a_long_video_do_not_stay_in_memory(tmp_path: Path):
    count, side = 600, 192
    with Spool((side, side), folder=tmp_path, memory_bytes=0) as spool:
        for _ in range(count):
            spool.append(np.ones((1, side, side), np.float32))
        masks = spool.finish()
    before = mapped_bytes()

    mask = edit_mask(masks, count, (side, side), (side, side))
    held = [mapped_bytes()]
    for start in range(0, count, 20):
        mask.of(range(start, start + 20))
        held.append(mapped_bytes())

    assert max(held) - before < 0.25 * count * side * side * 4


def mapped_bytes() -> int:
    """Pages of files that this process holds."""
    rows = (row.split() for row in Path("/proc/self/status").read_text().splitlines())
    return 1024 * sum(int(row[1]) for row in rows if row[0] in ("RssFile:", "RssShmem:"))
