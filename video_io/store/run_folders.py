"""Run folders: their names, who uses them, and clearing the old ones.

    root/run-<16 hex digits>-<number>/
        infinitetalk-run.lock       locked by the job that writes; its time is the run's last use
        use-<random>.lock           locked by a reader (a VIDEO object) for as long as it lives
        manifest.json               what is complete (see manifest.py), and its backup
        window-00000.rgb            frames of a window, uint8 [frames, height, width, 3]
        state-00000.safetensors     what the window after it needs
        temporary-<random>.*        images and videos made from the frames, gone with their owner

A folder without that name and that lock file is somebody else's and is never touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ...errors import UserError
from ..durable import make_folder
from ..save.workspace import WORKSPACE_PREFIX
from .environment import DEFAULT_DAYS, FOLDER_VARIABLE, RunLimits
from .file_lock import FileLock
from .manifest import BACKUP_NAME, MANIFEST_NAME, load_manifest

log = logging.getLogger(__name__)

LOCK_NAME = "infinitetalk-run.lock"
RUN_NAME = re.compile(r"run-[0-9a-f]{16}-\d+")
OWN_FILE = re.compile(r"manifest(\.backup)?\.json(\.new)?|window-\d+\.rgb|state-\d+\.safetensors")
READERS_FILE = re.compile(rf"temporary-.+|{re.escape(WORKSPACE_PREFIX)}.+")
SECONDS_PER_DAY = 86400.0


def folder_unusable(folder: Path, error: OSError) -> UserError:
    """The error for a folder that the frames cannot be written to."""
    return UserError(
        f"The folder for finished frames, {folder}, cannot be used ({error.strerror or error}); "
        f"make it writable, or name another one in the environment variable {FOLDER_VARIABLE}."
    )


def run_folders(root: Path, fingerprint: str | None = None) -> list[Path]:
    """The run folders under `root` (those of one fingerprint), by name; symbolic links are left out."""
    if not root.is_dir():
        return []
    stem = "run-" if fingerprint is None else _stem(fingerprint)
    return sorted(
        folder
        for folder in root.iterdir()
        if folder.name.startswith(stem)
        and RUN_NAME.fullmatch(folder.name)
        and folder.is_dir()
        and not folder.is_symlink()
        and (folder / LOCK_NAME).is_file()
    )


def make_run_folder(root: Path, fingerprint: str) -> tuple[Path, FileLock]:
    """A run folder without a run and the lock on it: a new one, or one that a killed job had just made.

    Raises:
        OSError: it cannot be made or locked.
    """
    for number in itertools.count(1):
        folder = root / f"{_stem(fingerprint)}-{number}"
        make_folder(folder)
        names = {path.name for path in folder.iterdir()}
        # A run is passed over without its lock: on shared storage that takes seconds, and there may be thousands.
        if (names and LOCK_NAME not in names) or _has_run(folder) or (lock := claim(folder)) is None:
            continue
        if not _has_run(folder):  # nobody has begun one in the meantime
            delete_own_files(folder)
            return folder, lock
        lock.release()
    raise AssertionError("unreachable: the numbers never end")


def claim(folder: Path, *, patient: bool = False) -> FileLock | None:
    """Lock a run folder for writing; None when another job has it.

    On shared storage a dead job of another machine has it for a while; `patient` waits until that is clear.

    Raises:
        OSError: it cannot be locked.
    """
    try:
        return FileLock.try_acquire(folder / LOCK_NAME, patient=patient)
    except FileNotFoundError:  # a cleaner was faster
        return None


def mark_in_use(folder: Path) -> FileLock:
    """Keep `folder` from being cleared or begun anew for as long as the returned object lives.

    Raises:
        FileNotFoundError: it was removed meanwhile.
    """
    marker = FileLock.try_acquire(folder / f"use-{uuid.uuid4().hex}.lock", contested=False)
    if marker is None:
        raise FileNotFoundError(f"The run folder {folder} was removed while it was being opened")
    return marker.delete_with_holder()


def has_readers(folder: Path) -> bool:
    """Whether somebody still reads `folder`; the markers of dead processes are removed."""
    alive = False
    for path in folder.glob("use-*.lock"):
        marker = FileLock.try_acquire(path, contested=False)
        if marker is None:
            alive = alive or path.exists()
        else:
            marker.release(delete=True)
    return alive


def touch_run(folder: Path) -> None:
    """Note that the run was used now."""
    with contextlib.suppress(OSError):  # only the order of clearing depends on it
        os.utime(folder / LOCK_NAME)


def window_path(folder: Path, window: int) -> Path:
    """File of a window's frames: uint8 [frames, height, width, 3] without a header."""
    return folder / f"window-{window:05d}.rgb"


