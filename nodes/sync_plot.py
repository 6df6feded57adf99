"""Sync Plot: does the mouth follow the sound?"""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..errors import UserError
from .types import CATEGORY


class InfiniteTalkSyncPlot(io.ComfyNode):
    """Plots the motion of a region of the picture against the loudness of the sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs; ids are public for ever."""
        return io.Schema(
            node_id="InfiniteTalkSyncPlot",
            display_name="Sync Plot",
            category=CATEGORY,
            description="Draws loudness and motion over time. Not supported yet.",
            inputs=[
                io.Video.Input("video", optional=True, tooltip="A video with its sound."),
                io.Image.Input("images", optional=True, tooltip="Frames, in place of a video."),
                io.Audio.Input("audio", optional=True, tooltip="Sound of the images, or in place of the video's own."),
                io.Float.Input("fps", default=25.0, min=0.01, max=1000.0, tooltip="Frames per second of the images."),
                io.String.Input(
                    "box", default="", tooltip="Region to watch, x y w h from 0 to 1. Empty: where the motion is."
                ),
            ],
            outputs=[io.Image.Output("plot", display_name="plot", tooltip="The picture of the plot.")],
        )

    @classmethod
    def execute(
        cls,
        fps: float,
        box: str,
        video: Any | None = None,
        images: Tensor | None = None,
        audio: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """Refuse: there is no plot in this release."""
        raise UserError("Sync Plot is not supported yet in this release: take the node out of the graph.")
