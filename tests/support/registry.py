"""The Registry's zip, made as `comfy node pack` makes it: what git tracks, without what .comfyignore names."""

from __future__ import annotations

import subprocess
from pathlib import Path

from environment import ROOT


def packed_files() -> list[str]:
    """Paths of the files in the zip, with slashes, relative to the root."""
    ignored = set(tracked_files("--ignored", "--exclude-from=.comfyignore"))  # the same pattern language as .gitignore
    return sorted(file for file in tracked_files() if file not in ignored)


def unpack(custom_nodes: Path, name: str) -> Path:
    """What is in a `custom_nodes` folder after the Manager has unpacked the zip into the folder `name`."""
    folder = custom_nodes / name
    for file in packed_files():
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / file).read_bytes())
    return folder


def tracked_files(*options: str) -> list[str]:
    """Files that git tracks and that are there; `options` are those of `git ls-files`."""
    command = ["git", "-c", f"safe.directory={ROOT.as_posix()}", "ls-files", "-z", "--cached", *options]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()
    return [file for file in listed.split("\0") if file and (ROOT / file).is_file()]
