"""ComfyUI's folders for what nodes keep on disk."""

from __future__ import annotations

from pathlib import Path

import folder_paths

from ..errors import UserError


def temp_folder() -> Path:
    """ComfyUI's temporary folder, made if it is not there; it is cleared when ComfyUI starts.

    Raises:
        UserError: it cannot be made.
    """
    folder = Path(folder_paths.get_temp_directory())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"ComfyUI's temporary folder {folder} cannot be used ({error.strerror}): make it a folder that may be "
            "written to, or start ComfyUI with --temp-directory."
        ) from error
    return folder


def runs_folder() -> Path:
    """Where the sampler's finished windows lie: in ComfyUI's user folder, or where the user has set."""
    from ..video_io.store import environment

    return environment.runs_folder(Path(folder_paths.get_user_directory()) / "infinitetalk" / "runs")
