"""The sampler's inputs and outputs."""

from __future__ import annotations

from typing import get_args

import comfy.samplers
from comfy_api.latest import io

from ..wanvideo.resolution import LONGEST_SIDE, Resolution
from ..wanvideo.settings import LEAST_DENOISE
from ..wanvideo.windows import END_PADDINGS
from .advanced import folds
from .sockets import CATEGORY, InfiniteTalkAudio, InfiniteTalkModel, InfiniteTalkScenes

NODE_ID = "InfiniteTalkSampler"
IMAGE_OUTPUT = 1
"""Index of the IMAGE output."""
ADVANCED = (
    "width", "height", "sampler_name", "scheduler", "window_frames", "motion_frames", "audio_scale", "apg",
    "end_padding", "resume", "part", "growing_video",
)  # fmt: skip
"""Inputs that newer editors fold."""


@folds(*ADVANCED)
def sampler_schema() -> io.Schema:
    """Schema of the InfiniteTalk Sampler; ids are public for ever."""
    return io.Schema(
        node_id=NODE_ID,
        display_name="InfiniteTalk Sampler",
        category=CATEGORY,
        description="Makes the person in a picture (or video) say the audio, for as long as the audio is. "
        "Finished windows are kept on disk: memory stays flat, and a job that was stopped goes on where it was.",
        inputs=[
            *_models(),
            *_sources(),
            *_size(),
            *_sampling(),
            *_windows(),
            *_source_video(),
            *_storyboard(),
            *_while_it_runs(),
        ],
        outputs=[
            io.Video.Output("talking_video", display_name="video", tooltip="The video with its sound."),
            io.Image.Output("frames", display_name="images", tooltip="All frames; only made when connected."),
            io.Int.Output("frame_count", display_name="frames", tooltip="Number of frames."),
        ],
        hidden=[io.Hidden.unique_id, io.Hidden.prompt],
    )


def _models() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="A Wan 2.1 image-to-video model (I2V 14B), with or without LoRAs."),
        InfiniteTalkModel.Input("infinitetalk", tooltip="From Load InfiniteTalk."),
        InfiniteTalkAudio.Input("audio_embeds", tooltip="From Audio Embeds: what is said, and how long the video is."),
        io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
    ]


def _sources() -> list[io.Input]:
    return [
        io.Image.Input(
            "image",
            optional=True,
            tooltip="The picture that talks. More than one image is taken as the frames of a source video.",
        ),
        io.Video.Input("source_video", optional=True, tooltip="A video to dub, in place of a picture."),
        io.Conditioning.Input("positive", optional=True, tooltip="The prompt. Unconnected: zero embeddings."),
        io.Conditioning.Input("negative", optional=True, tooltip="The negative prompt. Unconnected: zero embeddings."),
        io.ClipVision.Input(
            "clip_vision",
            optional=True,
            tooltip="clip_vision_h, which the model uses to keep the face. Unconnected: zero embeddings.",
        ),
        io.Mask.Input(
            "speaker_masks",
            optional=True,
            tooltip="Who is where: one mask per voice (Speaker Masks). Unconnected, two voices get the left and the "
            "right half. With one voice, only the first mask's face talks. InfiniteTalk is trained on two speakers.",
        ),
        io.Audio.Input("audio", optional=True, tooltip="Sound for the video, in place of the voices' own."),
    ]


def _size() -> list[io.Input]:
    return [
        io.Combo.Input(
            "resolution",
            options=list(get_args(Resolution)),
            default="480p",
            tooltip="480p and 720p: the trained size nearest to the picture's shape. from image: the picture's own "
            "size. The picture is scaled to cover the size and cropped in the middle.",
        ),
        io.Int.Input(
            "width",
            default=832,
            min=16,
            max=LONGEST_SIDE,
            step=16,
            tooltip="Width in pixels, a multiple of 16. Only used with resolution custom.",
        ),
        io.Int.Input(
            "height",
            default=480,
            min=16,
            max=LONGEST_SIDE,
            step=16,
            tooltip="Height in pixels, a multiple of 16. Only used with resolution custom.",
        ),
    ]


