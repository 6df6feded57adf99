"""Memory that was freed below something that is still used goes back to the system."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
from infinitetalk.audio.heap import _malloc_trim, give_back

BLOCKS, BLOCK_BYTES = 1_000, 100_000  # below the size from which every block gets pages of its own


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


def test_it_may_be_called_anywhere():
    give_back()
