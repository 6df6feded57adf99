"""Draws `face.png`, the demo's picture. Needs Pillow: `python demo/media/draw_face.py`."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

SIZE = 512
SCALE = 4  # drawn larger, then reduced: smooth edges

BACKDROP, SHIRT = (120, 178, 196), (72, 94, 158)
HAIR, SKIN, SKIN_SHADE, LIPS = (92, 58, 42), (242, 200, 168), (226, 172, 140), (176, 78, 82)
WHITE, IRIS, DARK = (252, 252, 250), (70, 110, 90), (44, 34, 32)


def draw_face() -> Image.Image:
    """A friendly face with a closed mouth, looking at the viewer; SIZE x SIZE."""
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), BACKDROP)
    pen = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, rx: float, ry: float, colour: tuple[int, int, int]) -> None:
        pen.ellipse([(x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE], fill=colour)

    def arc(x: float, y: float, rx: float, ry: float, start: int, end: int, colour: tuple[int, int, int]) -> None:
        box = [(x - rx) * SCALE, (y - ry) * SCALE, (x + rx) * SCALE, (y + ry) * SCALE]
        pen.arc(box, start, end, fill=colour, width=7 * SCALE)

    ellipse(256, 520, 190, 120, SHIRT)
    ellipse(256, 228, 158, 176, HAIR)
    pen.rectangle([216 * SCALE, 350 * SCALE, 296 * SCALE, 440 * SCALE], fill=SKIN_SHADE)
    ellipse(256, 440, 40, 24, SKIN_SHADE)
    for side in (-1, 1):
        ellipse(256 + side * 128, 262, 20, 32, SKIN_SHADE)
    ellipse(256, 258, 126, 152, SKIN)
    pen.pieslice([122 * SCALE, 84 * SCALE, 390 * SCALE, 330 * SCALE], 188, 352, fill=HAIR)
    ellipse(256, 232, 112, 64, SKIN)
    for side in (-1, 1):
        x = 256 + side * 50
        arc(x, 218, 26, 20, 200, 340, HAIR)
        ellipse(x, 244, 22, 15, WHITE)
        ellipse(x, 244, 12, 13, IRIS)
        ellipse(x, 244, 6, 7, DARK)
        ellipse(x - 4, 240, 3, 3, WHITE)
        ellipse(256 + side * 76, 300, 22, 14, (240, 178, 158))
    arc(256, 286, 16, 14, 20, 160, SKIN_SHADE)
    ellipse(256, 341, 42, 13, LIPS)
    pen.line([214 * SCALE, 340 * SCALE, 298 * SCALE, 340 * SCALE], fill=(128, 50, 58), width=4 * SCALE)
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw_face().save(Path(__file__).with_name("face.png"), optimize=True)
