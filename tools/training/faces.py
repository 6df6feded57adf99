"""Cartoon portraits drawn by code: a face with random looks, and its picture at any moment of a motion.

Lengths and places are shares of the picture's side, colors are sRGB from 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

SIZE = 96
FPS = 25
SWAY_PIXELS = 1.0  # most that a head moves from its place, at SIZE
BLINK = np.array([0.5, 0.0, 0.0, 0.5], np.float32)  # eyes' openness in the frames of a blink
BLINK_SECONDS = (1.5, 5.0)  # from one to the next

Color = tuple[float, float, float]

SKINS = ((255, 224, 196), (241, 194, 160), (224, 172, 130), (198, 140, 100), (160, 110, 80))
HAIRS = ((40, 32, 30), (90, 56, 36), (150, 98, 50), (214, 170, 96), (176, 74, 40), (170, 170, 176), (70, 80, 140))
IRISES = ((70, 50, 36), (60, 100, 150), (70, 120, 70), (110, 110, 120))
CLOTHES = ((60, 90, 150), (160, 60, 60), (70, 120, 90), (110, 80, 140), (190, 150, 70), (60, 60, 70))
MOUTH_INSIDE: Color = (66, 12, 24)
LIPS: Color = (196, 84, 88)
LIP_THICKNESS = 0.012


@dataclass(frozen=True)
class Face:
    """The looks of one person, and where the head is when it does not move."""

    background: tuple[Color, Color]
    """At the top and at the bottom."""
    skin: Color
    hair: Color
    iris: Color
    clothes: Color
    x: float
    y: float
    size: float
    """Half the height of the face."""
    roundness: float
    """Width of the face over its height."""
    hair_volume: float
    fringe: float
    """How far the hair comes down over the forehead."""
    long_hair: bool
    eye_distance: float
    eye_size: float
    brow_height: float
    brow_thickness: float
    glasses: bool
    nose: float
    mouth_height: float
    """From the centre of the face down to the mouth."""
    mouth_width: float
    mouth_opening: float
    """Half the height of the fully open mouth."""

    @classmethod
    def random(cls, rng: np.random.Generator) -> Face:
        """Anybody."""
        top = rng.uniform(90, 240, 3)
        return cls(
            background=(_color(top), _color(np.clip(top + rng.uniform(-50, 30, 3), 60, 250))),
            skin=_chosen(rng, SKINS, 8),
            hair=_chosen(rng, HAIRS, 10),
            iris=_chosen(rng, IRISES, 10),
            clothes=_chosen(rng, CLOTHES, 20),
            x=0.5 + rng.uniform(-0.05, 0.05),
            y=0.48 + rng.uniform(-0.03, 0.03),
            size=rng.uniform(0.33, 0.38),
            roundness=rng.uniform(0.74, 0.9),
            hair_volume=rng.uniform(1.06, 1.22),
            fringe=rng.uniform(0.2, 0.5),
            long_hair=bool(rng.random() < 0.4),
            eye_distance=rng.uniform(0.36, 0.46),
            eye_size=rng.uniform(0.13, 0.17),
            brow_height=rng.uniform(0.2, 0.27),
            brow_thickness=rng.uniform(0.03, 0.06),
            glasses=bool(rng.random() < 0.3),
            nose=rng.uniform(0.05, 0.09),
            mouth_height=rng.uniform(0.5, 0.56),
            mouth_width=rng.uniform(0.105, 0.125),
            mouth_opening=rng.uniform(0.07, 0.08),
        )


@dataclass(frozen=True)
class Motion:
    """What moves, frame by frame; float32."""

    opening: np.ndarray
    """`[F]` of the mouth, from 0 closed to 1 wide open."""
    width: np.ndarray
    """`[F]` of the mouth, from 0 round to 1 wide."""
    sway: np.ndarray
    """`[F, 2]` x and y of the head in pixels of a picture of SIZE."""
    eyes: np.ndarray
    """`[F]` from 0 closed to 1 open."""

    def __len__(self) -> int:
        return len(self.opening)

    def __getitem__(self, frames: slice) -> Motion:
        return Motion(self.opening[frames], self.width[frames], self.sway[frames], self.eyes[frames])

    @classmethod
    def random(cls, rng: np.random.Generator, opening: np.ndarray, width: np.ndarray) -> Motion:
        """A mouth that moves so, on a head that sways a little and blinks."""
        frames = len(opening)
        return cls(opening.astype(np.float32), width.astype(np.float32), _sway(rng, frames), _blinks(rng, frames))

    @classmethod
    def still(cls, frames: int) -> Motion:
        """Nothing moves: eyes open, mouth closed."""
        nothing = np.zeros(frames, np.float32)
        return cls(nothing, nothing + 0.5, np.zeros((frames, 2), np.float32), nothing + 1)


def render(face: Face, motion: Motion, size: int = SIZE, behind: np.ndarray | None = None) -> np.ndarray:
    """The face while it moves, uint8 `[F, size, size, 3]`.

    Args:
        behind: float32 `[F, size, size, 3]`, what is seen in place of the face's background, frame by frame.
    """
    plain = _Canvas.gradient(size, *face.background).pixels
    frames = np.empty((len(motion), size, size, 3), np.uint8)
    for i in range(len(motion)):
        canvas = _Canvas((plain if behind is None else behind[i]).copy())
        canvas.ellipse(face.x, 1.08, 0.42, 0.28, face.clothes)
        x, y = motion.sway[i] / SIZE
        moved = replace(face, x=face.x + float(x), y=face.y + float(y))
        _draw_head(canvas, moved)
        _draw_eyes(canvas, moved, float(motion.eyes[i]))
        _draw_mouth(canvas, moved, float(motion.opening[i]), float(motion.width[i]))
        frames[i] = np.clip(canvas.pixels + 0.5, 0, 255)
    return frames


def mouth_box(face: Face, size: int = SIZE, sway_pixels: float = SWAY_PIXELS) -> tuple[int, int, int, int]:
    """Left, top, right and bottom pixel (the last two not included) around all that the mouth can do.

    Args:
        sway_pixels: most that the head moves from its place, in pixels of a picture of SIZE.
    """
    sway = sway_pixels / SIZE + LIP_THICKNESS + 1 / SIZE
    half_width, half_height = _half_width(face, 1.0) + sway, face.mouth_opening + sway
    x, y = face.x, _mouth_y(face)
    left, top = np.floor(np.array([x - half_width, y - half_height]) * size).astype(int)
    right, bottom = np.ceil(np.array([x + half_width, y + half_height]) * size).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _draw_head(canvas: _Canvas, face: Face) -> None:
    half_width = face.size * face.roundness
    volume = face.hair_volume
    if face.long_hair:
        canvas.ellipse(face.x, face.y + 0.4 * face.size, half_width * volume * 1.05, face.size * 0.95, face.hair)
    canvas.ellipse(face.x, face.y + face.size, 0.32 * face.size, 0.4 * face.size, _shade(face.skin, 0.88))  # neck
    canvas.ellipse(face.x, face.y - 0.12 * face.size, half_width * volume, face.size * volume * 0.93, face.hair)
    for side in (-1, 1):
        canvas.ellipse(face.x + side * half_width, face.y, 0.1 * face.size, 0.16 * face.size, _shade(face.skin, 0.94))
    canvas.ellipse(face.x, face.y, half_width, face.size, face.skin)
    canvas.ellipse(face.x, face.y - face.size, half_width * 0.88, face.size * face.fringe, face.hair)
    canvas.ellipse(face.x, face.y + 0.2 * face.size, face.nose * face.size, 0.1 * face.size, _shade(face.skin, 0.8))


def _draw_eyes(canvas: _Canvas, face: Face, openness: float) -> None:
    y = face.y - 0.08 * face.size
    width = face.eye_size * face.size
    for side in (-1, 1):
        x = face.x + side * face.eye_distance * face.size
        brow = y - face.brow_height * face.size
        canvas.ellipse(x, brow, 1.2 * width, face.brow_thickness * face.size, _shade(face.hair, 0.7))
        height = width * (0.12 + 0.78 * openness)
        canvas.ellipse(x, y, width, height, _mix(_shade(face.skin, 0.55), (250, 250, 250), openness))
        canvas.ellipse(x, y, 0.55 * width, min(0.55 * width, height), _mix(_shade(face.skin, 0.5), face.iris, openness))
        if face.glasses:
            canvas.ring(x, y, 1.75 * width, 1.6 * width, 0.016, (50, 50, 56))


def _draw_mouth(canvas: _Canvas, face: Face, opening: float, width: float) -> None:
    half_width, half_height = _half_width(face, width), opening * face.mouth_opening
    y = _mouth_y(face)
    canvas.ellipse(face.x, y, half_width + LIP_THICKNESS, half_height + LIP_THICKNESS, LIPS)
    if half_height > 0:
        canvas.ellipse(face.x, y, half_width, half_height, MOUTH_INSIDE)


def _half_width(face: Face, width: float) -> float:
    return face.mouth_width * (0.75 + 0.5 * width)


def _mouth_y(face: Face) -> float:
    return face.y + face.mouth_height * face.size


class _Canvas:
    """A picture `[H, W, 3]` in float32 on which shapes with soft edges are painted."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    @classmethod
    def gradient(cls, size: int, top: Color, bottom: Color) -> _Canvas:
        share = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
        pixels = (1 - share) * np.float32(top) + share * np.float32(bottom)
        return cls(np.repeat(pixels, size, axis=1))

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, color: Color) -> None:
        """A filled ellipse."""
        area, distance = self._distance(x, y, half_width, half_height, 1 / len(self.pixels))
        self._paint(area, 0.5 - distance, color)

    def ring(self, x: float, y: float, half_width: float, half_height: float, line: float, color: Color) -> None:
        """The outline of an ellipse."""
        area, distance = self._distance(x, y, half_width, half_height, line)
        self._paint(area, 0.5 + 0.5 * line * len(self.pixels) - np.abs(distance), color)

    def _distance(
        self, x: float, y: float, half_width: float, half_height: float, margin: float
    ) -> tuple[tuple[slice, slice], np.ndarray]:
        """Part of the picture around an ellipse, and the distance of its pixels from the edge (negative inside).

        In pixels, to first order: the implicit function over its gradient.
        """
        size = len(self.pixels)
        half_height = max(half_height, 0.25 / size)
        columns = _span(x, half_width + margin, size)
        rows = _span(y, half_height + margin, size)
        dx = ((np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5) / size - x) / half_width
        dy = ((np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5) / size - y) / half_height
        radius = np.sqrt(dx**2 + dy**2)
        slope = np.sqrt((dx / half_width) ** 2 + (dy / half_height) ** 2) / np.maximum(radius, 1e-6)
        return (rows, columns), (radius - 1) / np.maximum(slope, 1e-6) * size

    def _paint(self, area: tuple[slice, slice], coverage: np.ndarray, color: Color) -> None:
        covered = self.pixels[area]
        covered += np.clip(coverage, 0, 1)[..., None] * (np.float32(color) - covered)


