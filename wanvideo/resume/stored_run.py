"""A job's windows into the frame store: what is on disk already is not made again, an error loses no finished window.

The store is opened with what decides the pixels (`fingerprint.py`), so it holds the windows that an earlier run of the
same job has finished. The rest is sampled one window at a time, and each is on disk before the next one begins: memory
holds one window, and whatever ends the process costs no more than the window in the making.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import comfy.model_management as memory

from ...errors import UserError
from ...video_io.pixels import to_8_bit
from ...video_io.store.environment import run_limits
from ...video_io.store.frame_store import FrameStore
from ...video_io.store.growing_video import GrowingVideo
from ..model.vae_tiles import is_out_of_memory
from ..sampling import FinishedWindow, Observer, WindowLoop, stop_if_interrupted
from .fingerprint import job_fingerprint
from .share import Share

log = logging.getLogger(__name__)

Say = Callable[[str], None]  # shows the user a sentence


def sample_to_disk(
    share: Share,
    runs: Path,
    *,
    resume: bool,
    say: Say,
    observer: Callable[[], Observer],
    growing: GrowingVideo | None = None,
) -> FrameStore:
    """Sample all windows of a job, or of its share, that are still to be made.

    Args:
        share: the windows.
        runs: folder of all runs.
        resume: False makes everything anew.
        say: is given a sentence when windows are taken over, and when the user stops the job.
        observer: makes the observer of the sampling; called if a window is to be made.
        growing: a video to watch meanwhile, which is given each window when it is finished.

    Returns:
        The store with every frame of the share.

    Raises:
        UserError: something failed in the middle; the sentence says what is kept and how to go on. An error in the
            first window stays what it is.
    """
    height, width = share.job.pictures.size
    with FrameStore.open(
        runs,
        job_fingerprint(share.job),
        width=width,
        height=height,
        frame_rate=share.job.embeds.frame_rate,
        frames=share.frames,
        resume=resume,
        window_keys=share.keys(),
        limits=run_limits(),
        check=stop_if_interrupted,
    ) as store:
        done, total = store.windows_done, len(share.own)
        if done:
            ending = ": all done" if store.complete else ""
            say(f"Resumed at window {min(done + 1, total)} of {total}{ending}")
        if not store.complete:
            if growing:
                with _stop_is_told(store, total, say, growing):
                    growing.follow(store, stop_if_interrupted)
            loop = share.job.loop(observer())
            while not store.complete:
                _sample_until_others_have_more(share, store, loop, say, growing, take_over=resume)
        return store


def _sample_until_others_have_more(
    share: Share, store: FrameStore, loop: WindowLoop, say: Say, growing: GrowingVideo | None, *, take_over: bool
) -> None:
    """Sample window after window into the store, until all is done or another run has what comes next."""
    total = len(share.own)
    state = store.state()
    windows = loop.run(share.own[store.windows_done :], None if state is None else state["motion"])
    for finished in _explained(windows, store, total, say, growing):
        store.append(to_8_bit(finished.frames), {"motion": finished.motion})
        log.info("InfiniteTalk: window %d of %d is done", store.windows_done, total)
        del finished  # its frames are on disk
        taken = store.take_over() if take_over else 0
        if growing:
            growing.follow(store)
        if taken:
            say(f"Took over {taken} windows that another job has finished: {store.windows_done} of {total} are done")
            return


def _explained(
    windows: Iterator[FinishedWindow], store: FrameStore, total: int, say: Say, growing: GrowingVideo | None
) -> Iterator[FinishedWindow]:
    """The windows; an error while one is made names those that are kept, and where they can be watched."""
    try:
        with _stop_is_told(store, total, say, growing):
            yield from windows
    except memory.InterruptProcessingException:  # is an Exception on older cores
        raise
    except Exception as error:
        if not store.windows_done:
            raise
        file = f" What is finished is in {growing.path}." if growing and growing.has_all_of(store) else ""
        raise UserError(_reason(error, store, total) + file) from error


@contextlib.contextmanager
def _stop_is_told(store: FrameStore, total: int, say: Say, growing: GrowingVideo | None) -> Iterator[None]:
    """Say what is kept when the user stops the job inside of the block."""
    try:
        yield
    except memory.InterruptProcessingException:
        if store.windows_done:
            file = "growing_video makes a file of them"
            if growing and growing.has_all_of(store):
                file = f"{growing.path} has them"
            say(f"Stopped: {_kept(store, total)}, queue the same graph again to go on; {file}")
        raise


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
