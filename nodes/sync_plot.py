"""Sync Plot: does the mouth follow the sound?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import comfy.model_management
from comfy_api.latest import io
from torch import Tensor

from ..errors import UserError, plain_lines
from .checked import CheckedNode
from .feedback import progress_callback, say
from .folders import temp_folder
from .sockets import CATEGORY
from .validation import refusal

if TYPE_CHECKING:
    from ..video_io.read.audio_source import AudioSource
    from ..video_io.read.frame_source import FrameSource


class InfiniteTalkSyncPlot(CheckedNode):
    """Thin over `sync.report` (the numbers) and `sync.plot` (the picture)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs; ids are public for ever."""
        return io.Schema(
            node_id="InfiniteTalkSyncPlot",
            display_name="Sync Plot",
            category=CATEGORY,
            description="Draws loudness and the motion of the mouth over time, and tells how well and at which shift "
            "they go together. For any video with speech; the memory it needs does not grow with the length.",
            inputs=[
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="A video with its sound. Of the sampler's videos the seams between windows and the scenes "
                    "are marked. Connect this or images, not both.",
                ),
                io.Image.Input(
                    "images", optional=True, tooltip="Frames, in place of a video; they need audio and fps."
                ),
                io.Audio.Input("audio", optional=True, tooltip="Sound of the images, or in place of the video's own."),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=0.01,
                    max=1000.0,
                    step=0.001,
                    tooltip="Frames per second of the images. A connected video keeps its own rate.",
                ),
                io.String.Input(
                    "box",
                    default="",
                    tooltip="Region to watch, x y w h from 0 to 1 (shares of the picture), best the mouth. "
                    "Empty: where the picture changes most in step with the sound.",
                ),
                io.Video.Input(
                    "source_video",
                    optional=True,
                    tooltip="The video that was dubbed: how far its shot was kept. Outside of the box, the motion of "
                    "both is compared.",
                ),
            ],
            outputs=[io.Image.Output("plot", display_name="plot", tooltip="The picture of the plot.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, box: str | None = None) -> bool | str:
        """Refuse a box that cannot be read, before anything runs."""
        from ..sync.box import Box

        return refusal((partial(cls.check_inputs, box=box),), (Box.parse, box))

    @classmethod
    def run(
        cls,
        fps: float,
        box: str,
        video: Any | None = None,
        images: Tensor | None = None,
        audio: dict[str, Any] | None = None,
        source_video: Any | None = None,
    ) -> io.NodeOutput:
        """Compare and draw."""
        from ..sync.box import Box
        from ..sync.plot import draw
        from ..sync.report import analyze
        from .video_input import open_video

        wanted = Box.parse(box)
        source, own_sound = _open(images, video, fps)
        sound = _sound(own_sound if audio is None else audio)
        dubbed = None if source_video is None else open_video(source_video)[0]
        report = analyze(
            source,
            sound,
            wanted,
            _seams(video),
            shot=dubbed,
            scenes=_scenes(video),
            folder=temp_folder(),
            progress=progress_callback(),
            check=comfy.model_management.throw_exception_if_processing_interrupted,
        )
        verdicts = [report.verdict, *([report.shot.verdict] if report.shot else [])]
        notes = [*source.notes, *sound.notes, *(dubbed.notes if dubbed else [])]
        text = "\n".join([*verdicts, *notes])
        say(cls.hidden.unique_id, text)
        return io.NodeOutput(draw(report), ui={"text": [plain_lines(text)]})


def _open(images: Tensor | None, video: Any, fps: float) -> tuple[FrameSource, Any]:
    """The frames, and the sound that comes with them (AUDIO dict, `AudioSource` or None).

    Raises:
        UserError: both inputs or neither of them are connected, or they cannot be used.
    """
    from ..timebase import exact_frame_rate
    from ..video_io.read.image_frames import ImageFrames
    from .video_input import open_video

    if (images is None) == (video is None):
        found = "Neither video nor images is" if images is None else "Both video and images are"
        raise UserError(f"{found} connected, and one is needed: connect a video, or images with their audio.")
    return open_video(video) if images is None else (ImageFrames(images, exact_frame_rate(fps)), None)


def _sound(audio: Any) -> AudioSource:
    """An AUDIO or the sound of a video as `AudioSource`.

    Raises:
        UserError: there is none, or it is no sound.
    """
    from ..video_io.read.audio_source import AudioError, as_source

    if audio is None:
        raise UserError("There is no sound to compare the picture with: connect it to audio.")
    try:
        return as_source(audio)
    except AudioError as error:
        raise UserError(f"{str(error).rstrip('.')}: connect the AUDIO output of a node.") from error


def _seams(video: Any) -> list[int]:
    """First frames of the windows after the first, of a video that our sampler made; nothing is guessed of others."""
    from ..video_io.store.stored_video import StoredVideo

    return video.seams if isinstance(video, StoredVideo) else []


def _scenes(video: Any) -> list[int]:
    """First frames of the scenes after the first, of a video that our sampler made."""
    from ..video_io.store.stored_video import StoredVideo

    return video.scene_starts if isinstance(video, StoredVideo) else []
