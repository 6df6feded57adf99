"""A part of the picture."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UserError

EXAMPLE = "0.4 0.55 0.2 0.15"
ROUNDING = 1e-6  # of sums of shares that people round


@dataclass(frozen=True)
class Box:
    """A rectangle as shares (0 to 1) of the picture's width and height; x and y are its upper left corner."""

    x: float
    y: float
    w: float
    h: float

    @classmethod
    def parse(cls, text: str) -> Box | None:
        """The box that a person wrote as `x y w h` (commas allowed); None for an empty text.

        Raises:
            UserError: not four numbers, or not inside the picture.
        """
        parts = text.replace(",", " ").split()
        if not parts:
            return None
        try:
            x, y, w, h = (float(part) for part in parts)
        except ValueError as error:
            raise UserError(
                f"The box '{text.strip()}' is not four numbers: write x y w h from 0 to 1, for example {EXAMPLE}, or "
                "nothing to have the mouth found."
            ) from error
        inside = 0 <= x < 1 and 0 <= y < 1 and w > 0 and h > 0 and max(x + w, y + h) <= 1 + ROUNDING
        if not inside:
            raise UserError(
                f"The box '{text.strip()}' does not lie in the picture: x, y, x + w and y + h must be from 0 to 1, "
                f"and w and h above 0 (shares of the picture, not pixels), for example {EXAMPLE}."
            )
        return cls(x, y, min(w, 1 - x), min(h, 1 - y))

    def __str__(self) -> str:
        """As a person would write it into the node's `box`."""
        return " ".join(f"{share:.3g}" for share in (self.x, self.y, self.w, self.h))


WHOLE_PICTURE = Box(0.0, 0.0, 1.0, 1.0)
