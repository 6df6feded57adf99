"""Tests do not know each other: what several of them need has a room of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
NOBODY_ELSES = ("test_", "conftest")  # how the names of modules begin that only pytest imports


def imported_modules(code: str) -> Iterator[str]:
    """Last names of the modules that a file imports, at its top and inside of functions; names taken from them too."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name.rpartition(".")[2] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")
            yield from (alias.name for alias in node.names)


def intruders(code: str) -> list[str]:
    return [name for name in imported_modules(code) if name.startswith(NOBODY_ELSES)]


@pytest.mark.parametrize("file", sorted(TESTS.rglob("*.py")), ids=lambda file: file.relative_to(TESTS).as_posix())
def test_no_test_imports_another_one_or_a_conftest(file: Path):
    assert intruders(file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    ["from .conftest import x", "from . import conftest", "import test_a", "def f():\n    from ..test_b import x"],
)
def test_an_import_of_a_test_is_found(code: str):
    assert intruders(code)


@pytest.mark.parametrize("folder", ["cluster", "demo", "tools", "benchmarks"])
def test_what_is_no_test_does_not_import_from_the_tests(folder: str):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for file in files:
        code = file.read_text(encoding="utf-8")
        assert "tests" not in set(imported_modules(code)), file
        assert intruders(code) == [], file
