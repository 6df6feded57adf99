"""A picture to draw on with Pillow: smooth lines, one font, coordinates in pixels of the finished picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Point = tuple[float, float]

SCALE = 2  # drawn larger, then reduced
DASH = 4  # pixels, and as many between


class Canvas:
    """`width` × `height` pixels of one color."""

    def __init__(self, width: int, height: int, background: Color) -> None:
        self.size = (width, height)
        self._image = Image.new("RGB", (width * SCALE, height * SCALE), background)
        self._pen = ImageDraw.Draw(self._image)

    def text(self, at: Point, text: str, size: float, color: Color, anchor: str = "la") -> None:
        """Write; `anchor` as in Pillow: l, m, r and a (top), m, s (base line)."""
        self._pen.text(_scaled(at), text, color, ImageFont.load_default(size * SCALE), anchor)

    def text_width(self, text: str, size: float) -> float:
        """Width of a text in pixels."""
        return ImageFont.load_default(size * SCALE).getlength(text) / SCALE

    def line(self, points: Sequence[Point], color: Color, width: float = 1.0) -> None:
        """Connect points."""
        scaled = [_scaled(point) for point in points]
        self._pen.line(scaled, color, max(1, round(width * SCALE)), "curve" if len(scaled) < 2000 else None)

    def dashed(self, x: float, top: float, bottom: float, color: Color) -> None:
        """A dashed upright line that fills one column of pixels."""
        left = math.floor(x) * SCALE
        for y in np.arange(top, bottom, DASH * 2):
            end = min(y + DASH, bottom) * SCALE
            self._pen.rectangle([left, y * SCALE, left + SCALE - 1, end - 1], color)

    def box(
        self,
        corner: Point,
        opposite: Point,
        fill: Color | None = None,
        outline: Color | None = None,
        width: float = 1,
    ) -> None:
        """A rectangle between two corners."""
        (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(_scaled(corner), _scaled(opposite), strict=True))
        self._pen.rectangle([x0, y0, x1, y1], fill, outline, max(1, round(width * SCALE)))

    def paste(self, pixels: np.ndarray, corner: Point, size: tuple[int, int]) -> None:
        """A picture [H, W, 1 or 3], floats 0 to 1, stretched to a size in pixels."""
        levels = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        image = Image.fromarray(np.broadcast_to(levels, (*levels.shape[:2], 3)).copy())
        scaled = (round(size[0] * SCALE), round(size[1] * SCALE))
        x, y = _scaled(corner)
        self._image.paste(image.resize(scaled, Image.Resampling.LANCZOS), (round(x), round(y)))

    def pixels(self) -> np.ndarray:
        """The picture, float32 [height, width, 3], 0 to 1."""
        return np.asarray(self._image.reduce(SCALE), np.float32) / np.float32(255)


def _scaled(point: Point) -> Point:
    return point[0] * SCALE, point[1] * SCALE
