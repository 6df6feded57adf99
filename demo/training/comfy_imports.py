"""Makes ComfyUI's `comfy` and the pack, as `infinitetalk`, importable in this process: import this module first.

As in `tests/conftest.py`, the pack is loaded by path under one name, since its root must never be on `sys.path`.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "demo"


def _import_core() -> None:
    """Let `comfy` be found, and work on the CPU."""
    from environment import find_core

    sys.path.append(str(find_core()))
    arguments, sys.argv = sys.argv, sys.argv[:1]  # some cores read the command line when they are imported
    try:
        import comfy.cli_args
    finally:
        sys.argv = arguments
    comfy.cli_args.args.cpu = True


def _import_pack() -> None:
    spec = importlib.util.spec_from_file_location(
        "infinitetalk", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["infinitetalk"] = module
    spec.loader.exec_module(module)


if str(DEMO) not in sys.path:
    sys.path.append(str(DEMO))
if "comfy" not in sys.modules:
    _import_core()
if "infinitetalk" not in sys.modules:
    _import_pack()
