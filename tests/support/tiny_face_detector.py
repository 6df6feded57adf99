"""A face detector for core's MediaPipe nodes: it finds the two drawn faces of the examples' picture by their skin.

The architecture is the real one, the weights are set by hand. The first channel carries how much more red than blue a
pixel is, is blurred on the grid of 16 × 16 cells, and is highest in the middle of a face. What is not written core
leaves as it makes it, and no box hangs on that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tiny_models import Weights

BLOCKS = (
    *((24, 24), (24, 28), (28, 32), (32, 36), (36, 42), (42, 48), (48, 56), (56, 64), (64, 72), (72, 80), (80, 88)),
    *((88, 96), (96, 96), (96, 96), (96, 96), (96, 96)),
)
"""Channels of BlazeFace's blocks, in and out."""
BLURRED = range(6, 11)  # those behind the last halving and before the heads of the 16 × 16 grid
SKIN = 0.3  # red less blue, of a picture in -1 … 1: hair, eyes and background have less
MIDDLE_OF_A_FACE, STEEPNESS = 0.35, 100.0  # blurred skin
NEVER = -100.0
INPUT = 128  # pixels
FACE = (0.36, 0.42)  # width and height, of the longer side of the picture
EYES = ((-0.07, -0.05), (0.07, -0.05))  # from the middle
MESH_INPUT, MESH_FACE = 192, 128  # pixels: the face and what is around it
OUTLINE, LANDMARKS = 36, 478
PARTS = ("face_oval", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "lips", "irises", "nose", "tesselation")


def face_detector() -> Weights:
    """All weights that a box hangs on, under the names in core's file."""
    landmarks = _landmarks()
    ring = np.stack([np.arange(OUTLINE), (np.arange(OUTLINE) + 1) % OUTLINE], axis=1).astype(np.int32)
    return {
        **{f"detector_short.{name}": values for name, values in _detector().items()},
        # The detector for far faces finds none.
        "detector_full.cls_dw.weight": np.zeros((4, 1, 3, 3), np.float32),
        "detector_full.cls_dw.bias": np.full(4, NEVER, np.float32),
        "mesh.head_landmarks.weight": np.zeros((3 * LANDMARKS, 8, 3, 3), np.float32),
        "mesh.head_landmarks.bias": landmarks.reshape(-1),
        "canonical_vertices": ((landmarks - MESH_INPUT / 2) * [1, -1, -1]).astype(np.float32),
        "procrustes_indices": np.arange(OUTLINE, dtype=np.int32),
        "procrustes_weights": np.ones(OUTLINE, np.float32),
        **{f"topology.{part}": ring for part in PARTS},
    }


def _detector() -> Weights:
    weights: Weights = {"stem.weight": np.zeros((24, 3, 5, 5), np.float32), "stem.bias": np.zeros(24, np.float32)}
    weights["stem.weight"][0, :, 2, 2] = (1, 0, -1)
    weights["stem.bias"][0] = -SKIN
    for number, (channels, out) in enumerate(BLOCKS):
        deep, point = np.zeros((channels, 1, 3, 3), np.float32), np.zeros((out, channels, 1, 1), np.float32)
        if number in BLURRED:  # the block adds its input
            deep[0, 0] = 1 / 9
            deep[0, 0, 1, 1] -= 1
            point[0, 0] = 1
        weights |= {f"blocks.{number}.depthwise.weight": deep, f"blocks.{number}.pointwise.weight": point}
        weights |= {
            f"blocks.{number}.depthwise.bias": np.zeros(channels, np.float32),
            f"blocks.{number}.pointwise.bias": np.zeros(out, np.float32),
        }
    for cells, channels, anchors in ((16, 88, 2), (8, 96, 6)):
        weights[f"cls_{cells}.weight"] = np.zeros((anchors, channels, 1, 1), np.float32)
        weights[f"cls_{cells}.bias"] = np.full(anchors, NEVER, np.float32)
        weights[f"reg_{cells}.weight"] = np.zeros((16 * anchors, channels, 1, 1), np.float32)
        weights[f"reg_{cells}.bias"] = np.zeros(16 * anchors, np.float32)
    weights["cls_16.weight"][0, 0] = STEEPNESS
    weights["cls_16.bias"][0] = -STEEPNESS * MIDDLE_OF_A_FACE
    weights["reg_16.bias"][:8] = INPUT * np.array([0, 0, *FACE, *EYES[0], *EYES[1]], np.float32)
    return weights


def _landmarks() -> np.ndarray:
    """An oval, its outline first, in pixels of what the mesh sees, `[landmarks, 3]`."""
    inner = np.arange(LANDMARKS - OUTLINE)
    turns = np.concatenate([np.arange(OUTLINE) / OUTLINE, 0.618 * inner])
    radius = np.concatenate([np.ones(OUTLINE), np.sqrt((inner + 0.5) / len(inner))])
    x, y = radius * np.cos(2 * np.pi * turns), radius * np.sin(2 * np.pi * turns)
    flat = MESH_INPUT / 2 + MESH_FACE / 2 * np.stack([x, y], axis=1)
    return np.column_stack([flat, MESH_FACE / 4 * (radius**2 - 1)]).astype(np.float32)
