"""Finished windows of frames on disk: RAM holds one window, and a killed job goes on where it stopped.

A window counts once the manifest says so, and the manifest says so only after the window's frames and the
state that the next window needs are on the disk. Whatever was cut short in between is thrown away at the next
opening, where every file is checked against its size and CRC-32.

Windows are known by a chain of keys: the chain hash of window k is the digest of the chain hash of window k-1 and of
the key of window k, and at every cut the chain begins anew. Equal chain hashes mean equal pixels, in whatever run and
at whatever place: so a run takes over what others have finished, as links to the same files. To be able to start in
the middle, the states of the last two windows and of every eighth are kept.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from torch import Tensor

from ...errors import UserError
from ..durable import flush_folder, write_durably
from .environment import RunLimits
from .file_lock import FileLock
from .frame_reader import FrameReader
from .manifest import MANIFEST_NAME, Manifest, RunSpec, SavedState, WindowRecord
from .run_folders import folder_unusable, state_path, touch_run, window_path
from .run_plan import FRESH_STATES, KEEP_STATE_EVERY, RunPlan, WindowKeys
from .run_search import open_run
from .take_over import take_over

log = logging.getLogger(__name__)


class FrameStore:
    """The windows of one video, written in order and readable at any time.

    Made by `FrameStore.open`; a context manager that holds the run folder for one job alone until the video
    is complete. A complete run is never written again and may be read by several jobs at once.
    """

    def __init__(self, folder: Path, lock: FileLock, manifest: Manifest, plan: RunPlan) -> None:
        self.folder = folder
        self._lock = lock
        self._manifest = manifest
        self._plan = plan
        self._strangers: set[Path] = set()
        self._reader: FrameReader | None = None
        self._let_others_read_when_complete()

    @classmethod
    def open(
        cls,
        root: Path,
        fingerprint: str,
        *,
        width: int,
        height: int,
        frame_rate: Fraction,
        frames: int,
        resume: bool,
        window_keys: WindowKeys | None = None,
        limits: RunLimits | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> FrameStore:
        """Go on with a run that was begun, take over what agrees of another one, or begin anew.

        Args:
            root: the folder of all runs.
            fingerprint: covers all that decides the pixels of every window.
            width: pixels.
            height: pixels.
            frame_rate: frames per second.
            frames: length of the finished video.
            resume: False always begins anew, and replaces the run that would have gone on.
            window_keys: how the windows are known; then `fingerprint` must not cover what they do. None: the
                fingerprint covers everything.
            limits: what is kept of runs that are of no use for this job; None clears nothing.
            check: called while finished windows are read, now and later; may raise to stop.

        Raises:
            UserError: the folder cannot be used or the disk has too little space.
        """
        spec = RunSpec(fingerprint=fingerprint, width=width, height=height, frame_rate=frame_rate, frames=frames)
        plan = RunPlan(spec, window_keys, check)
        try:
            folder, lock, manifest = open_run(Path(root), plan, resume=resume, limits=limits)
        except OSError as error:
            raise folder_unusable(Path(root), error) from error
        return cls(folder, lock, manifest, plan)

    @property
    def spec(self) -> RunSpec:
        """Size in pixels, frames per second and length in frames of the video."""
        return self._manifest.spec

    @property
    def video_name(self) -> str:
        """For files outside of the run: runs lie in several places, and their numbers are given out again."""
        return f"{self._plan.digest}-{self.folder.name.rpartition('-')[2]}"

    @property
    def windows_done(self) -> int:
        """Windows that are complete; the next one to make has this index."""
        return len(self._manifest.windows)

    @property
    def windows_kept(self) -> int:
        """Complete windows that are still on the disk: somebody may have deleted the folder in the meantime."""
        if not (self.folder / MANIFEST_NAME).is_file():
            return 0
        there = (window_path(self.folder, window).is_file() for window in range(self.windows_done))
        return sum(itertools.takewhile(bool, there))

    @property
    def frames_done(self) -> int:
        """Frames in the complete windows."""
        return self._manifest.frames_done

    @property
    def complete(self) -> bool:
        """Whether the whole video is there."""
        return self._manifest.complete

    def state(self) -> dict[str, Tensor] | None:
        """What was given with the last window, bit for bit; None where no window goes on from it."""
        if self.complete or self._plan.begins_chain(self.windows_done):
            return None
        from safetensors.torch import load

        return load(state_path(self.folder, self.windows_done - 1).read_bytes())

    def append(self, frames: np.ndarray | Tensor, state: Mapping[str, Tensor]) -> None:
        """Keep one finished window: when this returns, it survives a crash.

        Args:
            frames: uint8 [n, height, width, 3], the frames that this window adds to the video, n >= 1.
            state: tensors of any dtype that the next window needs, for `state()`.

        Raises:
            ValueError: frames that do not fit the video; the store is as it was before.
            UserError: the disk does not take them, or another machine has taken the run over; the store is as it
                was before.
        """
        pixels = self._checked(frames)
        window = self.windows_done
        try:
            self._write_window(window, pixels, state)
        except OSError as error:
            raise UserError(
                f"Window {window + 1} could not be written to {self.folder} ({error.strerror or error}); the "
                f"{self.windows_kept} finished windows are kept, so free {pixels.nbytes / 1e6:.0f} MB "
                "or more there and queue the same graph again to go on."
            ) from error
        self._let_others_read_when_complete()

    def take_over(self) -> int:
        """Take over the windows that come next and that other runs have finished by now; returns how many.

        Raises:
            UserError: another machine has taken the run over; the store is as it was before.
        """
        if self.complete:
            return 0
        try:
            manifest = take_over(self.folder.parent, self.folder, self._plan, self._manifest, self._strangers)
            if manifest == self._manifest:
                return 0
            self._refuse_if_lost()
            manifest.save(self.folder)
        except OSError as error:  # what others have is a help, and not needed
            log.warning("Could not take over windows of other runs into %s: %s", self.folder, error)
            return 0
        taken = len(manifest.windows) - self.windows_done
        self._manifest = manifest
        self._let_others_read_when_complete()
        return taken

    def iter_frames(
        self, start: int = 0, stop: int | None = None, chunk_frames: int | None = None
    ) -> Iterator[np.ndarray]:
        """Finished frames a few at a time; see `FrameReader.iter_frames`."""
        return self.reader().iter_frames(start, stop, chunk_frames)

    def reader(self) -> FrameReader:
        """The frames finished so far, for readers that outlive this store; they keep the run from being cleared."""
        if self._reader is None or len(self._reader) != self.frames_done:
            self._reader = FrameReader(self.folder, self._manifest)
        return self._reader

    def close(self) -> None:
        """Let other jobs have the run. May be called twice.

        A finished run stays in use, and can be read, as long as this object or one of its readers lives.
        """
        if self._lock.held:
            touch_run(self.folder)
            self._lock.release()
        if not self.complete:
            self._reader = None

    def __enter__(self) -> FrameStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _checked(self, frames: np.ndarray | Tensor) -> np.ndarray:
        """The frames as a contiguous array uint8 [n, height, width, 3] on the CPU."""
        if isinstance(frames, Tensor):
            frames = frames.detach().cpu().numpy()
        if not self._lock.held:
            raise ValueError("The frame store is closed or complete: nothing can be added")
        spec = self.spec
        if frames.dtype != np.uint8 or frames.shape != (len(frames), spec.height, spec.width, 3) or not len(frames):
            raise ValueError(
                f"A window is uint8 [n, {spec.height}, {spec.width}, 3], got {frames.dtype} {list(frames.shape)}"
            )
        if self.frames_done + len(frames) > spec.frames:
            raise ValueError(f"{self.frames_done} + {len(frames)} frames are more than the video's {spec.frames}")
        return np.ascontiguousarray(frames)

    def _write_window(self, window: int, pixels: np.ndarray, state: Mapping[str, Tensor]) -> None:
        from safetensors.torch import save

        saved = save({name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()})
        self._refuse_if_lost()
        windows = self._manifest.windows
        record = WindowRecord(
            chain_hash=self._plan.chain_hash(window, windows[-1].chain_hash if windows else None),
            frames=len(pixels),
            crc32=write_durably(window_path(self.folder, window), pixels.data),
            state=SavedState(size_bytes=len(saved), crc32=write_durably(state_path(self.folder, window), saved)),
        )
        flush_folder(self.folder)
        expired = _expired_state(window)
        manifest = self._manifest.with_window(record, expired)
        self._refuse_if_lost()  # writing may have taken its time
        manifest.save(self.folder)
        self._manifest = manifest
        if expired is not None:
            with contextlib.suppress(OSError):  # in use (Windows): the next opening deletes it
                state_path(self.folder, expired).unlink(missing_ok=True)

    def _refuse_if_lost(self) -> None:
        if self._lock.is_lost():
            raise UserError(
                f"The run {self.folder} was taken over by another machine, because this one showed no sign of life for "
                "too long; queue the same graph again to go on with what is finished."
            )

    def _let_others_read_when_complete(self) -> None:
        """A complete run is only read from now on: mark it as used, and let other jobs read it too."""
        if self.complete:
            self.reader()
            touch_run(self.folder)
            self._lock.release()


def _expired_state(window: int) -> int | None:
    """The window whose state is dropped once `window` is kept; None for one that stays for good.

    The states of `window` and of the one before it stay, so window - 2 has had its turn, unless it is the last of eight
    (7, 15, 23 …): there a job with other windows later on may start.
    """
    expired = window - FRESH_STATES
    return expired if expired >= 0 and (expired + 1) % KEEP_STATE_EVERY else None
