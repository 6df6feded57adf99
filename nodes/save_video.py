"""Save Video With Audio: frames and sound to one file in ComfyUI's output folder."""

from __future__ import annotations

import datetime
import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args
from comfy_api.input_impl import VideoFromFile
from comfy_api.latest import io

from ..errors import UserError, plain_lines
from ..video_io.save.audio_fit import AudioFit
from ..video_io.save.file_name import make_target
from ..video_io.save.formats import FORMATS, format_named
from ..video_io.save.prefix import check_template, expand_prefix
from .advanced import folds
from .checked import CheckedNode
from .sockets import CATEGORY
from .validation import refusal

if TYPE_CHECKING:
    from ..video_io.read.frame_source import FrameSource
    from ..video_io.save.writer import SavedVideo

log = logging.getLogger(__name__)

FITS = [fit.value for fit in AudioFit]
SAVE_SILENT, STOP = "save silent video", "stop"


class SaveVideoWithAudio(CheckedNode):
    """Thin: checks the widgets, opens the sources, and leaves the rest to `video_io.save.writer`."""

    _silent_saves: ClassVar[Counter[str | None]] = Counter()  # by prefix: how often the wanted sound was left out

    @classmethod
    @folds("audio_bitrate", "if_audio_fails", "save_metadata")
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs; ids are public for ever."""
        return io.Schema(
            node_id="SaveVideoWithAudio",
            display_name="Save Video With Audio",
            category=CATEGORY,
            description="Saves images or a video, with sound, to the output folder in one pass. "
            "The memory it needs does not grow with the length.",
            inputs=[
                io.Image.Input("images", optional=True, tooltip="Frames to save. Connect this or video, not both."),
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="Video to save, with its own frame rate and, unless audio is connected, its own sound. "
                    "It is streamed, never loaded whole. Connect this or images, not both.",
                ),
                io.Audio.Input(
                    "audio",
                    optional=True,
                    tooltip="Sound of the file, at its own sample rate and channels. Leave it open for a silent "
                    "video, or for the video's own sound.",
                ),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=0.01,
                    max=1000.0,
                    step=0.001,
                    tooltip="Frames per second of the images. InfiniteTalk makes 25. A connected video keeps its own "
                    "rate and this is not used.",
                ),
                io.String.Input(
                    "filename_prefix",
                    default="InfiniteTalk/talk",
                    tooltip="Name inside the output folder; / makes folders. Variables: %date:yyyy-MM-dd%, %width%, "
                    "%height%, and %Node.widget% for a value of another node.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="mp4 h264",
                    tooltip="mp4 h264 plays everywhere. h265 and av1 are smaller. webm vp9 keeps transparency. "
                    "mkv ffv1 is lossless. mov prores (422 HQ, or 4444 with transparency) is for editing.",
                ),
                io.Int.Input(
                    "crf",
                    default=19,
                    min=0,
                    max=63,
                    tooltip="Quality: lower is better and larger. h264 and h265 take 0 to 51 (0 is lossless for h264, "
                    "and few players show that), av1 and vp9 0 to 63. ffv1 and prores do not use it.",
                ),
                io.Int.Input(
                    "audio_bitrate",
                    default=192,
                    min=16,
                    max=1024,
                    tooltip="Of the sound in kbit/s, for AAC (mp4, mov) and Opus (webm). FLAC (mkv) is lossless.",
                ),
                io.Combo.Input(
                    "audio_fit",
                    options=FITS,
                    default=AudioFit.TRIM_OR_PAD.value,
                    tooltip="When sound and picture differ in length. trim or pad: the sound is cut or followed by "
                    "silence. loop: it starts over until the picture ends. shortest: whichever ends first ends "
                    "both. keep all: nothing is cut.",
                ),
                io.Combo.Input(
                    "if_audio_fails",
                    options=[SAVE_SILENT, STOP],
                    default=SAVE_SILENT,
                    tooltip="When the sound cannot be read or encoded: keep the video without sound and say why, "
                    "or stop with an error.",
                ),
                io.Boolean.Input(
                    "save_metadata",
                    default=True,
                    tooltip="Store the workflow in the file, so that dropping the file on the graph editor "
                    "restores it (mp4, mov, webm).",
                ),
            ],
            outputs=[
                io.Video.Output("saved_video", display_name="video", tooltip="The saved file as a video."),
                io.String.Output("path", display_name="path", tooltip="Full path of the saved file."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(
        cls,
        filename_prefix: str | None = None,
        format: str | None = None,
        crf: int | None = None,
        audio_fit: str | None = None,
        if_audio_fails: str | None = None,
    ) -> bool | str:
        """Refuse before the queue starts what can be known by then."""
        lists = {"format": format, "audio_fit": audio_fit, "if_audio_fails": if_audio_fails}
        return refusal(
            (partial(cls.check_inputs, filename_prefix=filename_prefix, crf=crf, **lists),),
            (check_template, filename_prefix),
            (format_named, format),
            (lambda name, value: format_named(name).check_crf(value), format, crf),
        )

    @classmethod
    def fingerprint_inputs(cls, filename_prefix: str | None = None, **_: Any) -> int:
        """A video that was saved without its sound is no result to take from the cache: the same graph tries again."""
        return cls._silent_saves[filename_prefix]

    @classmethod
    def run(
        cls,
        fps: float,
        filename_prefix: str,
        format: str,
        crf: int,
        audio_bitrate: int,
        audio_fit: str,
        if_audio_fails: str,
        save_metadata: bool,
        images: torch.Tensor | None = None,
        video: Any = None,
        audio: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """Save and report."""
        from ..video_io.save.writer import SaveSettings, save_video

        settings = SaveSettings(
            format_named(format),
            crf=crf,
            audio_kbits=audio_bitrate,
            fit=AudioFit(audio_fit),
            stop_without_sound=if_audio_fails == STOP,
        )
        source, own_sound = _open(images, video, fps)
        prefix = expand_prefix(filename_prefix, source.width, source.height, datetime.datetime.now(), cls.hidden.prompt)
        target = make_target(prefix, Path(folder_paths.get_output_directory()), settings.format.suffix)
        bar = comfy.utils.ProgressBar(source.count)
        saved = save_video(
            source,
            own_sound if audio is None else audio,
            target,
            settings,
            tags=_tags(cls.hidden) if save_metadata and not args.disable_metadata else None,
            progress=bar.update_absolute,
            check=comfy.model_management.throw_exception_if_processing_interrupted,
        )
        if saved.warning:
            cls._silent_saves.update((filename_prefix, None))  # None: where another node feeds the prefix
        facts = plain_lines(_facts(saved))
        log.info("%s", facts)
        ui = _ui(saved, target.subfolder, settings.format.mime, facts)
        return io.NodeOutput(VideoFromFile(str(saved.path)), str(saved.path), ui=ui)


def _open(images: torch.Tensor | None, video: Any, fps: float) -> tuple[FrameSource, Any]:
    """The frames to save, and the sound that comes with them (AUDIO dict, `AudioSource` or None).

    Raises:
        UserError: both inputs or neither of them are connected.
    """
    from ..timebase import exact_frame_rate
    from ..video_io.read.image_frames import ImageFrames
    from .video_input import open_video

    if images is not None and video is not None:
        raise UserError("Both images and video are connected, but only one can be saved: disconnect one of the two.")
    if video is not None:
        return open_video(video)
    if images is None:
        raise UserError(
            "Neither images nor video is connected (or what is connected is muted or bypassed), so there is nothing to "
            "save: connect one of the two."
        )
    return ImageFrames(images, exact_frame_rate(fps)), None


def _tags(hidden: Any) -> dict[str, Any]:
    """The metadata that core's nodes store too: the workflow (and what else came with it) and the prompt."""
    more = hidden.extra_pnginfo  # whatever an API client has sent
    tags = dict(more) if isinstance(more, Mapping) else {}
    if hidden.prompt is not None:
        tags["prompt"] = hidden.prompt
    return tags


def _facts(saved: SavedVideo) -> str:
    """What was saved, in lines for a person."""
    sound = saved.sound
    heard = f"{sound.codec} {sound.sample_rate} Hz, {_channels(sound.channels)}" if sound else "no sound"
    lines = [
        f"Saved {saved.path.name}: {saved.width}×{saved.height}, {saved.frames} frames, "
        f"{float(saved.frame_rate):g} fps, {saved.seconds:.2f} s, {heard}"
    ]
    if saved.warning:
        lines.insert(0, f"WARNING: {saved.warning}")
    return "\n".join([*lines, *saved.notes])


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels")


def _ui(saved: SavedVideo, subfolder: str, mime: str, facts: str) -> dict[str, list[Any]]:
    """History: core's keys for the graph editor, `gifs` as clients of VideoHelperSuite read it, and what
    web/report.js shows on the node.
    """
    file = {"filename": saved.path.name, "subfolder": subfolder, "type": "output"}
    gif = {**file, "format": mime, "frame_rate": float(saved.frame_rate), "fullpath": str(saved.path)}
    return {"images": [file], "animated": [True], "gifs": [gif], "text": [facts]}
