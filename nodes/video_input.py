"""Any VIDEO that can be connected, as frames that are read one by one."""

from __future__ import annotations

from typing import Any

from comfy_api.input_impl import VideoFromFile

from ..timebase import exact_frame_rate
from ..video_io.read.frame_source import FrameSource
from ..video_io.read.image_frames import ImageFrames
from ..video_io.store.stored_frames import StoredFrames


def open_video(video: Any) -> tuple[FrameSource, Any]:
    """A VIDEO's frames, streamed where it can be, and its own sound (AUDIO dict, `AudioSource` or None)."""
    if hasattr(video, "iter_frames"):
        return StoredFrames(video), video.sound
    if isinstance(video, VideoFromFile):
        from ..video_io.read.video_file import FileFrames, sound_of

        # Newer cores cut a video by noting the part in it; 0.3.75 has no such thing.
        part = video.get_active_trim_window() if hasattr(video, "get_active_trim_window") else (0.0, 0.0)
        file = video.get_stream_source()
        return FileFrames(file, *part), sound_of(file, *part)
    components = video.get_components()
    alpha = getattr(components, "alpha", None)
    return ImageFrames(components.images, exact_frame_rate(components.frame_rate), alpha), components.audio
