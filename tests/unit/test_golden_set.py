"""The golden numbers that ship are enough for the tests that read them, and small enough to ship."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SHIPPED = sorted((TESTS / "golden").iterdir())
LARGEST_BYTES = 25_000_000


def test_every_golden_file_that_a_test_reads_is_in_the_repository():
    code = "\n".join(file.read_text(encoding="utf-8") for file in (TESTS / "parity").glob("*.py"))
    read = set(re.findall(r'golden_dir / f?"([\w{}]+\.safetensors)"', code))
    wanted = {name.replace("{variant}", case) for name in read for case in "abcdefg"}
    assert len(wanted) >= 10
    assert wanted <= {file.name.removesuffix(".xz") for file in SHIPPED}


def test_the_golden_set_stays_small():
    assert sum(file.stat().st_size for file in SHIPPED) < LARGEST_BYTES
