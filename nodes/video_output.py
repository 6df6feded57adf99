"""The sampler's VIDEO: a stored video in the shape that ComfyUI's nodes know."""

from __future__ import annotations

import comfy.model_management
from comfy_api.latest import Input, Types

from ..video_io.store.stored_video import StoredVideo


class StoredVideoInput(StoredVideo, Input.Video):
    """A stored video that is a `VideoInput` of every supported core.

    The library's methods come first in the method order, so they stand in for whatever a core declares abstract:
    `save_to` and `get_components` in 0.3.75, `as_trimmed` too in newer ones.
    """

    def get_components(self) -> Types.VideoComponents:
        """Images (memory-mapped when large), sound and frame rate in core's own class."""
        parts = super().get_components()
        return Types.VideoComponents(images=parts.images, audio=parts.audio, frame_rate=parts.frame_rate)

    def _check(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
