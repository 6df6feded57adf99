"""Faces of a detector become speaker masks: apart, in order, as large as heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.wanvideo.found_faces import heads, masks_of_detected
from infinitetalk.wanvideo.masks import token_masks

SIZE = HEIGHT, WIDTH = 100, 200
LEFT, RIGHT = (30, 40, 20, 25), (140, 35, 20, 30)
"""x, y, width and height of two faces in pixels."""


def mask(*boxes: tuple[int, int, int, int]) -> torch.Tensor:
    """`[H, W]` with all of these boxes."""
    pixels = torch.zeros(SIZE)
    for x, y, wide, high in boxes:
        pixels[y : y + high, x : x + wide] = 1
    return pixels


def bbox(box: tuple[int, int, int, int]) -> dict[str, Any]:
    """A box as core's detectors give it."""
    return {**dict(zip(("x", "y", "width", "height"), map(float, box), strict=True)), "label": "face", "score": 0.9}


BOTH = torch.stack([mask(LEFT), mask(RIGHT)])


@pytest.mark.parametrize(
    ("masks", "boxes"),
    [
        (BOTH, None),
        (mask(LEFT, RIGHT)[None], None),  # one mask with both faces in it
        (mask(LEFT, RIGHT), None),
        (mask(LEFT, RIGHT, (0, 0, 2, 2))[None], None),  # and a speck
        (torch.nn.functional.interpolate(BOTH[None], scale_factor=2, mode="nearest")[0], None),
        (None, [[bbox(LEFT), bbox(RIGHT)]]),  # of the first of several pictures
        (None, [[bbox(LEFT), bbox(RIGHT)], []]),
        (None, [bbox(LEFT), bbox(RIGHT)]),
    ],
)
def test_any_detectors_faces_are_a_mask_each(masks: torch.Tensor | None, boxes: Any):
    assert torch.equal(masks_of_detected(masks, boxes, *SIZE), BOTH)


@pytest.mark.parametrize(
    ("masks", "boxes"),
    [
        ((torch.rand(SIZE, generator=torch.Generator().manual_seed(1)) > 0.7).float()[None], None),
        (BOTH[:1].expand(17, -1, -1), None),
        (None, [bbox(LEFT)] * 100_000),
    ],
    ids=["noise", "masks", "boxes"],
)
def test_more_faces_than_any_picture_has_are_refused_before_each_becomes_a_mask(masks: torch.Tensor | None, boxes: Any):
    with pytest.raises(UserError, match=r"\d+ faces were found, and at most 16"):
        masks_of_detected(masks, boxes, *SIZE)


def test_one_box_is_one_face():
    assert torch.equal(masks_of_detected(None, bbox(LEFT), *SIZE), BOTH[:1])


def test_the_surest_face_is_first_only_if_the_order_is_kept():
    given = BOTH.flip(0)
    sorted_heads, kept_heads = heads(given, left_to_right=True), heads(given, left_to_right=False)
    assert torch.equal(sorted_heads, kept_heads.flip(0))
    assert (sorted_heads[0] * BOTH[0]).sum() == BOTH[0].sum()


def test_a_face_grows_to_its_head_and_not_beyond_the_picture():
    head = heads(mask(LEFT)[None], left_to_right=True)[0]
    assert torch.equal(head, mask((26, 30, 28, 38)))  # 40 % above, 10 % below, 20 % on both sides (rounded)
    edge = heads(mask((0, 0, 20, 20))[None], left_to_right=True)[0]
    assert torch.equal(edge, mask((0, 0, 24, 22)))


def test_heads_that_meet_do_not_overlap_and_keep_their_faces():
    near = torch.stack([mask((50, 40, 40, 40)), mask((93, 40, 40, 40))])
    both = heads(near, left_to_right=True)
    assert both.sum(dim=0).max() == 1
    assert torch.equal(both * near, near)
    assert both[0, 50, 91] == both[1, 50, 92] == 1  # the gap is shared


@pytest.mark.parametrize(
    ("masks", "boxes", "said"),
    [
        (None, None, "Neither masks nor bboxes is connected"),
        (BOTH, [bbox(LEFT)], "Both masks and bboxes are connected"),
        (torch.zeros(1, *SIZE), None, "No face was found in the picture"),
        (torch.zeros(0, *SIZE), None, "No face was found in the picture"),
        (None, [[]], "No face was found in the picture"),
        (torch.stack([mask(LEFT), torch.zeros(SIZE)]), None, "Mask 2 of 2 is empty"),
        (torch.stack([mask(LEFT), mask(RIGHT) / 0]), None, "masks hold NaN or infinite numbers"),
        (torch.zeros(1, 1, *SIZE), None, r"masks has the shape \[1, 1, 100, 200\]"),
        (None, [{"x": 1}], r"Box 1 of bboxes is \{'x': 1\}"),
        (None, [bbox((float("nan"), 10, 20, 20))], r"Box 1 of bboxes is .*nan.*, and numbers x, y, width and height"),
        (None, [bbox((10, 10, float("inf"), 20))], r"Box 1 of bboxes is .*inf.*, and numbers x, y, width and height"),
        (None, [["text", {}]], r"Box 1 of bboxes is text, and numbers x, y, width and height"),
        (None, [[[bbox(LEFT)]]], r"Box 1 of bboxes is \[.*, and numbers x, y, width and height"),
        (None, [bbox((300, 10, 20, 20))], r"Box 1 of bboxes \(300 10 20 20\) does not lie in the 200 × 100 picture"),
    ],
)
def test_what_holds_no_faces_is_refused(masks: torch.Tensor | None, boxes: Any, said: str):
    with pytest.raises(UserError, match=said):
        masks_of_detected(masks, boxes, *SIZE)


def test_more_faces_than_voices_are_refused_with_their_places():
    with pytest.raises(UserError, match=r"2 speaker masks \(1 at 20 % × 52 %, 2 at 75 % × 50 % of .* but 1 voice:"):
        token_masks(BOTH, 1, SIZE, (48, 96))
