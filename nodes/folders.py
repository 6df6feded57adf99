"""Where nodes keep what is too large for memory."""

from __future__ import annotations

from pathlib import Path

import folder_paths


def temp_folder() -> Path:
    """ComfyUI's temporary folder, made if it is not there; it is cleared when ComfyUI starts."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder
