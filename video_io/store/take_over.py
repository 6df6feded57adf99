"""Windows that other runs have finished, by hard links: no frame is copied where the disk knows links.

Whoever writes, this job or a part of its video on another machine, names a window in the manifest when its files are
whole, and never changes them again. So other runs are read without a lock, also while they grow. A run may be cleared
at the same moment: then the link fails, or it was made in time and holds the files. Every file is checked against its
size and CRC-32 before it counts.
"""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from ..durable import crc32_of_file, flush_file, flush_folder
from .manifest import Manifest, RunSpec, WindowRecord, load_manifest
from .run_folders import run_folders, state_path, window_path
from .run_plan import RunPlan

log = logging.getLogger(__name__)


@dataclass
class Place:
    """Where a window is to be had: a run folder, the window's number in it, and its record."""

    folder: Path
    window: int
    record: WindowRecord


def windows_elsewhere(root: Path, own: Path | None, plan: RunPlan, strangers: set[Path]) -> dict[str, list[Place]]:
    """All finished windows of the same fingerprint under `root` but in the folder `own`, by their chain hash."""
    found: dict[str, list[Place]] = {}
    for folder in run_folders(root, plan.spec.fingerprint):
        manifest = None if folder == own or folder in strangers else load_manifest(folder)
        if manifest is None:
            continue
        if manifest.complete and plan.known_by is not None and not plan.is_related(manifest):
            strangers.add(folder)
            continue
        for window, record in enumerate(manifest.windows):
            found.setdefault(record.chain_hash, []).append(Place(folder, window, record))
    return found


def take_over(root: Path, folder: Path, plan: RunPlan, manifest: Manifest, strangers: set[Path]) -> Manifest:
    """Link the windows that come next from other runs into the locked run `folder`, as far as they can be gone on from.

    Args:
        root: the folder of all runs.
        folder: the run, locked by the caller.
        plan: what it is to hold.
        manifest: what it holds.
        strangers: finished runs of other videos, which are not read again; those that are found are added. A shared
            storage may hold thousands, and this is asked after every window.

    Returns:
        The manifest with them, not saved; the one that was given if there are none.

    Raises:
        OSError: the disk does not take them.
    """
    found = windows_elsewhere(root, folder, plan, strangers)
    begin = len(manifest.windows)
    while stretch := _stretch(plan, manifest, found):
        records = []
        for window, places in enumerate(stretch, begin):
            plan.check()
            record = _take(folder, window, places, manifest.spec)
            if record is None:
                break  # a file is damaged or gone, and not among the places any more: look again
            records.append(record)
        taken = replace(manifest, windows=(*manifest.windows, *records))
        if len(records) == len(stretch) and _can_go_on(plan, taken):
            flush_folder(folder)
            log.info("Took over the windows %d to %d of other runs into %s", begin + 1, len(taken.windows), folder)
            return taken
        if len(records) == len(stretch):
            for place in stretch[-1]:  # its state is damaged or gone
                place.record = replace(place.record, state=None)
    return manifest


def _can_go_on(plan: RunPlan, manifest: Manifest) -> bool:
    """Whether the window after the last one can be made, or there is none."""
    return manifest.complete or plan.begins_chain(len(manifest.windows)) or manifest.windows[-1].state is not None


def _stretch(plan: RunPlan, manifest: Manifest, found: dict[str, list[Place]]) -> list[list[Place]]:
    """Where each of the next windows is to be had, up to the last one that can be gone on from."""
    stretch: list[list[Place]] = []
    usable = 0
    reached = manifest
    while not reached.complete:
        window = len(reached.windows)
        chain_hash = plan.chain_hash(window, reached.windows[-1].chain_hash if window else None)
        places = found.get(chain_hash or "", [])
        if not places:
            break
        stretch.append(places)
        best = next((place.record for place in places if place.record.state), places[0].record)
        reached = replace(reached, windows=(*reached.windows, best))
        if _can_go_on(plan, reached):
            usable = len(stretch)
    return stretch[:usable]


def _take(folder: Path, window: int, places: list[Place], spec: RunSpec) -> WindowRecord | None:
    """Link one window, with its state where it is kept; places that turn out bad are taken out of the list."""
    places.sort(key=lambda place: place.record.state is None)
    while places:
        place, record, state = places[0], places[0].record, places[0].record.state
        frames = window_path(place.folder, place.window), window_path(folder, window)
        if _link_whole(*frames, record.frames * spec.frame_bytes, record.crc32):
            motion = state_path(place.folder, place.window), state_path(folder, window)
            if state is not None and not _link_whole(*motion, state.size_bytes, state.crc32):
                state = None
            return replace(record, state=state)
        places.pop(0)
    return None


def _link_whole(source: Path, target: Path, size_bytes: int, crc32: int) -> bool:
    """Share a file by a hard link, or copy it; whether it is there and whole."""
    try:
        target.unlink(missing_ok=True)
        link_or_copy(source, target)
    except FileNotFoundError:  # cleared, or a state that its run needs no more
        return False
    if is_whole(target, size_bytes, crc32):
        return True
    target.unlink(missing_ok=True)
    return False


def link_or_copy(source: Path, target: Path) -> None:
    """Share the file by a hard link; copy it where the file system has none (FAT, exFAT).

    Raises:
        OSError: neither works.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)
        flush_file(target)


def is_whole(path: Path, size_bytes: int, crc32: int) -> bool:
    """Whether a file has this size and checksum; a line in the log if not."""
    try:
        whole = path.stat().st_size == size_bytes and crc32_of_file(path) == crc32
    except OSError as error:
        log.warning("Cannot read %s: %s", path, error)
        return False
    if not whole:
        log.warning("The file %s is damaged: its size or checksum is not the one in the manifest", path)
    return whole
