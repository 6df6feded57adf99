"""What every source of frames offers, whatever it reads from. None is loaded whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np
import torch

Frame = np.ndarray | torch.Tensor


class FrameSource(Protocol):
    """Frames of one size that can be read from the first, more than once."""

    @property
    def count(self) -> int:
        """Number of frames."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def channels(self) -> int:
        """1, 3 or 4."""

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second."""

    @property
    def notes(self) -> Sequence[str]:
        """Sentences for a person on what is not as it was."""

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Frames [H, W, C] in order, from number `first` on: floats 0 to 1, or uint8 or uint16 on their whole range."""
