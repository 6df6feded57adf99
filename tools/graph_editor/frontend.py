"""The newest graph editor, for cores that came with an older one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

NEWEST = "1.58.1"
"""Of `comfyui-frontend-package`; raise it when a newer one is out."""


def download(cache: Path) -> Path:
    """Folder of the newest editor's files, as ComfyUI's `--front-end-root` takes it; it is downloaded once.

    Raises:
        RuntimeError: it cannot be had.
    """
    folder = cache / f"frontend-{NEWEST}"
    static = folder / "comfyui_frontend_package" / "static"
    if static.is_dir():
        return static
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(partial / "wheel")]
    done = subprocess.run([*command, f"comfyui-frontend-package=={NEWEST}"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"The newest graph editor cannot be downloaded: {done.stderr.strip()}")
    (wheel,) = (partial / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(partial)
    partial.rename(folder)
    return static
