"""Checks the types of the library with mypy: `python .ci/check_types.py`, in the environment of the tests.

The project's root is itself the package, in a folder of any name. mypy gets it under the pack's name, through a link in
a folder of its own, so that the result does not depend on where the checkout lies or what lies beside it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "demo"))

import environment  # noqa: E402

NAME = "infinitetalk"
FOLDERS = ("audio", "nodes", "sync", "video_io", "wanvideo")
MODULES = ("errors", "spool", "timebase", "weight_files")


def main() -> int:
    """Run mypy; returns its exit code."""
    with tempfile.TemporaryDirectory() as parent:
        environment.link_pack(Path(parent), NAME)
        command = [sys.executable, "-I", "-m", "mypy"]
        command += ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".cache" / "mypy")]
        for folder in FOLDERS:
            command += ["-p", f"{NAME}.{folder}"]
        for module in MODULES:
            command += ["-m", f"{NAME}.{module}"]
        return subprocess.run([*command, *sys.argv[1:]], cwd=parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