def _span(centre: float, half: float, size: int) -> slice:
    start, stop = int((centre - half) * size) - 1, int((centre + half) * size) + 2
    return slice(min(max(start, 0), size), min(max(stop, 0), size))


def _sway(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Two slow waves in each direction, `[F, 2]` pixels."""
    seconds = np.arange(frames)[:, None, None] / FPS
    hertz, phase = rng.uniform(0.08, 0.3, (2, 2)), rng.uniform(0, 2 * np.pi, (2, 2))
    waves = np.sin(2 * np.pi * hertz * seconds + phase).sum(axis=2) / 2
    return (SWAY_PIXELS * rng.uniform(0.3, 1.0) * waves).astype(np.float32)


def _blinks(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Openness of the eyes, `[F]`."""
    eyes = np.ones(frames + len(BLINK), np.float32)
    start = int(rng.uniform(0, BLINK_SECONDS[1]) * FPS)
    while start < frames:
        eyes[start : start + len(BLINK)] = BLINK
        start += int(rng.uniform(*BLINK_SECONDS) * FPS)
    return eyes[:frames]


def _chosen(rng: np.random.Generator, colors: tuple[Color, ...], spread: float) -> Color:
    """One of the colors, a little changed."""
    return _color(np.clip(np.array(colors[rng.integers(len(colors))]) + rng.uniform(-spread, spread, 3), 0, 255))


def _color(values: np.ndarray) -> Color:
    red, green, blue = values.tolist()
    return red, green, blue


def _shade(color: Color, factor: float) -> Color:
    return _mix((0, 0, 0), color, factor)


def _mix(first: Color, second: Color, share: float) -> Color:
    return _color(np.array(first) * (1 - share) + np.array(second) * share)
