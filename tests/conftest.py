"""Makes the pack importable as `infinitetalk`, whatever its folder is called.

The repository's root is the package, and it holds a `nodes` folder like ComfyUI's own `nodes` module:
so the root never goes on `sys.path`, the pack is loaded by path under one name.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load_pack() -> None:
    """Import the repository as the package `infinitetalk` (once)."""
    if "infinitetalk" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        "infinitetalk", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["infinitetalk"] = module
    spec.loader.exec_module(module)


load_pack()


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the reference's numbers that ship with the tests."""
    return ROOT / "tests" / "golden"
