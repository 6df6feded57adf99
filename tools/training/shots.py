"""Shots as they are filmed: the head sways by several pixels, before a background of stripes that moves, too."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from training.faces import FPS, SIZE, Face, Motion

# Of the training.
SWAY = (0.5, 5.0)  # pixels that the head moves from its place at most, at SIZE
DRIFT = (0.0, 6.5)  # the same of the stripes
HERTZ = (0.1, 0.45)  # of their drift
WIDTH = (10.0, 24.0)  # pixels from one stripe to the next
STRENGTH = (15.0, 45.0)  # of 255 levels


@dataclass(frozen=True)
class Stripes:
    """Upright stripes that move to the left and to the right."""

    width: float
    """Pixels from one to the next."""
    strength: float
    """Of 255 levels, above and below the face's own background."""
    drift: np.ndarray
    """`[F]` how far they have moved to the right, in pixels."""

    @classmethod
    def random(cls, rng: np.random.Generator, frames: int) -> Stripes:
        """Any that the training has."""
        drift = wave(rng.uniform(*HERTZ), rng.uniform(0, 2 * np.pi), frames) * rng.uniform(*DRIFT)
        return cls(rng.uniform(*WIDTH), rng.uniform(*STRENGTH), drift)

    def behind(self, face: Face) -> np.ndarray:
        """The face's background with the stripes: float32 `[F, SIZE, SIZE, 3]`."""
        top, bottom = (np.float32(color) for color in face.background)
        share = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None, None]
        plain = (1 - share) * top + share * bottom  # [SIZE, 1, 3]
        place = np.arange(SIZE)[None] - self.drift[:, None]
        stripes = self.strength * np.sin(2 * np.pi * place / self.width).astype(np.float32)
        return (plain[None] + stripes[:, None, :, None]).astype(np.float32)


def wave(hertz: float, phase: float, frames: int) -> np.ndarray:
    """A sine at FPS, `[frames]` from -1 to 1."""
    return np.sin(2 * np.pi * hertz * np.arange(frames) / FPS + phase)


def swaying(motion: Motion, pixels: float) -> Motion:
    """The same motion with a head that moves so far from its place at most."""
    return replace(motion, sway=motion.sway * np.float32(pixels / np.abs(motion.sway).max()))
