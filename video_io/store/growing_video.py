"""A playable file of the finished windows while the others are made: it grows with each of them.

One ffmpeg stays open, so each window is encoded once and the sound runs on without a seam. What it writes is a
fragmented MP4, which plays up to its last fragment whatever happens to the process. When the job stops before its end,
the file becomes an ordinary MP4 as long as its picture; when the whole video is made, it is deleted.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from ...errors import UserError
from ..read.audio_source import AudioError, as_source
from ..read.long_sound import Audio
from ..save.audio_fit import AudioFit, FittedAudio, fit_audio
from ..save.ffmpeg_process import FfmpegError, FfmpegProcess, find_ffmpeg
from ..save.formats import AAC
from ..save.writer import COMMON, ENCODER_TAGS, FRAME_TAGS, PROTOCOLS, TO_BT709
from .frame_store import FrameStore
from .manifest import RunSpec
from .run_folders import temporary_path

log = logging.getLogger(__name__)

FRAGMENT_MICROSECONDS = 200_000
"""Of picture in a fragment: so much is not in the file yet when a window is finished."""
AUDIO_KBITS = 192
FAULTS = (AudioError, FfmpegError, OSError, UserError)


class GrowingVideo:
    """The file; a context manager. Nothing that goes wrong with it stops the job: it is said, and the file ends.

    Args:
        folder: where the file shall be; made if it is not there.
        sound: AUDIO that begins with the video, or None.
        show: is given the file whenever it has grown, and None when it is gone.
        say: shows the user a sentence.
    """

    def __init__(
        self,
        folder: Path,
        sound: Audio | None,
        show: Callable[[Path | None], None],
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.sound = folder, sound
        self.path: Path | None = None
        """The file, as soon as there is one."""
        self._show, self._say = show, say
        self._open = contextlib.ExitStack()
        self._ffmpeg: FfmpegProcess | None = None
        self._frames = 0
        self._seconds = 0.0
        self._over = False

    def has_all_of(self, store: FrameStore) -> bool:
        """Whether every frame that the store has is in the file."""
        return self.path is not None and self._frames == store.frames_done

    def follow(self, store: FrameStore, check: Callable[[], None] = lambda: None) -> None:
        """Append what the store has more than at the last call.

        `check` is called between frames, of which a job that goes on has hours; it may raise to stop.
        """
        if self._over or store.frames_done == self._frames:
            return
        try:
            if store.complete:
                self._delete()
                return
            if self._ffmpeg is None:
                self._start(store)
            self._feed(store, check)
        except FAULTS as error:
            self._over = True
            self._say(f"growing_video has ended: {error} (the job goes on).")

    def __enter__(self) -> GrowingVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            if self._ffmpeg is None or self._over:
                return
            try:
                self._ffmpeg.finish(_never)
                self._settle()
                self._show(self.path)
            except FAULTS as fault:
                log.warning("InfiniteTalk: %s stays as it is: %s", self.path, fault)

    def _start(self, store: FrameStore) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"unfinished-{store.video_name}.mp4"
        sound = self._sound_on_disk(store)
        arguments = [*_picture(store.spec), *(_sound(sound) if sound else ()), *_fragments(), f"file:{path}"]
        self._ffmpeg = self._open.enter_context(FfmpegProcess(find_ffmpeg(), arguments))
        self.path = path
        log.info("InfiniteTalk: %s grows with every finished window", path)

    def _sound_on_disk(self, store: FrameStore) -> FittedAudio | None:
        if self.sound is None:
            return None
        path = temporary_path(store.folder, ".f32")
        self._open.callback(_delete_sound, path)
        return fit_audio(
            as_source(self.sound),
            path,
            AudioFit.TRIM_OR_PAD,
            frames=store.spec.frames,
            frame_rate=store.spec.frame_rate,
            max_channels=AAC.max_channels,
        )

    def _feed(self, store: FrameStore, check: Callable[[], None]) -> None:
        assert self._ffmpeg is not None
        for frames in store.iter_frames(self._frames):
            check()
            self._ffmpeg.write(frames.data.cast("B"), _never)
            self._frames += len(frames)
            self._seconds = float(self._frames / store.spec.frame_rate)
        self._show(self.path)

    def _settle(self) -> None:
        """Make an ordinary MP4 of the fragments, without the sound that is beyond the picture."""
        assert self.path is not None
        whole = self.path.with_suffix(".whole")
        arguments = [*COMMON, *PROTOCOLS, "-i", f"file:{self.path}", "-c", "copy", "-t", f"{self._seconds:.6f}"]
        try:
            with FfmpegProcess(
                find_ffmpeg(), [*arguments, "-movflags", "+faststart", "-f", "mp4", f"file:{whole}"]
            ) as it:
                it.finish(_never)
            whole.replace(self.path)
        finally:
            whole.unlink(missing_ok=True)

    def _delete(self) -> None:
        self._over = True
        self._open.close()
        if self.path is not None:
            self._show(None)
            self.path.unlink(missing_ok=True)


def _delete_sound(path: Path) -> None:
    """A file that a virus scanner has open (Windows), or a disk that is away, goes with the run."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _never() -> None:
    """What would interrupt ffmpeg: an interrupt waits for the next frames, or for the next step of the sampling."""


def _picture(spec: RunSpec) -> list[str]:
    """Raw frames from stdin. `zerolatency` has the encoder hold back none."""
    arguments = [*COMMON, *PROTOCOLS, "-f", "rawvideo", "-pixel_format", "rgb24"]
    arguments += ["-video_size", f"{spec.width}x{spec.height}"]
    arguments += ["-r", f"{spec.frame_rate.numerator}/{spec.frame_rate.denominator}", "-i", "pipe:0"]
    return arguments


def _sound(sound: FittedAudio) -> list[str]:
    rate = AAC.sample_rate_for(sound.sample_rate)
    bits = AAC.bits_per_second(AUDIO_KBITS, rate, sound.channels)
    arguments = [*PROTOCOLS, "-f", "f32le", "-ar", str(sound.sample_rate), "-ac", str(sound.channels)]
    arguments += ["-i", f"file:{sound.path}", "-map", "1:a:0"]
    arguments += [argument for found in AAC.channel_filters(sound.channels) for argument in ("-af", found)]
    return [*arguments, "-c:a", AAC.encoder, "-ar", str(rate), "-b:a", str(bits), "-shortest"]


def _fragments() -> list[str]:
    """`delay_moov` keeps the edit list, without which the sound would be late by the encoder's 1024 samples."""
    filters = f"{TO_BT709},format=yuv420p,{FRAME_TAGS}"
    arguments = ["-map", "0:v:0", "-vf", filters, "-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency"]
    arguments += ["-crf", "19", "-colorspace", "bt709", "-color_range", "tv", *ENCODER_TAGS, "-flush_packets", "1"]
    arguments += ["-movflags", "+delay_moov+default_base_moof", "-frag_duration", str(FRAGMENT_MICROSECONDS)]
    return [*arguments, "-f", "mp4"]
