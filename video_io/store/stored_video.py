"""A video whose frames lie on disk: all that ComfyUI's VIDEO can do, without holding the frames in RAM."""

from __future__ import annotations

import logging
import os
import shutil
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from ...timebase import first_frame_at, samples_of_frames
from ..durable import flush_folder, patiently
from ..read.long_sound import Audio, LongSound
from ..save.core_formats import core_format
from ..save.file_name import Target
from ..save.workspace import workspace
from ..save.writer import SaveSettings, save_video
from .frame_reader import FrameReader
from .frame_store import FrameStore
from .image_tensor import frames_as_image
from .run_folders import temporary_path
from .stored_frames import StoredFrames

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Components:
    """The parts of a video: images float32 [F, H, W, 3] in 0 to 1, frames per second, AUDIO or None."""

    images: Tensor
    frame_rate: Fraction
    audio: Audio | None


class StoredVideo:
    """Frames `start` to `stop` of a frame store, with sound. Views of the same frames share everything.

    The run folder is in use, and is not cleared, as long as one video over it lives.

    Args:
        frames: a store (complete) or its frames.
        sound: AUDIO {"waveform": float [B, C, T], "sample_rate": Hz} that starts with frame 0 of the store, or None; it
            is kept as it is, not copied.
        start: first frame.
        stop: the frame after the last one; None: all.
        scenes: frames of the store at which a scene begins.
    """

    def __init__(
        self,
        frames: FrameStore | FrameReader,
        sound: Audio | None,
        start: int = 0,
        stop: int | None = None,
        scenes: Sequence[int] = (),
    ) -> None:
        self._frames = frames.reader() if isinstance(frames, FrameStore) else frames
        self._whole_sound = sound
        self._scenes = tuple(scenes)
        self._start = start
        self._stop = len(self._frames) if stop is None else stop
        if not 0 <= self._start < self._stop <= len(self._frames):
            raise ValueError(f"A video of frames {start} to {stop} does not fit {len(self._frames)} stored frames")
        self._stream_file: Path | None = None

    @property
    def sound(self) -> Audio | None:
        """AUDIO from the first frame on; to the end of the sound, but of a trimmed view to its last frame."""
        if self._whole_sound is None or (self._start == 0 and self._stop == len(self._frames)):
            return self._whole_sound
        return sound_between(self._whole_sound, self._start, self._stop, self.get_frame_rate())

    def iter_frames(
        self, start: int = 0, stop: int | None = None, chunk_frames: int | None = None
    ) -> Iterator[np.ndarray]:
        """Frames of this view a few at a time, uint8 [n, height, width, 3]; see `FrameReader.iter_frames`.

        Raises:
            ValueError: they are not all in this view.
        """
        stop = self.get_frame_count() if stop is None else stop
        if not 0 <= start <= stop <= self.get_frame_count():
            raise ValueError(f"Frames {start} to {stop} are outside of 0 to {self.get_frame_count()}")
        return self._frames.iter_frames(self._start + start, self._start + stop, chunk_frames)

    def get_dimensions(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self._frames.spec.width, self._frames.spec.height

    def get_frame_count(self) -> int:
        """Number of frames."""
        return self._stop - self._start

    def get_frame_rate(self) -> Fraction:
        """Frames per second."""
        return self._frames.spec.frame_rate

    def get_duration(self) -> float:
        """Length of the picture in seconds."""
        return float(self.get_frame_count() / self.get_frame_rate())

    @property
    def seams(self) -> list[int]:
        """Frames of this view at which another window of the sampler begins, in rising order."""
        inside = (first - self._start for first in self._frames.window_starts)
        return [frame for frame in inside if 0 < frame < self.get_frame_count()]

    @property
    def scene_starts(self) -> list[int]:
        """Frames of this view, after the first, at which a scene begins, in rising order."""
        inside = (frame - self._start for frame in self._scenes)
        return [frame for frame in inside if 0 < frame < self.get_frame_count()]

    def get_bit_depth(self) -> int:
        """Bits per channel of the stored frames."""
        return 8

    def get_color_space(self) -> str:
        """The frames are plain RGB, in core's word for it."""
        return "sRGB"

    def get_components(self) -> Components:
        """Images (memory-mapped when large), frame rate, and sound: None behind its end, since core wants samples."""
        images = frames_as_image(self._frames, self._start, self._stop, check=self._check)
        sound = self.sound
        # A LongSound has samples, and would be decoded to count them.
        is_empty = sound is not None and not isinstance(sound, LongSound) and not sound["waveform"].numel()
        return Components(images, self.get_frame_rate(), None if is_empty else sound)

    def as_trimmed(
        self, start_time: float | None = None, duration: float | None = None, strict_duration: bool = False
    ) -> StoredVideo | None:
        """The part that begins at `start_time` seconds (negative: counted from the end), `duration` seconds long.

        Frames whose time lies in the part belong to it, as in ComfyUI's own videos.

        Args:
            start_time: seconds.
            duration: seconds; 0 or None goes to the end.
            strict_duration: None is also the answer where the video is shorter than asked.

        Returns:
            The part; None when no frame is left.
        """
        start_time, duration = start_time or 0.0, duration or 0.0
        if start_time < 0:
            start_time = max(0.0, self.get_duration() + start_time)
        if duration < 0:
            return None
        first = first_frame_at(start_time, self.get_frame_rate())
        end = first_frame_at(start_time + duration, self.get_frame_rate()) if duration else self.get_frame_count()
        if strict_duration and end > self.get_frame_count():
            return None
        end = min(end, self.get_frame_count())
        if first >= end:
            return None
        return type(self)(self._frames, self._whole_sound, self._start + first, self._start + end, self._scenes)

    def get_active_trim_window(self) -> tuple[float, float]:
        """No trim is left to apply to what `get_stream_source` gives: a view streams its own frames only."""
        return 0.0, 0.0

    def get_container_format(self) -> str:
        """Container that `get_stream_source` gives."""
        return "mp4"

    def get_stream_source(self) -> str:
        """Path of the video as an MP4 file, encoded at the first call and deleted with this object."""
        if self._stream_file is None:
            path = temporary_path(self._frames.folder, ".mp4")
            self.save_to(str(path))
            weakref.finalize(self, _delete, path, self._frames)
            self._stream_file = path
        return str(self._stream_file)

    def save_to(
        self,
        path: str | Path | IO[bytes],
        format: str = "auto",
        codec: str = "auto",
        metadata: Mapping[str, Any] | None = None,
        bit_depth: int | None = None,
        crf: float | None = None,
        color_space: str | None = None,
        **newer: object,
    ) -> None:
        """Encode the video with its sound into a file or a binary stream, a few frames at a time.

        The frames are 8-bit BT.709: another `bit_depth` or `color_space` is answered by a line in the log, and so are
        arguments of cores newer than this pack.

        Args:
            path: of the file, or a stream to write to.
            format: core's name of the container, see `core_format`.
            codec: core's name of the codec.
            metadata: values are strings or what JSON can hold.
            bit_depth: see above.
            crf: None takes the codec's usual one.
            color_space: see above.
            newer: arguments that later cores may add.

        Raises:
            UserError: a format that cannot be written, or a folder or disk that does not take the file.
        """
        self._log_unused(bit_depth=bit_depth, color_space=color_space, **newer)
        target = Path(path) if isinstance(path, str | os.PathLike) else None
        video_format, usual_crf = core_format(format, codec, target)
        settings = SaveSettings(video_format, crf=usual_crf if crf is None else round(crf))
        # Beside its target, so that the finished file moves there in one step.
        with workspace(target.absolute().parent if target else self._frames.folder) as folder:
            goal = Target(folder=folder, subfolder="", stem="video", suffix=video_format.suffix)
            saved = save_video(StoredFrames(self), self.sound, goal, settings, metadata, check=self._check)
            if isinstance(path, str | os.PathLike):
                patiently(lambda: saved.path.replace(path))
                flush_folder(Path(path).absolute().parent)
            else:
                with saved.path.open("rb") as file:
                    shutil.copyfileobj(file, path)

    def _check(self) -> None:
        """Called often during long work; a subclass may raise here to interrupt it."""

    @staticmethod
    def _log_unused(**wishes: object) -> None:
        """Say which wishes about the file cannot be met; the values that ask for what is done anyway pass."""
        unmet = {name: wish for name, wish in wishes.items() if wish not in (None, 8, "auto", "sRGB")}
        if unmet:
            log.warning("Saved as 8-bit BT.709; not supported here: %s", unmet)


def sound_between(sound: Audio, start: int, stop: int | None, frame_rate: Fraction) -> Audio:
    """The share of an AUDIO that belongs to the frames `start … stop - 1` (None: to its end); shares add up to it."""
    first, end = (
        None if frame is None else samples_of_frames(frame, sample_rate=sound["sample_rate"], frame_rate=frame_rate)
        for frame in (start, stop)
    )
    waveform = sound.first(end)[None] if isinstance(sound, LongSound) and end is not None else sound["waveform"]
    return {"waveform": waveform[..., first:end], "sample_rate": sound["sample_rate"]}


def _delete(path: Path, frames: FrameReader) -> None:
    """Delete a file made for a video; `frames` keeps its folder in use until then."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # Windows: still open somewhere; the clearing gets it
        log.debug("Could not delete %s yet: %s (run %s)", path, error, frames.folder)
