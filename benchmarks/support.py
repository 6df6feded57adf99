"""What the benchmarks share: the environment, ComfyUI and the pack, a server, the command line, tables and figures.

A benchmark imports this module before all that is not Python's own, and goes into the project's environment first:

    import support

    support.enter_environment()

    import numpy as np
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

from in_process import import_core, load_pack

if TYPE_CHECKING:
    from comfy_server import ComfyServer

__all__ = ["ROOT", "arguments", "enter_environment", "import_core", "load_pack", "server", "table", "write_json"]


def enter_environment() -> None:
    """Go on in the environment of the tests, which is made where it is missing, with threads that wait without work.

    Returns only in that environment's interpreter; elsewhere this process is replaced by one with the same command
    line. Call it before torch is imported, which reads the threads' setting once.
    """
    import environment
    from comfy_server import PATIENT_THREADS

    for name, value in PATIENT_THREADS.items():
        os.environ.setdefault(name, value)
    files = (ROOT / "demo" / "requirements.txt", ROOT / "tests" / "requirements.txt")
    try:
        environment.rerun_inside(environment.prepare(*files))
    except environment.SetupError as error:
        sys.exit(str(error))


def server(base: Path) -> ComfyServer:
    """A ComfyUI of its own on the folder `base`, to be used as a context manager."""
    from comfy_server import ComfyServer

    return ComfyServer.here(base)


def arguments(description: str) -> argparse.ArgumentParser:
    """The command line of a benchmark, described by its docstring; `--json FILE` is there already."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser


def write_json(file: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures that `--json` asks for; nothing without a file."""
    if file is not None:
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under titles, the first column to the left, the others to the right."""
    lines = [[str(cell) for cell in row] for row in (titles, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def aligned(line: list[str]) -> str:
        first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        return "  ".join([line[0].ljust(len(first)), *others])

    return "\n".join(map(aligned, lines))
