"""Which run folder a job gets: one to go on with, one that begins with windows of another, or a new one.

All runs of one fingerprint (the same models and settings) are looked at, and of each the windows at its beginning whose
chain hashes are those that the job would have. In the order of how many that are:

- the job's own run, that is the same size, rate and length with no other window in it, is continued in its folder;
- another one, say of a shorter sound, is a donor: a new folder begins with hard links to its windows;
- without any, the job begins in a new folder.

A folder that another job has locked is passed over. Before any of that is believed, the files are read: a window counts
only with its size and CRC-32, and the last one only with the state from which the next can go on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ..durable import crc32_of_file, flush_folder, make_folder
from .environment import FOLDER_VARIABLE, RunLimits
from .file_lock import FileLock
from .manifest import BACKUP_NAME, MANIFEST_NAME, Manifest, RunSpec, load_manifest, next_chain_hash
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

log = logging.getLogger(__name__)

STATE_SHARE = 1 / 8
"""Room for the states that stay, as a share of the frames: 6 % at 9 motion frames, 9 % at 13 (see
`frame_store.KEEP_STATE_EVERY`), with something to spare."""

STATE_FRAMES = 100
"""Room for the states of the last two windows, counted in 8-bit frames: 2 states of 9 frames with 4 bytes per value
are as large as 72, with 13 frames about 100."""


@dataclass(frozen=True)
class RunPlan:
    """The run that a job wants. `window_keys` as in `FrameStore.open`."""

    spec: RunSpec
    window_keys: Sequence[str] | None = None

    def chain_hash(self, window: int, hash_before: str | None) -> str:
        """Chain hash of window `window`, after that of the window before it (None: it is the first)."""
        whole_run = f"{window} of {self.spec.frames} frames"
        key = whole_run if self.window_keys is None else self.window_keys[window]
        return next_chain_hash(hash_before or self.spec.first_chain_hash(), key)

    def common_windows(self, manifest: Manifest) -> int:
        """How many windows at the beginning of `manifest` have the pixels that this plan asks for."""
        chain_hash = None
        common = 0
        for record in manifest.windows[: None if self.window_keys is None else len(self.window_keys)]:
            chain_hash = self.chain_hash(common, chain_hash)
            if record.chain_hash != chain_hash:
                break
            common += 1
        if manifest.spec.frames != self.spec.frames and manifest.complete and common == len(manifest.windows):
            common = max(0, common - 1)  # the last window of a finished video may have been cut to its length
        return common

    def goes_on(self, manifest: Manifest) -> bool:
        """Whether `manifest` is of this very run, so that its folder can be continued."""
        return manifest.spec == self.spec and self.common_windows(manifest) == len(manifest.windows)


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
        _make_room(root, plan, limits)
    candidates = [
        (plan.common_windows(manifest), plan.goes_on(manifest), folder)
        for folder in run_folders(root, plan.spec.fingerprint)
        if (manifest := load_manifest(folder)) is not None and (resume or plan.goes_on(manifest))
    ]
    # The most windows first; among equals a run that can be continued where it is.
    for _, _, folder in sorted(candidates, key=lambda candidate: candidate[:2], reverse=True):
        lock = claim(folder, patient=True)
        if lock is None:
            log.info("The run %s belongs to another job now", folder)
            continue
        try:
            opened = _open_claimed(root, folder, lock, plan, resume)
        except BaseException:
            lock.release()
            raise
        if opened is None or opened[0] != folder:  # of no use, or only a donor
            lock.release()
        if opened is not None:
            return opened
    return _begin(root, plan)


def _make_room(root: Path, plan: RunPlan, limits: RunLimits) -> None:
    """Clear old runs, but none that has windows for `plan`, and finished ones as far as the disk is short."""
    useful: dict[Path, int] = {}  # frames that the plan can have from each
    for folder in run_folders(root, plan.spec.fingerprint):
        manifest = load_manifest(folder)
        if manifest is not None and (windows := plan.common_windows(manifest)):
            useful[folder] = manifest.cut(windows).frames_done
    room_bytes = _needed_bytes(plan.spec, max(useful.values(), default=0))
    clean_old_runs(root, limits.max_age_days, limits.max_total_bytes, keep=useful, room_bytes=room_bytes)


def good_windows(folder: Path, manifest: Manifest) -> int:
    """How many windows at the beginning are whole and can be gone on from. Reads every file once."""
    good = 0
    for window, record in enumerate(manifest.windows):
        size_bytes = record.frames * manifest.spec.frame_bytes
        if not _is_whole(window_path(folder, window), size_bytes, record.crc32):
            break
        good = window + 1
    if good == len(manifest.windows) and manifest.complete:
        return good
    while good > 0 and not _has_state(folder, manifest, good - 1):
        good -= 1
    return good


def check_disk(root: Path, spec: RunSpec, frames_done: int) -> None:
    """Raise UserError when the frames that are still to come do not fit on the disk of `root`."""
    needed_bytes = _needed_bytes(spec, frames_done)
    free_bytes = shutil.disk_usage(root).free
    if free_bytes < needed_bytes:
        old_bytes = sum(folder_bytes(folder) for folder in run_folders(root))
        raise UserError(
            f"The folder for finished frames, {root}, has {free_bytes / 1e9:.2f} GB free but "
            f"{spec.frames - frames_done} frames of "
            f"{spec.width}x{spec.height} need {needed_bytes / 1e9:.2f} GB; free some space there (runs that were "
            f"kept take {old_bytes / 1e9:.2f} GB), or name a folder on another disk in the environment variable "
            f"{FOLDER_VARIABLE}."
        )


def _needed_bytes(spec: RunSpec, frames_done: int) -> int:
    """Disk for the frames that are still to come, and for their states."""
    frames_left = spec.frames - frames_done
    return int((frames_left * (1 + STATE_SHARE) + STATE_FRAMES) * spec.frame_bytes) if frames_left > 0 else 0


def _open_claimed(
    root: Path, folder: Path, lock: FileLock, plan: RunPlan, resume: bool
) -> tuple[Path, FileLock, Manifest] | None:
    """Use a run folder that is locked by us; None when there is nothing in it for this plan."""
    manifest = load_manifest(folder)  # again: it may have grown before we had the lock
    if manifest is None:
        return None
    goes_on = plan.goes_on(manifest)
    wanted = manifest if goes_on else manifest.cut(plan.common_windows(manifest))
    if resume and wanted.windows:
        size_gb = wanted.frames_done * wanted.spec.frame_bytes / 1e9
        log.info("Checking %d finished windows (%.1f GB) in %s", len(wanted.windows), size_gb, folder)
    good = wanted.cut(good_windows(folder, wanted) if resume else 0)
    if lost := len(wanted.windows) - len(good.windows) if resume else 0:
        level = logging.WARNING if goes_on else logging.INFO  # of another run's windows only some have their state
        log.log(level, "%d windows at the end of %s are damaged or cannot be gone on from", lost, folder)
    if goes_on and (good == manifest or not has_readers(folder)):
        check_disk(root, plan.spec, good.frames_done)
        return _go_on(folder, lock, manifest, good)
    if not good.windows:
        return None
    return _take_over(root, folder, plan, good)


def _go_on(folder: Path, lock: FileLock, manifest: Manifest, good: Manifest) -> tuple[Path, FileLock, Manifest]:
    if good != manifest:
        good.save(folder)
    delete_own_files(folder, keep=file_names(folder, good))
    touch_run(folder)
    log.info("Going on in %s: %d of %d frames are there", folder, good.frames_done, good.spec.frames)
    return folder, lock, good


def file_names(folder: Path, manifest: Manifest) -> set[str]:
    """Names of the files that belong to `manifest`, itself included."""
    names = {MANIFEST_NAME, BACKUP_NAME}
    for window, record in enumerate(manifest.windows):
        names.add(window_path(folder, window).name)
        if record.state is not None:
            names.add(state_path(folder, window).name)
    return names


def _begin(root: Path, plan: RunPlan) -> tuple[Path, FileLock, Manifest]:
    check_disk(root, plan.spec, 0)
    manifest = Manifest(plan.spec)
    with _new_folder(root, plan) as (folder, lock):
        manifest.save(folder)
    return folder, lock, manifest


def _take_over(root: Path, donor: Path, plan: RunPlan, good: Manifest) -> tuple[Path, FileLock, Manifest]:
    """A new run that begins with the windows `good` of `donor`; the files are shared where the disk can."""
    check_disk(root, plan.spec, good.frames_done)
    manifest = Manifest(plan.spec, good.windows)
    with _new_folder(root, plan) as (folder, lock):
        for name in sorted(file_names(donor, good) - {MANIFEST_NAME, BACKUP_NAME}):
            _link_or_copy(donor / name, folder / name)
        flush_folder(folder)
        manifest.save(folder)
    log.info("Took over the first %d windows of %s", len(good.windows), donor)
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
        folder.rmdir()
        raise


def _link_or_copy(source: Path, target: Path) -> None:
    """Share the file by a hard link; copy it where the file system has none (FAT, exFAT)."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        with target.open("rb+") as file:
            os.fsync(file.fileno())


def _has_state(folder: Path, manifest: Manifest, window: int) -> bool:
    state = manifest.windows[window].state
    return state is not None and _is_whole(state_path(folder, window), state.size_bytes, state.crc32)


def _is_whole(path: Path, size_bytes: int, crc32: int) -> bool:
    try:
        whole = path.stat().st_size == size_bytes and crc32_of_file(path) == crc32
    except OSError as error:
        log.warning("Cannot read %s: %s", path, error)
        return False
    if not whole:
        log.warning("The file %s is damaged: its size or checksum is not the one in the manifest", path)
    return whole
