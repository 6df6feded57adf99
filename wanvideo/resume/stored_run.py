"""A job's windows into the frame store: what is on disk already is not made again, an error loses no finished window.

The store is opened with what decides the pixels (`fingerprint.py`), so it holds the windows that an earlier run of the
same job has finished. The rest is sampled one window at a time, and each is on disk before the next one begins: memory
holds one window, and whatever ends the process costs no more than the window in the making.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import comfy.model_management as memory

from ...errors import UserError
from ...video_io.pixels import to_8_bit
from ...video_io.store.environment import run_limits
from ...video_io.store.frame_store import FrameStore
from ...video_io.store.growing_video import GrowingVideo
from ..job import TalkingVideoJob
from ..model.vae_tiles import is_out_of_memory
from ..sampling import FinishedWindow, Observer
from .fingerprint import job_fingerprint, window_keys

log = logging.getLogger(__name__)

Say = Callable[[str], None]  # shows the user a sentence


def sample_to_disk(
    job: TalkingVideoJob,
    runs: Path,
    *,
    resume: bool,
    say: Say,
    observer: Callable[[int], Observer],
    growing: GrowingVideo | None = None,
) -> FrameStore:
    """Sample all windows of a job that are still to be made.

    Args:
        job: the video.
        runs: folder of all runs.
        resume: False makes everything anew.
        say: is given a sentence when windows are taken over, and when the user stops the job.
        observer: makes the observer of the sampling, given how many windows are done; called if one is to be made.
        growing: a video to watch meanwhile, which is given each window when it is finished.

    Returns:
        The store with every frame of the video.

    Raises:
        UserError: something failed in the middle; the sentence says what is kept and how to go on. An error in the
            first window stays what it is.
    """
    height, width = job.pictures.size
    with FrameStore.open(
        runs,
        job_fingerprint(job),
        width=width,
        height=height,
        frame_rate=job.embeds.frame_rate,
        frames=job.embeds.frames,
        resume=resume,
        window_keys=window_keys(job),
        limits=run_limits(),
    ) as store:
        done, total = store.windows_done, len(job.windows)
        if done:
            ending = ": all done" if store.complete else ""
            say(f"Resumed at window {min(done + 1, total)} of {total}{ending}")
        if not store.complete:
            follow = growing.follow if growing else _ignore
            follow(store)
            state = store.state()
            windows = job.run(observer(done), done, None if state is None else state["motion"])
            for finished in _explained(windows, store, total, say, growing):
                store.append(to_8_bit(finished.frames), {"motion": finished.motion})
                follow(store)
                log.info("InfiniteTalk: window %d of %d is done", finished.window.index + 1, total)
                del finished  # its frames are on disk
        return store


def _ignore(store: FrameStore) -> None:
    """Nobody watches."""


def _explained(
    windows: Iterator[FinishedWindow], store: FrameStore, total: int, say: Say, growing: GrowingVideo | None
) -> Iterator[FinishedWindow]:
    """The windows; an error while one is made names those that are kept, and where they can be watched."""
    try:
        yield from windows
    except memory.InterruptProcessingException:
        if store.windows_done:
            file = f"{growing.path} has them" if growing and growing.path else "growing_video makes a file of them"
            say(f"Stopped: {_kept(store, total)}, queue the same graph again to go on; {file}")
        raise
    except Exception as error:
        if not store.windows_done:
            raise
        file = f" What is finished is in {growing.path}." if growing and growing.path else ""
        raise UserError(_reason(error, store, total) + file) from error


def _reason(error: Exception, store: FrameStore, total: int) -> str:
    """What happened in the middle, what is kept and how to go on."""
    window = store.windows_done + 1
    what = str(error).strip().rstrip(".") if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    if is_out_of_memory(error):
        memory.unload_all_models()  # as core does after an error of this kind
        memory.soft_empty_cache()
        return (
            f"The memory was not enough for window {window} of {total} ({type(error).__name__}); "
            f"{_kept(store, total)}, so close other programs that use it and queue the same graph again to go on."
        )
    return f"{what} (window {window} of {total}); {_kept(store, total)}, so queue the same graph again to go on."


def _kept(store: FrameStore, total: int) -> str:
    kept = store.windows_kept
    if kept < store.windows_done:
        return f"only {kept} of the {store.windows_done} finished windows are left in {store.folder}"
    return f"the {kept} finished windows of {total} are kept" if kept > 1 else f"the finished window of {total} is kept"
