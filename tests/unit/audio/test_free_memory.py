"""Memory that was freed below something that is still used goes back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from infinitetalk.audio.free_memory import _malloc_trim, give_back

BLOCKS, BLOCK_BYTES = 1_000, 100_000  # below the size from which every block gets pages of its own


@pytest.fixture
def asked_anew() -> Iterator[None]:
    """The C library is asked for its function in this test, whatever was found before."""
    _malloc_trim.cache_clear()
    yield
    _malloc_trim.cache_clear()


def resident_bytes() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return 1024 * int(fields["VmRSS"].split()[0])


@pytest.mark.skipif(sys.platform != "linux" or _malloc_trim() is None, reason="only glibc keeps such memory")
def test_freed_memory_in_the_middle_of_the_heap_is_given_back():
    blocks = [bytearray(BLOCK_BYTES) for _ in range(BLOCKS)]
    del blocks[:-1]
    gc.collect()
    before = resident_bytes()

    give_back()

    assert before - resident_bytes() > 0.5 * BLOCKS * BLOCK_BYTES
    assert len(blocks[0]) == BLOCK_BYTES


def test_where_the_allocator_does_without_nothing_is_asked_of_the_c_library(asked_anew, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("Windows has no C library under no name"))

    assert _malloc_trim() is None
    give_back()


@pytest.mark.skipif(sys.platform != "linux", reason="asks for a function of Linux's C library")
def test_a_c_library_without_the_function_is_no_error(asked_anew, monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())  # as musl's: glibc cannot be made to lack it

    assert _malloc_trim() is None
    give_back()
