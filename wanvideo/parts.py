"""Shares of one video for several machines: whole scenes, about as many windows for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ..errors import UserError
from .windows import Window

PART = re.compile(r"\s*(\d{1,6})\s*/\s*(\d{1,6})\s*")


@dataclass(frozen=True)
class Part:
    """The `number`th (from 1) of `count` shares of a video."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Part | None:
        """Read `2/8`; None for an empty text, the whole video.

        Raises:
            UserError: it is no such part.
        """
        if not text.strip():
            return None
        found = PART.fullmatch(text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(
                f"part is '{text.strip()}', but it must name a share of the video such as 2/8, the second of eight "
                "(1/8 to 8/8): write it so, or leave it empty for the whole video."
            )
        return cls(int(found[1]), int(found[2]))

    def of(self, windows: Sequence[Window]) -> slice:
        """The windows of this share; none where the video has fewer scenes that begin with a cut than shares."""
        sizes = [len(list(group)) for _, group in groupby(windows, key=lambda window: window.cut)]
        shares = balanced(sizes, self.count)
        scenes = shares[self.number - 1]
        return slice(sum(sizes[: scenes.start]), sum(sizes[: scenes.stop]))


def balanced(sizes: Sequence[int], count: int) -> list[range]:
    """Consecutive items in `count` shares, the largest share as small as possible, none empty before the items end.

    Args:
        sizes: of the items, each above 0.
        count: of the shares.

    Returns:
        The indices of each share's items.
    """
    limit = max(max(sizes), -(-sum(sizes) // count))
    while len(_filled(sizes, limit)) > count:
        limit += 1
    shares: list[range] = []
    start = 0
    for left in range(count - 1, -1, -1):
        stop = min(start + 1, len(sizes))
        while stop < len(sizes) - left and sum(sizes[start : stop + 1]) <= limit:
            stop += 1
        shares.append(range(start, stop))
        start = stop
    return shares


def _filled(sizes: Sequence[int], limit: int) -> list[int]:
    """Sums of the shares when each takes what fits into `limit`."""
    sums: list[int] = []
    for size in sizes:
        if sums and sums[-1] + size <= limit:
            sums[-1] += size
        else:
            sums.append(size)
    return sums
