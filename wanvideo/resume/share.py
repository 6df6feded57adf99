"""The whole of a video, or the scenes of it that one of several machines makes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ...video_io.store.run_plan import WindowKeys
from ...video_io.store.stored_video import Audio, sound_between
from ..job import TalkingVideoJob
from ..scenes import Scene
from ..windows import Window
from .fingerprint import window_keys


@dataclass(frozen=True)
class Share:
    """The windows of a job that are made: all of them, or those of a part, which may be none."""

    job: TalkingVideoJob
    windows: slice | None = None
    """None: all."""

    @cached_property
    def own(self) -> list[Window]:
        """The windows of this share, in order."""
        return self.job.windows if self.windows is None else self.job.windows[self.windows]

    @property
    def first_frame(self) -> int:
        """Where the share begins in the video."""
        return self.own[0].start

    @property
    def frames(self) -> int:
        """Frames of the share."""
        return sum(window.kept.stop - window.kept.start for window in self.own)

    def keys(self) -> WindowKeys:
        """How the windows of the whole video are known, and which of them are made."""
        cuts = {window.index for window in self.job.windows if window.place == 0}
        return WindowKeys(keys=window_keys(self.job), cuts=cuts, share=self.windows, state_bytes=self._state_bytes)

    @property
    def _state_bytes(self) -> int:
        """Of a window's motion frames, RGB in float32 (see `FinishedWindow.motion`)."""
        height, width = self.job.pictures.size
        return self.job.settings.motion_frames * height * width * 3 * 4

    @property
    def scenes(self) -> list[Scene]:
        """The scenes of this share, in order."""
        starts = {window.scene for window in self.own}
        return [scene for scene in self.job.scenes if scene.start in starts]

    @property
    def scene_starts(self) -> list[int]:
        """Frames of the share's own video at which its scenes begin."""
        return [scene.start - self.first_frame for scene in self.scenes]

    def sound_of(self, sound: Audio) -> Audio:
        """The share's part of a sound for the whole video; the last share has all that is left."""
        if self.own == self.job.windows:
            return sound
        stop = None if self.own[-1] == self.job.windows[-1] else self.first_frame + self.frames
        return sound_between(sound, self.first_frame, stop, self.job.embeds.frame_rate)
