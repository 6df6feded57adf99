"""Where in the picture each speaker is."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..audio.options import MAX_VOICES
from ..errors import UserError
from ..weight_files import all_finite
from .found_faces import places
from .model.speakers import TRAINED_SPEAKERS
from .resolution import SIZE_STEP, cover

Layout = Literal["halves", "boxes"]

HALF_MARGIN = 0.05
"""Rim that is left out on each side of a half (MeiGen InfiniteTalk, `face_scale`)."""


def half_masks(height: int, width: int) -> Tensor:
    """The left and the right half of a picture, each without a rim: `[2, H, W]` of 0 and 1."""
    masks = torch.zeros(TRAINED_SPEAKERS, height, width)
    half = width // 2
    for speaker in range(TRAINED_SPEAKERS):
        left, right = int(half * HALF_MARGIN), int(half * (1 - HALF_MARGIN))
        top, bottom = int(height * HALF_MARGIN), int(height * (1 - HALF_MARGIN))
        masks[speaker, top:bottom, speaker * half + left : speaker * half + right] = 1
    return masks


def box_masks(boxes: str, height: int, width: int) -> Tensor:
    """One mask per line of `x y w h`, as shares of the picture's width and height.

    Returns:
        `[speakers, H, W]` of 0 and 1.

    Raises:
        UserError: a line is no box, lies outside of the picture, or there is none, or more than there can be voices.
    """
    parsed = parse_boxes(boxes)
    masks = torch.zeros(len(parsed), height, width)
    for mask, (x, y, w, h) in zip(masks, parsed, strict=True):
        rows = slice(int(y * height), max(int(y * height) + 1, round((y + h) * height)))
        columns = slice(int(x * width), max(int(x * width) + 1, round((x + w) * width)))
        mask[rows, columns] = 1
    return masks


def parse_boxes(boxes: str) -> list[tuple[float, float, float, float]]:
    """The boxes x, y, w, h of a text, one a line.

    Raises:
        UserError: see `box_masks`.
    """
    lines = [line for line in boxes.splitlines() if line.strip()]
    if not lines:
        raise UserError(
            "There is no box: write one line x y w h per speaker, from 0 to 1, for example 0.1 0.2 0.3 0.5."
        )
    if len(lines) > MAX_VOICES:
        raise UserError(f"There are {len(lines)} boxes for at most {MAX_VOICES} voices: write one line per voice.")
    return [_parse_box(line) for line in lines]


def _parse_box(line: str) -> tuple[float, float, float, float]:
    try:
        x, y, w, h = (float(part) for part in line.replace(",", " ").split())
    except ValueError as error:
        raise UserError(
            f"The box '{line.strip()}' is not four numbers: write x y w h from 0 to 1, for example 0.1 0.2 0.3 0.5."
        ) from error
    inside = 0 <= x < 1 and 0 <= y < 1 and w > 0 and h > 0 and x + w <= 1 + 1e-6 and y + h <= 1 + 1e-6
    if not inside:
        raise UserError(
            f"The box '{line.strip()}' does not lie in the picture: x, y, x + w and y + h must be from 0 to 1, and "
            "w and h above 0 (shares of the picture, not pixels)."
        )
    return x, y, w, h


def token_masks(masks: Tensor, voices: int, image_size: tuple[int, int], video_size: tuple[int, int]) -> Tensor:
    """Speaker masks per token of a latent frame, with the background as the last.

    Resized as the picture is (cover and crop), by nearest pixel as the authors do. Where that misses a small mask
    between its samples, every token that the mask touches is taken instead.

    Args:
        masks: `[voices, H, W]` in 0 … 1 over the whole picture, of any size. One mask for two voices is the first
            one's; the other has all the rest.
        image_size: height and width of the picture.
        video_size: height and width of the video, multiples of 16.

    Returns:
        `[voices + 1, S]` of 0 and 1, S = H/16 · W/16.

    Raises:
        UserError: the number of masks is wrong, or a speaker's mask is empty or lies outside of the crop.
    """
    if not all_finite(masks.float()):
        raise UserError("The speaker masks hold NaN or infinite numbers: check the node that feeds `speaker_masks`.")
    is_alone = masks.ndim == 3 and len(masks) == 1 and voices == TRAINED_SPEAKERS
    if is_alone:
        masks = torch.cat([masks > 0, masks <= 0])
    if masks.ndim == 3 and len(masks) > voices:
        raise UserError(
            f"There are {len(masks)} speaker masks ({places(masks)} of the picture's width and height), but {voices} "
            f"{'voice' if voices == 1 else 'voices'}: connect a voice for each face, or leave out who does not talk."
        )
    if masks.ndim != 3 or len(masks) != voices:
        raise UserError(
            f"The speaker masks have shape {list(masks.shape)}, but {voices} speakers need {voices} masks "
            f"[{voices}, H, W]: connect Speaker Masks, or batch one mask per speaker."
        )
    scaled_height, scaled_width, top, left = cover(*image_size, *video_size)
    rows, columns = (  # first to the picture's size, then as the picture goes
        _nearest_index(0, image, image, mask)[_nearest_index(first, count, scaled, image)]
        for first, count, scaled, image, mask in (
            (top, video_size[0], scaled_height, image_size[0], masks.shape[1]),
            (left, video_size[1], scaled_width, image_size[1], masks.shape[2]),
        )
    )
    pixels = (masks[:, rows][:, :, columns] > 0).float()  # [voices, H, W]
    tokens = pixels[:, ::SIZE_STEP, ::SIZE_STEP].flatten(1)
    touched = torch.nn.functional.max_pool2d(pixels[None], SIZE_STEP)[0].flatten(1)
    for speaker in range(voices):
        if not tokens[speaker].any():
            tokens[speaker] = touched[speaker]
        if not tokens[speaker].any():
            if is_alone and speaker:
                raise UserError(
                    f"The one speaker mask covers all of the {video_size[1]} × {video_size[0]} video, faintly or not, "
                    "and nothing is left for who does not talk: disconnect it, or paint one face alone."
                )
            raise UserError(
                f"The mask of speaker {speaker + 1} covers nothing of the {video_size[1]} × {video_size[0]} video: "
                "paint or box that speaker's face inside the picture (its edges are cropped to the video's shape)."
            )
    background = 1 - tokens.amax(dim=0, keepdim=True)
    return torch.cat([tokens, background])


def _nearest_index(first: int, count: int, scaled: int, size: int) -> Tensor:
    """The pixels of `size` that `count` of `scaled` pixels from `first` on take, as `torch.nn.functional.interpolate`
    chooses them (mode nearest, in float32); the rest of a strip is never scaled.
    """
    scale = torch.tensor(size / scaled, dtype=torch.float32)
    return (torch.arange(first, first + count).float() * scale).long().clamp(max=size - 1)