def _sampling() -> list[io.Input]:
    return [
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=2**64 - 1,
            control_after_generate=True,
            tooltip="Another seed, another performance. The same seed and inputs give the same video.",
        ),
        io.Int.Input(
            "steps",
            default=40,
            min=1,
            max=1000,
            tooltip="Steps per window: 40; 8 with the FusionX LoRA, 4 to 6 with lightx2v.",
        ),
        io.Float.Input(
            "text_cfg",
            default=5.0,
            min=0.0,
            max=100.0,
            step=0.1,
            tooltip="How closely the prompt is followed. 5; 1 with distilled LoRAs, which saves a third of the time.",
        ),
        io.Float.Input(
            "audio_cfg",
            default=4.0,
            min=0.0,
            max=100.0,
            step=0.1,
            tooltip="How strongly the mouth follows the audio. 4; 2 with FusionX, 1 with lightx2v.",
        ),
        io.Combo.Input(
            "sampler_name",
            options=comfy.samplers.SAMPLER_NAMES,
            default="euler",
            tooltip="euler is the authors' own.",
        ),
        io.Combo.Input(
            "scheduler",
            options=["infinitetalk", *comfy.samplers.SCHEDULER_NAMES],
            default="infinitetalk",
            tooltip="infinitetalk is the authors' own.",
        ),
        io.Float.Input(
            "shift",
            default=7.0,
            min=0.01,
            max=100.0,
            step=0.01,
            tooltip="7 for 480p, 11 for 720p, 2 with FusionX or lightx2v. A ModelSamplingSD3 node before the sampler "
            "wins over it, except with the scheduler infinitetalk.",
        ),
    ]


def _windows() -> list[io.Input]:
    return [
        io.Int.Input(
            "window_frames",
            default=81,
            min=5,
            max=1025,
            step=4,
            tooltip="Frames sampled at once, 4n + 1. The model was trained on 81; fewer need less memory.",
        ),
        io.Int.Input(
            "motion_frames",
            default=9,
            min=1,
            max=1021,
            step=4,
            tooltip="Frames that a window takes over from the one before, 4n + 1.",
        ),
        io.Float.Input(
            "audio_scale",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.01,
            tooltip="Strength of the audio inside the model. Leave it at 1 and use audio_cfg first.",
        ),
        io.Float.Input(
            "color_correction",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="Pulls the colors of every frame towards the picture's, against drift in long videos.",
        ),
        io.Boolean.Input(
            "apg",
            default=False,
            tooltip="Adaptive projected guidance: less saturation and artifacts at high guidance.",
        ),
        io.Combo.Input(
            "end_padding",
            options=list(END_PADDINGS),
            default="silence",
            tooltip="What the last window hears after the end: silence (a closed mouth), or the audio mirrored, as the "
            "authors do.",
        ),
        io.Boolean.Input(
            "resume",
            default=True,
            tooltip="Go on after the last finished window of a job with the same inputs that was stopped. Keep the "
            "seed fixed: another seed is another job.",
        ),
    ]


def _source_video() -> list[io.Input]:
    return [
        io.Float.Input(
            "denoise",
            optional=True,
            default=1.0,
            min=LEAST_DENOISE,
            max=1.0,
            step=0.01,
            tooltip="For a source video: how much is made anew. 1: all, each window from one frame of the source. "
            "Below, each window starts from the source's own frames and takes the last steps of a longer schedule: "
            "motion and camera stay, the more the lower. With shift 7, 0.5 starts at a noise level of about 0.87 and "
            "0.3 at 0.75; with shift 2 at 0.66 and 0.46. The node says it.",
        ),
        io.Mask.Input(
            "edit_mask",
            optional=True,
            tooltip="For a source video: where it may change, for example the lower half of the face. One mask, or one "
            "for every frame of the source. Outside of it and of its soft border (a thirtieth of the shorter side) "
            "every pixel stays the source's own.",
        ),
    ]


def _storyboard() -> list[io.Input]:
    return [
        InfiniteTalkScenes.Input(
            "scenes",
            optional=True,
            tooltip="From Scene: other pictures and prompts from some second on. The first scene is this node's own "
            "picture and prompt. Scenes that begin with a cut do not depend on each other.",
        ),
        io.String.Input(
            "part",
            optional=True,
            default="",
            tooltip="Make only a share of the scenes, for example 2/8, the second of eight shares, as a video with its "
            "own part of the sound. When all shares lie on one storage, the same graph without it puts them together. "
            "Empty: the whole video.",
        ),
    ]


def _while_it_runs() -> list[io.Input]:
    return [
        io.Boolean.Input(
            "growing_video",
            optional=True,
            default=False,
            tooltip="Write the finished windows, with their sound, to a video that grows while the job runs: on this "
            "node, and as a file in the output folder that a stopped job leaves there. Windows of a job that was "
            "stopped before are in it at once. It is deleted when the whole video is made.",
        ),
    ]
