"""The frames of a stored video, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import UserError
from ...timebase import exact_frame_rate
from ..read.frame_source import Frame

CHUNK_FRAMES = 4


class StoredFrames:
    """A VIDEO that hands out its frames in chunks through `iter_frames` (uint8 [n, H, W, 3])."""

    channels = 3
    notes = ()

    def __init__(self, video: Any) -> None:
        self._video = video
        self.width, self.height = video.get_dimensions()
        self.frame_rate = exact_frame_rate(video.get_frame_rate())
        self.count = video.get_frame_count()
        if self.count == 0:
            raise UserError("There are no frames: the video is empty.")

    def frames(self, first: int = 0) -> Iterator[Frame]:
        """Frames [H, W, 3] uint8."""
        for chunk in self._video.iter_frames(first, chunk_frames=CHUNK_FRAMES):
            yield from chunk
