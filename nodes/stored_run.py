"""Sampling into the frame store: what is on disk already is not made again, and an error loses no finished window."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import comfy.model_management as memory
import folder_paths

from ..errors import UserError
from ..video_io.store.frame_store import FrameStore
from ..video_io.store.settings import run_limits, runs_folder
from .feedback import say

if TYPE_CHECKING:
    from ..wanvideo.job import TalkingVideoJob
    from ..wanvideo.sampling import FinishedWindow

log = logging.getLogger(__name__)


def sample_to_disk(job: TalkingVideoJob, node_id: str | None, *, resume: bool) -> FrameStore:
    """Sample all windows that are still to be made; each is on disk before the next one begins.

    Raises:
        UserError: something failed in the middle; the sentence says what is kept and how to go on. An error in the
            first window stays what it is.
    """
    from ..wanvideo.resume.fingerprint import job_fingerprint, window_keys
    from ..wanvideo.sampling import to_8_bit
    from .progress import SamplingProgress

    height, width = job.pictures.size
    with FrameStore.open(
        runs_folder(Path(folder_paths.get_user_directory()) / "infinitetalk" / "runs"),
        job_fingerprint(job),
        width=width,
        height=height,
        fps=job.embeds.fps,
        frames=job.embeds.frames,
        resume=resume,
        window_keys=window_keys(job),
        limits=run_limits(),
    ) as store:
        done, total = store.windows_done, len(job.windows)
        if done:
            ending = ": all done" if store.complete else ""
            say(node_id, f"Resumed at window {min(done + 1, total)} of {total}{ending}")
        if not store.complete:
            progress = SamplingProgress(node_id, job.model, total, job.settings.steps, done)
            state = store.state()
            windows = job.run(progress, done, state and state["motion"])
            for finished in _explained(windows, store, total, node_id):
                store.append(to_8_bit(finished.frames), {"motion": finished.motion})
                log.info("InfiniteTalk: window %d of %d is done", finished.window.index + 1, total)
                del finished  # its frames are on disk
        return store


def _explained(
    windows: Iterator[FinishedWindow], store: FrameStore, total: int, node_id: str | None
) -> Iterator[FinishedWindow]:
    """The windows; an error while one is made names those that are kept."""
    try:
        yield from windows
    except memory.InterruptProcessingException:
        if store.windows_done:
            say(node_id, f"Stopped: {_kept(store, total)}, queue the same graph again to go on")
        raise
    except Exception as error:
        if not store.windows_done:
            raise
        raise UserError(_reason(error, store, total)) from error


def _reason(error: Exception, store: FrameStore, total: int) -> str:
    """What happened in the middle, what is kept and how to go on."""
    from ..wanvideo.model.vae_tiles import is_out_of_memory

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
    done = store.windows_done
    return f"the {done} finished windows of {total} are kept" if done > 1 else f"the finished window of {total} is kept"
