"""Which run folder a job gets, and what is in it by then.

All runs of one fingerprint (the same models and settings) are looked at. The job's own run, that is the same size, rate
and length with no other window in it, is continued in its folder; where there are several, the one with the most
windows. A folder that another job has locked is passed over. Without one, the job begins in a new folder. What comes
next, and other runs have finished, is linked into it (see `take_over.py`).

Before any of that is believed, the files are read: a window counts only with its size and CRC-32, and the last one only
with the state from which the next can go on, if that needs one.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from ..durable import make_folder
from .environment import FOLDER_VARIABLE, RunLimits
from .file_lock import FileLock
from .manifest import BACKUP_NAME, MANIFEST_NAME, Manifest, load_manifest
from .run_folders import (
    claim,
    clean_old_runs,
    delete_own_files,
    folder_bytes,
    has_readers,
    make_run_folder,
    run_folders,
    state_path,
    touch_run,
    window_path,
)
from .run_plan import RunPlan
from .take_over import is_whole, take_over

log = logging.getLogger(__name__)


def open_run(
    root: Path, plan: RunPlan, *, resume: bool, limits: RunLimits | None = None
) -> tuple[Path, FileLock, Manifest]:
    """The folder for `plan` under `root`, locked, with what is already done in it.

    Args:
        root: the folder of all runs.
        plan: the run that is wanted.
        resume: False takes nothing over, and empties the job's own run.
        limits: old runs beyond them are cleared first; None clears nothing.

    Returns:
        The folder, the lock on it, and the manifest of the windows that are done.

    Raises:
        UserError: the disk has too little space.
        OSError: the folder cannot be used.
    """
    make_folder(root)
    if limits is not None:
        _make_room(root, plan, limits, resume)
    candidates = [
        (len(manifest.windows), folder)
        for folder in run_folders(root, plan.spec.fingerprint)
        if (manifest := load_manifest(folder)) is not None and plan.goes_on(manifest)
    ]
    for _, folder in sorted(candidates, key=lambda candidate: candidate[0], reverse=True):
        lock = claim(folder, patient=True)
        if lock is None:
            log.info("The run %s belongs to another job now", folder)
            continue
        try:
            opened = _open_claimed(root, folder, lock, plan, resume)
        except BaseException:
            lock.release()
            raise
        if opened is not None:
            return opened
        lock.release()
    return _begin(root, plan, resume)


def _make_room(root: Path, plan: RunPlan, limits: RunLimits, resume: bool) -> None:
    """Clear old runs, but none that has windows for `plan` or the video that it is a share of, and finished ones as far
    as the disk is short."""
    useful: list[Path] = []
    frames_there: dict[str, int] = {}  # of every window that the plan can have, or whose space it gets
    for folder in run_folders(root, plan.spec.fingerprint):
        manifest = load_manifest(folder)
        if manifest is None:
            continue
        wanted = plan.wanted(manifest)
        if resume or (plan.goes_on(manifest) and not has_readers(folder)):  # else it begins beside these windows
            frames_there |= {record.chain_hash: record.frames for record in wanted}
        if wanted or plan.is_related(manifest):
            useful.append(folder)
    room_bytes = plan.bytes_left(len(frames_there), sum(frames_there.values()))
    clean_old_runs(root, limits.max_age_days, limits.max_total_bytes, keep=useful, room_bytes=room_bytes)


def good_windows(folder: Path, manifest: Manifest, plan: RunPlan) -> int:
    """How many windows at the beginning are whole and can be gone on from. Reads every file once."""
    good = 0
    for window, record in enumerate(manifest.windows):
        plan.check()
        size_bytes = record.frames * manifest.spec.frame_bytes
        if not is_whole(window_path(folder, window), size_bytes, record.crc32):
            break
        good = window + 1
    if good == len(manifest.windows) and manifest.complete:
        return good
    while not plan.begins_chain(good) and not _has_state(folder, manifest, good - 1):
        good -= 1
    return good


def check_disk(root: Path, plan: RunPlan, done: Manifest) -> None:
    """Raise UserError when the frames that are still to come, and their states, do not fit on the disk of `root`."""
    spec = plan.spec
    needed_bytes = plan.bytes_left(len(done.windows), done.frames_done)
    free_bytes = shutil.disk_usage(root).free
    if free_bytes < needed_bytes:
        old_bytes = sum(folder_bytes(folder) for folder in run_folders(root))
        raise UserError(
            f"The folder for finished frames, {root}, has {free_bytes / 1e9:.2f} GB free but "
            f"{spec.frames - done.frames_done} frames of "
            f"{spec.width}x{spec.height} need {needed_bytes / 1e9:.2f} GB; free some space there (runs that were "
            f"kept take {old_bytes / 1e9:.2f} GB), or name a folder on another disk in the environment variable "
            f"{FOLDER_VARIABLE}."
        )


def _open_claimed(
    root: Path, folder: Path, lock: FileLock, plan: RunPlan, resume: bool
) -> tuple[Path, FileLock, Manifest] | None:
    """Go on in a run folder that is locked by us; None when it is not this run's any more, or must stay as it is."""
    manifest = load_manifest(folder)  # again: it may have grown before we had the lock
    if manifest is None or not plan.goes_on(manifest):
        return None
    if resume and manifest.windows:
        size_gb = manifest.frames_done * manifest.spec.frame_bytes / 1e9
        log.info("Checking %d finished windows (%.1f GB) in %s", len(manifest.windows), size_gb, folder)
    good = manifest.cut(good_windows(folder, manifest, plan) if resume else 0)
    if lost := len(manifest.windows) - len(good.windows) if resume else 0:
        log.warning("%d windows at the end of %s are damaged or cannot be gone on from", lost, folder)
    if good != manifest and has_readers(folder):
        return None
    if good != manifest:
        good.save(folder)
    delete_own_files(folder, keep=file_names(folder, good))
    now = take_over(root, folder, plan, good, set()) if resume and not good.complete else good
    if now != good:
        now.save(folder)
    check_disk(root, plan, now)
    touch_run(folder)
    log.info("Going on in %s: %d of %d frames are there", folder, now.frames_done, now.spec.frames)
    return folder, lock, now


def file_names(folder: Path, manifest: Manifest) -> set[str]:
    """Names of the files that belong to `manifest`, itself included."""
    names = {MANIFEST_NAME, BACKUP_NAME}
    for window, record in enumerate(manifest.windows):
        names.add(window_path(folder, window).name)
        if record.state is not None:
            names.add(state_path(folder, window).name)
    return names


def _begin(root: Path, plan: RunPlan, resume: bool) -> tuple[Path, FileLock, Manifest]:
    with _new_folder(root, plan) as (folder, lock):
        manifest = Manifest(plan.spec)
        if resume:
            manifest = take_over(root, folder, plan, manifest, set())
        check_disk(root, plan, manifest)
        manifest.save(folder)
    return folder, lock, manifest


@contextlib.contextmanager
def _new_folder(root: Path, plan: RunPlan) -> Iterator[tuple[Path, FileLock]]:
    """A new run folder, locked; it is removed again when the block does not succeed in filling it."""
    folder, lock = make_run_folder(root, plan.spec.fingerprint)
    try:
        yield folder, lock
    except BaseException:
        delete_own_files(folder)
        lock.release(delete=True)
        with contextlib.suppress(OSError):  # a file that is still open, or one that is not ours
            folder.rmdir()
        raise


def _has_state(folder: Path, manifest: Manifest, window: int) -> bool:
    state = manifest.windows[window].state
    return state is not None and is_whole(state_path(folder, window), state.size_bytes, state.crc32)
