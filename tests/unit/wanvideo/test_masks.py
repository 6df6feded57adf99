"""Boxes and masks that cannot be who is where."""

from __future__ import annotations

import pytest
import torch
from infinitetalk.errors import UserError


def test_there_are_no_more_boxes_than_voices(comfy_core):
    from infinitetalk.wanvideo.masks import box_masks

    with pytest.raises(UserError, match="20000 boxes for at most 4 voices"):
        box_masks("0 0 1 1\n" * 20_000, 4096, 4096)


@pytest.mark.parametrize("count", [1, 2])
def test_masks_that_are_no_numbers_are_refused(comfy_core, count: int):
    from infinitetalk.wanvideo.masks import token_masks

    masks = torch.ones(count, 32, 32)
    masks[:, :, 16:] = 0
    masks[-1, 3, 3] = float("nan")
    with pytest.raises(UserError, match="speaker masks hold NaN"):
        token_masks(masks, 2, (32, 32), (32, 32))


def test_a_picture_is_not_too_large_for_its_own_size(comfy_core):
    from infinitetalk.wanvideo.resolution import video_size

    with pytest.raises(UserError, match="65500 × 16, and at most 8192 pixels"):
        video_size("from image", 16, 65_500, (16, 16))
