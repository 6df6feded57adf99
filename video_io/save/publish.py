"""A finished file gets its final name, in one step and never in place of another."""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path

from ..durable import flush_file, flush_folder, patiently
from .file_name import Target


def publish(finished: Path, target: Target) -> Path:
    """Move a finished file to the target's next free name and return that; an existing file is never replaced.

    It is on the disk before it has its name, and its name is before anybody hears of it.

    Raises:
        OSError: the file system refuses.
    """
    patiently(lambda: flush_file(finished))
    counter = target.next_counter()
    while True:
        path = target.path(counter)
        try:
            patiently(partial(_move_without_replacing, finished, path))
        except FileExistsError:
            counter += 1
        else:
            try:
                flush_folder(target.folder)
            except OSError:
                path.unlink()
                raise
            return path


def _move_without_replacing(source: Path, destination: Path) -> None:
    """Rename in one step that fails if `destination` exists (FileExistsError), as two servers may race."""
    if os.name == "nt":
        source.rename(destination)  # Windows never replaces
        return
    try:
        os.link(source, destination)
    except FileExistsError:
        raise
    except OSError:  # no hard links here (exFAT, some network drives): claim the name, then replace the claim
        with destination.open("xb"):
            pass
        try:
            source.replace(destination)
        except OSError:
            destination.unlink()
            raise
    else:
        with contextlib.suppress(OSError):  # it goes with its folder
            source.unlink()
