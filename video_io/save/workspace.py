"""The hidden folder beside the target in which a file is made, and what killed saves left of theirs."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError

log = logging.getLogger(__name__)

WORKSPACE_PREFIX = ".infinitetalk-save-"
LEFTOVER_AGE_SECONDS = 6 * 3600


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder` for files in the making; it is removed at the end, whatever happens.

    It lies on the target's own file system, so a finished file moves out of it in one step. What a killed
    process left behind is removed first, once it is `LEFTOVER_AGE_SECONDS` old. It has the rights of any other folder
    there, which `tempfile.mkdtemp` would not give it: on Windows the finished file would keep those of a folder for
    its owner alone (Python 3.12.4 and newer), and a folder that takes no files would be tried for ever.

    Raises:
        UserError: `folder` cannot be written to.
    """
    remove_leftovers(folder)
    path = folder / f"{WORKSPACE_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        path.mkdir()
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be written to ({error.strerror}): make it writable, free some space or "
            "choose another filename_prefix."
        ) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, onerror=_log_leftover)


def remove_leftovers(folder: Path, age_seconds: float = LEFTOVER_AGE_SECONDS) -> None:
    """Remove workspaces in `folder` in which nothing was written for `age_seconds`."""
    try:
        found = [*folder.glob(f"{WORKSPACE_PREFIX}*")]
    except OSError as error:
        log.warning("Leftovers in %s cannot be looked for (%s)", folder, error.strerror)
        return
    for path in found:
        try:
            newest = max(entry.stat().st_mtime for entry in (path, *path.iterdir()))
        except OSError:
            continue  # its own process is just removing it
        if time.time() - newest > age_seconds:
            log.info("Removing %s, left behind by a save that did not finish", path)
            shutil.rmtree(path, onerror=_log_leftover)


def _log_leftover(function: object, path: str, error: object) -> None:
    log.warning("%s could not be removed; a later save will try again", path)