def state_path(folder: Path, window: int) -> Path:
    """File of what the window after `window` needs."""
    return folder / f"state-{window:05d}.safetensors"


def temporary_path(folder: Path, suffix: str) -> Path:
    """A new name for a file made from the frames; its maker deletes it, else the clearing does."""
    return folder / f"temporary-{uuid.uuid4().hex}{suffix}"


def delete_own_files(folder: Path, keep: Collection[str] = ()) -> None:
    """Delete our files in a run folder that the caller has locked, but for the names in `keep` and the lock.

    What readers made stays while there is one, and is what a killed process left behind when there is none.
    A file that another program holds open (Windows) stays; it is written over or cleared another time.
    """
    readers = has_readers(folder)
    for path in sorted(folder.iterdir()):  # the manifest goes first, so half a run never looks whole
        of_readers = READERS_FILE.fullmatch(path.name)
        if path.name in keep or (readers if of_readers else not OWN_FILE.fullmatch(path.name)):
            continue
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            log.debug("Could not delete %s yet: %s", path, error)


def clean_old_runs(
    root: Path,
    max_age_days: float = DEFAULT_DAYS,
    max_total_bytes: int = RunLimits.max_total_bytes,
    keep: Iterable[Path] = (),
    room_bytes: int = 0,
) -> int:
    """Clear runs that are too old, then finished and then unfinished ones until the rest is small enough.

    Never a run that a job writes or a VIDEO object reads, never one in `keep`, never somebody else's folder.
    Files that cannot be deleted now are left for another time.

    Args:
        root: the folder of all runs.
        max_age_days: since the last use.
        max_total_bytes: of all runs together.
        keep: folders to leave; a job that is about to open its run names what it would go on with, which may be old.
        room_bytes: finished runs go, too, until so much is free on the disk; unfinished ones hold work and stay.

    Returns:
        The bytes freed.
    """
    kept = {Path(folder).resolve() for folder in keep}
    sizes = {folder: folder_bytes(folder) for folder in run_folders(root)}
    total = sum(sizes.values())
    freed = 0
    for unfinished, _, folder in sorted((*_clearing_order(folder), folder) for folder in sizes):
        too_much = total > max_total_bytes or _age_days(folder) > max_age_days
        if folder.resolve() in kept or not (too_much or (not unfinished and _is_short_of(room_bytes, root))):
            continue
        try:
            removed = _remove_run(folder)
        except OSError as error:  # another server is clearing too, or Windows has a file of it open
            log.debug("Could not clear %s yet: %s", folder, error)
            continue
        if removed:
            total -= sizes[folder]
            freed += sizes[folder]
    return freed


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in `folder`; a file that several runs share counts in equal parts."""
    total = 0
    for path in _files(folder):
        with contextlib.suppress(OSError):
            status = path.stat()
            total += status.st_size // max(1, status.st_nlink)
    return total


def _stem(fingerprint: str) -> str:
    return f"run-{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}"


def _has_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (MANIFEST_NAME, BACKUP_NAME))


def _files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (path for path in folder.iterdir() if not path.is_dir())


def _last_use(folder: Path) -> float:
    with contextlib.suppress(OSError):
        return (folder / LOCK_NAME).stat().st_mtime
    return time.time()


def _age_days(folder: Path) -> float:
    """Days since the last use. A time in the future (the clock went back) counts as now, from now on."""
    age_seconds = time.time() - _last_use(folder)
    if age_seconds < 0:
        touch_run(folder)
    return max(0.0, age_seconds) / SECONDS_PER_DAY


def _clearing_order(folder: Path) -> tuple[bool, float]:
    """Finished runs before unfinished ones (whose work would be lost), the least recently used first."""
    manifest = load_manifest(folder)
    return manifest is not None and not manifest.complete, _last_use(folder)


def _is_short_of(room_bytes: int, root: Path) -> bool:
    return room_bytes > 0 and shutil.disk_usage(root).free < room_bytes


def _remove_run(folder: Path) -> bool:
    """Delete a run that nobody uses; whether its frames are gone."""
    lock = claim(folder)
    if lock is None:
        return False
    if has_readers(folder):
        lock.release()
        return False
    delete_own_files(folder)
    lock.release(delete=True)
    with contextlib.suppress(OSError):  # a file that is still open, or one that is not ours
        folder.rmdir()
    log.info("Cleared the old run %s", folder)
    return True
