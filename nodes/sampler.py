"""InfiniteTalk Sampler: picture and voices in, talking video out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker
from server import PromptServer
from torch import Tensor

from ..errors import UserError
from .checked import CheckedNode
from .feedback import progress_callback, say
from .sampler_schema import IMAGE_OUTPUT, NODE_ID, sampler_schema
from .takers import is_taken
from .validation import refusal

if TYPE_CHECKING:
    from ..audio.embeds import AudioEmbeds
    from ..video_io.read.frame_source import FrameSource
    from ..wanvideo.job import TalkingVideoJob
    from ..wanvideo.resolution import Resolution
    from ..wanvideo.scenes import SceneWish


class InfiniteTalkSampler(CheckedNode):
    """Thin over `wanvideo.job` (what is made) and `video_io.store.frame_store` (where it is kept)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs; ids are public for ever."""
        return sampler_schema()

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> str:
        """Which samplers the prompt now running asks for their IMAGE, which is only made on demand.

        Connecting something to it later must not meet the cached outputs of a run without it. Of all samplers: which of
        them is asked here, older cores do not tell.
        """
        running, _ = PromptServer.instance.prompt_queue.get_current_queue_volatile()
        asked = {
            node_id
            for _, _, prompt, *_ in running
            for node_id, node in prompt.items()
            if node["class_type"] == NODE_ID and image_is_wanted(prompt, node_id)
        }
        return "\n".join(sorted(asked))

    @classmethod
    def validate_inputs(
        cls,
        resolution: Resolution | None = None,
        width: int | None = None,
        height: int | None = None,
        window_frames: int | None = None,
        motion_frames: int | None = None,
        sampler_name: str | None = None,
        scheduler: str | None = None,
        end_padding: str | None = None,
        part: str | None = None,
    ) -> bool | str:
        """Refuse sizes and lengths that cannot work, and what is in no list, before anything runs."""
        from ..wanvideo.parts import Part
        from ..wanvideo.windows import check_window

        sizes = {"width": width, "height": height, "window_frames": window_frames, "motion_frames": motion_frames}
        lists = {"sampler_name": sampler_name, "scheduler": scheduler, "end_padding": end_padding}
        return refusal(
            (partial(cls.check_inputs, resolution=resolution, part=part, **sizes, **lists),),
            (check_window, window_frames, motion_frames),
            (_check_size, resolution, height, width),
            (Part.parse, part),
        )

    @classmethod
    def run(
        cls,
        model: ModelPatcher,
        infinitetalk: ModelPatcher,
        audio_embeds: AudioEmbeds,
        vae: Any,
        resolution: Resolution,
        width: int,
        height: int,
        resume: bool,
        image: Tensor | None = None,
        source_video: Any | None = None,
        positive: Any | None = None,
        negative: Any | None = None,
        clip_vision: Any | None = None,
        speaker_masks: Tensor | None = None,
        audio: dict[str, Any] | None = None,
        edit_mask: Tensor | None = None,
        scenes: tuple[SceneWish, ...] = (),
        part: str = "",
        growing_video: bool = False,
        **settings: Any,
    ) -> io.NodeOutput:
        """Check everything, then sample what is not on disk yet. The other widgets go on as `SamplerSettings`."""
        from ..audio.audio_clip import AudioClip
        from ..wanvideo.job import TalkingVideoJob
        from ..wanvideo.model.vae_tiles import with_tiles_if_needed
        from ..wanvideo.parts import Part
        from ..wanvideo.pictures import Pictures
        from ..wanvideo.resolution import video_size
        from ..wanvideo.resume.share import Share
        from ..wanvideo.resume.stored_run import sample_to_disk
        from ..wanvideo.settings import SamplerSettings
        from .folders import runs_folder
        from .growing import growing_video_on
        from .progress import SamplingProgress
        from .storyboard import tell_scenes
        from .video_output import StoredVideoInput

        if audio is not None:
            AudioClip.from_audio(audio, "audio").check_finite("audio")
        node_id, wanted_part = cls.hidden.unique_id, Part.parse(part)
        say_here = partial(say, node_id)
        source = _one_source(image, source_video, audio_embeds.frame_rate)
        _check_size(resolution, height, width)
        size = video_size(resolution, source.height, source.width, (height, width))
        _note_rounding(node_id, resolution, size, (source.height, source.width), (height, width))
        job = TalkingVideoJob(
            model=model,
            infinitetalk=infinitetalk,
            embeds=audio_embeds,
            vae=with_tiles_if_needed(vae, say_here),
            pictures=Pictures(source, audio_embeds.frame_rate, audio_embeds.frames, size, progress_callback()),
            settings=SamplerSettings(**settings),
            positive=positive,
            negative=negative,
            clip_vision=clip_vision,
            speaker_masks=speaker_masks,
            edit_mask=edit_mask,
            wishes=scenes,
        )
        facts = _tell_facts(job, source, say_here)
        share = Share(job) if wanted_part is None else Share(job, wanted_part.of(job.windows))
        tell_scenes(share, wanted_part, say_here)
        if not share.own:
            return io.NodeOutput(ExecutionBlocker(None), ExecutionBlocker(None), 0, ui={"text": facts})
        sound = share.sound_of(audio_embeds.sound if audio is None else audio)
        with growing_video_on(node_id, sound, say_here) if growing_video else nullcontext() as growing:
            store = sample_to_disk(
                share,
                runs_folder(),
                resume=resume,
                say=say_here,
                observer=lambda: SamplingProgress(node_id, model, share),
                growing=growing,
            )
        video = StoredVideoInput(store, sound, scenes=share.scene_starts)
        wanted = image_is_wanted(cls.hidden.prompt or {}, node_id)
        images = video.get_components().images if wanted else None
        # Also where there are none: those of the job before leave the node.
        return io.NodeOutput(video, images, store.frames_done, ui={"text": facts})


def _check_size(resolution: Resolution, height: int, width: int) -> None:
    from ..wanvideo.resolution import check_custom_size

    if resolution == "custom":
        check_custom_size(height, width)


def image_is_wanted(prompt: dict[str, Any], node_id: str | None) -> bool:
    """Whether any node of an API prompt takes the sampler's IMAGE output.

    Who takes that of a sampler which the prompt does not know cannot be seen, so it is made.
    """
    return node_id not in prompt or is_taken(prompt, node_id, IMAGE_OUTPUT)


def _one_source(image: Tensor | None, source_video: Any | None, frame_rate: Fraction) -> FrameSource:
    """The frames of whichever is connected; images are taken at the rate of the video."""
    from ..video_io.read.image_frames import ImageFrames
    from .video_input import open_video

    if image is not None and source_video is None:
        return ImageFrames(image, frame_rate)
    if source_video is not None and image is None:
        return open_video(source_video)[0]
    found = "Neither image nor source_video is" if image is None else "Both image and source_video are"
    raise UserError(f"{found} connected: connect a picture to `image`, or a video to `source_video`.")


def _tell_facts(job: TalkingVideoJob, source: FrameSource, say_here: Callable[[str], None]) -> list[str]:
    """Say what is unusual about the source and the settings; returns what stays on the node when the job is over."""
    misfit = job.infinitetalk.model.origin.misfit(job.settings)
    facts = [*source.notes, *([misfit] if misfit else [])]
    for fact in facts:
        say_here(fact)
    if job.settings.denoise < 1:
        say_here(f"denoise {job.settings.denoise:g} starts at a noise level of {job.first_sigma:.3g} (1: all noise)")
    return facts


def _note_rounding(
    node_id: str | None, resolution: str, size: tuple[int, int], image: tuple[int, int], custom: tuple[int, int]
) -> None:
    """Say so when the asked-for size (height, width) had to be rounded."""
    asked = {"from image": image, "custom": custom}.get(resolution, size)
    if asked != size:
        text = f"Size rounded from {asked[1]} × {asked[0]} to {size[1]} × {size[0]} (steps of 16 pixels)"
        say(node_id, text)
