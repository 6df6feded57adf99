"""Gives memory that nobody uses any more back to the system."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


def give_back() -> None:
    """Return free pages of the C heap, in the middle of it too.

    glibc keeps what was freed below something that is still in use, and blocks of many sizes that come and go for an
    hour leave hundreds of MB of that. Other systems' allocators do without, and nothing happens there.
    https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    """The C library's function; None where it has none."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
