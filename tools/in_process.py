"""ComfyUI and the pack in this process: the one place that loads them outside a server.

The repository's root is the package, and it holds a `nodes` folder like ComfyUI's own `nodes` module: so the root never
goes on `sys.path`, and the pack is loaded by path under one name. Importing this module makes those of `demo/` and
`tools/` importable.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACK = "infinitetalk"

for _folder in (ROOT / "demo", ROOT / "tools"):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))  # behind everything else, so that they hide nothing


def load_pack() -> None:
    """Import the repository as the package `infinitetalk`, whatever its folder is called (once)."""
    if PACK in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)


def import_core(base_directory: Path | None = None, *, cpu: bool = True) -> Path:
    """Make ComfyUI's modules (`comfy`, `folder_paths`, `nodes` ...) importable.

    Args:
        base_directory: where core looks for models, inputs and outputs; its own folder if None.
        cpu: work on the CPU; else on the device that core chooses.

    Returns:
        Folder of ComfyUI: `COMFYUI_PATH` or the cached one.
    """
    from environment import find_core

    core = find_core()
    if str(core) not in sys.path:
        sys.path.insert(0, str(core))
    arguments, sys.argv = sys.argv, sys.argv[:1]  # some cores read the command line when they are imported
    try:
        import comfy.cli_args
        import utils.install_util  # noqa: F401  (core's `nodes` puts comfy/ in front, whose utils.py would hide it)
    finally:
        sys.argv = arguments
    comfy.cli_args.args.cpu = cpu
    if base_directory is not None:
        comfy.cli_args.args.base_directory = str(base_directory)
    return core
