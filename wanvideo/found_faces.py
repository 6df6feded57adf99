"""Faces that a detector has found, as speaker masks: separated, sorted, and grown to the head."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from ..weight_files import all_finite

# What a head has beyond the face (chin to brow or hairline, cheek to cheek), as shares of the face's own size. Our
# guess, on the large side: the model looks for whose head it is, and heads that touch are kept apart afterwards.
ABOVE, BELOW, BESIDE = 0.4, 0.1, 0.2
SPECK = 0.02  # a region of less than this share of the largest one is no face

MOST_FACES = 16
"""What core's MediaPipe finds at most. A mask of noise has thousands of regions, and each would become a mask."""

NO_FACE = "No face was found in the picture: lower the detector's threshold, or set layout to halves or boxes."

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


def masks_of_detected(masks: Tensor | None, boxes: Any, height: int, width: int) -> Tensor:
    """One mask per face, `[faces, height, width]` of 0 and 1.

    Args:
        masks: `[faces, h, w]` or `[h, w]` in 0 … 1, of any size. One mask alone with several separate regions, as
            core's Draw Face Mask and SAM 3 give it, is one for each region, from left to right.
        boxes: in place of masks, a `BOUNDING_BOX` in pixels of the picture: a dict with x, y, width and height, a list
            of them, or a list of lists, of which the first belongs to the picture.

    Raises:
        UserError: neither or both, no face, more than `MOST_FACES`, or an empty mask among several.
    """
    if (masks is None) == (boxes is None):
        found = "Neither masks nor bboxes is" if masks is None else "Both masks and bboxes are"
        raise UserError(f"{found} connected: for the layout 'from masks' connect what a detector gives to one of them.")
    if masks is None:
        return _boxes_as_masks(boxes, height, width)
    if masks.ndim not in (2, 3):
        raise UserError(f"masks has the shape {list(masks.shape)}, and [faces, height, width] is needed.")
    stack = masks[None] if masks.ndim == 2 else masks
    _check_number(len(stack))
    if not all_finite(stack.float()):
        raise UserError("masks hold NaN or infinite numbers: check the node that feeds them.")
    pixels = torch.nn.functional.interpolate(stack[None].float().cpu(), size=(height, width), mode="nearest")[0] > 0.5
    if len(pixels) == 1:
        pixels = _regions(pixels[0])
    empty = [number for number, face in enumerate(pixels, 1) if not face.any()]
    if empty:
        raise UserError(NO_FACE if len(pixels) == 1 else f"Mask {empty[0]} of {len(pixels)} is empty: leave it out.")
    return pixels.float()


def heads(faces: Tensor, left_to_right: bool) -> Tensor:
    """Faces grown to heads that do not overlap, `[faces, H, W]` of 0 and 1.

    A pixel that two heads claim belongs to the face whose middle is nearer; a face keeps its own pixels.

    Args:
        faces: `[faces, H, W]` of 0 and 1, none of them empty.
        left_to_right: sort them by their middles.
    """
    if left_to_right:
        faces = faces[torch.tensor([_middle(face)[0] for face in faces]).argsort(stable=True)]
    height, width = faces.shape[1:]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    claims, distances = [], []
    for face in faces:
        left, top, right, bottom = _box(face)
        wide, high = right - left, bottom - top
        inside_rows = (rows >= top - ABOVE * high) & (rows < bottom + BELOW * high)
        inside_columns = (columns >= left - BESIDE * wide) & (columns < right + BESIDE * wide)
        claims.append(inside_rows & inside_columns)
        x, y = _middle(face)
        distances.append((columns - x) ** 2 + (rows - y) ** 2)
    claimed, own = torch.stack(claims), faces > 0
    distance = torch.stack(distances).masked_fill(~claimed, torch.inf).masked_fill(own, -1.0)
    nearest = distance.argmin(dim=0)
    return ((claimed | own) & (nearest == torch.arange(len(faces))[:, None, None])).float()


def places(masks: Tensor) -> str:
    """Where masks are, for a sentence: the middle of each in percent of the width and the height."""
    height, width = masks.shape[1:]
    found = []
    for number, mask in enumerate(masks, 1):
        x, y = _middle(mask) if mask.any() else (0.0, 0.0)
        where = f"at {100 * x / width:.0f} % × {100 * y / height:.0f} %" if mask.any() else "empty"
        found.append(f"{number} {where}")
    return ", ".join(found)


def _boxes_as_masks(boxes: Any, height: int, width: int) -> Tensor:
    if isinstance(boxes, list) and boxes and isinstance(boxes[0], list):
        boxes = boxes[0]  # the first picture's
    boxes = [boxes] if isinstance(boxes, Mapping) else list(boxes)
    _check_number(len(boxes))
    masks = torch.zeros(len(boxes), height, width)
    for number, (mask, box) in enumerate(zip(masks, boxes, strict=True), 1):
        try:
            x, y, wide, high = (_finite(box[key]) for key in ("x", "y", "width", "height"))
        except (TypeError, KeyError, ValueError):  # the last one: no number, NaN or infinite
            raise UserError(
                f"Box {number} of bboxes is {str(box)[:80]}, and numbers x, y, width and height in pixels are needed."
            ) from None
        left, top = max(0, round(x)), max(0, round(y))
        mask[top : max(top, round(y + high)), left : max(left, round(x + wide))] = 1
        if not mask.any():
            raise UserError(
                f"Box {number} of bboxes ({x:g} {y:g} {wide:g} {high:g}) does not lie in the {width} × {height} "
                "picture: connect boxes of the same picture."
            )
    return masks


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def _regions(mask: Tensor) -> Tensor:
    """The separate regions of a mask without specks, `[regions, H, W]`; the mask itself if it is empty."""
    from scipy.ndimage import label

    labels, count = label(mask.T.numpy())  # counted column by column
    if count == 0:
        return mask[None]
    sizes = np.bincount(labels.ravel())[1:]  # 0 is what lies outside
    kept = torch.from_numpy(np.flatnonzero(sizes >= SPECK * sizes.max())) + 1
    _check_number(len(kept))
    return torch.from_numpy(labels.T)[None] == kept[:, None, None]


def _check_number(faces: int) -> None:
    if not faces:
        raise UserError(NO_FACE)
    if faces > MOST_FACES:
        raise UserError(
            f"{faces} faces were found, and at most {MOST_FACES} can be told apart: raise the detector's threshold, or "
            "connect the masks of faces alone."
        )


def _box(mask: Tensor) -> Box:
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _middle(mask: Tensor) -> tuple[float, float]:
    """x and y of the middle of a mask's box, in pixels."""
    left, top, right, bottom = _box(mask)
    return (left + right) / 2, (top + bottom) / 2
