"""Sync Plot on a real server: after the sampler, after core's Load Video, and refused."""

from __future__ import annotations

import io
import uuid
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfy_client import ComfyClient, ComfyError, JobResult, Prompt
from evaluation import finished
from infinitetalk.sync import plot
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.video_io.save.file_name import make_target
from infinitetalk.video_io.save.formats import FORMATS
from infinitetalk.video_io.save.writer import SaveSettings, save_video
from PIL import Image
from talking_picture import find_node

from ..support import jobs, media
from ..support.plot_marks import marked_columns, marks_stand_at
from ..support.talking_faces import talking, voice

FPS = 25


def with_plot(prompt: Prompt, **inputs: Any) -> Prompt:
    """The prompt with a Sync Plot, saved by core's Save Image."""
    plotted = {"class_type": "InfiniteTalkSyncPlot", "inputs": {"fps": float(FPS), "box": "", **inputs}}
    saved = {"images": ["plot", 0], "filename_prefix": f"tests/{uuid.uuid4().hex[:12]}"}
    return {**prompt, "plot": plotted, "saved": {"class_type": "SaveImage", "inputs": saved}}


def saved_plot(client: ComfyClient, result: JobResult, folder: Path) -> np.ndarray:
    """The picture that Save Image wrote, [H, W, 3] uint8."""
    assert not result.error, result.error_message + "".join(result.error.get("traceback", []))
    (file,) = result.outputs["saved"]["images"]
    client.view(file, folder / "plot.png")
    return np.asarray(Image.open(io.BytesIO((folder / "plot.png").read_bytes())).convert("RGB"))


def sentence(result: JobResult) -> str:
    """What the node says."""
    (text,) = [e.data["text"] for e in result.events if e.kind == "progress_text" and e.data["node"] == "plot"]
    assert result.outputs["plot"]["text"] == [text], "newer editors take the progress text away with the job"
    return text


@pytest.fixture
def talking_file(client: ComfyClient, tmp_path: Path) -> str:
    """Name of an mp4 in the input folder: six seconds of a face whose mouth is five frames late."""
    spoken = voice(6, 1)
    images = talking(spoken.opening(6 * FPS, FPS, 5))
    target = make_target(f"late_{uuid.uuid4().hex[:8]}", tmp_path, ".mp4")
    settings = SaveSettings(FORMATS["mp4 h264"])
    return client.upload(save_video(ImageFrames(images, Fraction(FPS)), spoken.audio, target, settings).path)


def test_the_samplers_video_is_plotted_with_its_seams(client: ComfyClient, picture: Path, tmp_path: Path):
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 2.0))
    prompt = with_plot(prompt, video=[find_node(prompt, "InfiniteTalkSampler"), 0])
    file, result = finished.run(client, prompt)
    frames = len(finished.decode(file).frames)
    step = jobs.SMALL["window_frames"] - jobs.SMALL["motion_frames"]
    seams = range(jobs.SMALL["window_frames"], frames, step)
    assert len(seams) == 3
    pixels = saved_plot(client, result, tmp_path)
    assert pixels.shape == (plot.HEIGHT, plot.WIDTH, 3)
    marks = marked_columns(pixels, plot.SEAM) | marked_columns(pixels, plot.BAD_SEAM)
    assert marks_stand_at(marks, seams, frames)
    assert sentence(result)


@pytest.mark.parametrize("box", ["", "0.5 0.5 0.25 0.3"])
def test_a_saved_file_is_plotted_through_cores_load_video(
    client: ComfyClient, talking_file: str, tmp_path: Path, box: str
):
    load = {"load": {"class_type": "LoadVideo", "inputs": {"file": talking_file}}}
    result = client.run(with_plot(load, video=["load", 0], box=box))
    pixels = saved_plot(client, result, tmp_path)
    assert sentence(result).startswith("Picture late by 5 frames (0.20 s): r = 0.9")
    assert marked_columns(pixels, plot.SEAM) == marked_columns(pixels, plot.BAD_SEAM) == set()
    progress = [e.data for e in result.events if e.kind == "progress" and e.data["node"] == "plot"]
    assert (progress[-1]["value"], progress[-1]["max"]) == (6 * FPS, 6 * FPS)


def test_images_are_plotted_at_their_rate_with_a_sound_of_their_own(
    client: ComfyClient, talking_file: str, tmp_path: Path
):
    load = {
        "load": {"class_type": "LoadVideo", "inputs": {"file": talking_file}},
        "parts": {"class_type": "GetVideoComponents", "inputs": {"video": ["load", 0]}},
    }
    result = client.run(with_plot(load, images=["parts", 0], audio=["parts", 1], fps=["parts", 2]))
    saved_plot(client, result, tmp_path)
    assert sentence(result).startswith("Picture late by 5 frames (0.20 s)")


def test_another_sound_can_stand_in_for_the_videos_own(client: ComfyClient, talking_file: str, tmp_path: Path):
    other = media.write_sound(tmp_path, voice(6, 2).wave[:, None], 16_000)
    load = {
        "load": {"class_type": "LoadVideo", "inputs": {"file": talking_file}},
        "sound": {
            "class_type": "InfiniteTalkLoadAudio",
            "inputs": {"audio": client.upload(other), "start_time": 0.0, "duration": 0.0},
        },
    }
    result = client.run(with_plot(load, video=["load", 0], audio=["sound", 0]))
    saved_plot(client, result, tmp_path)
    assert sentence(result).startswith("No clear agreement")


IMAGES = {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 32, "batch_size": 3, "color": 0}}
SILENT_VIDEO = {"class_type": "CreateVideo", "inputs": {"images": ["images", 0], "fps": 25.0}}


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        ({}, "Neither video nor images is connected"),
        ({"images": ["images", 0], "video": ["video", 0]}, "Both video and images are connected"),
        ({"images": ["images", 0]}, "There is no sound to compare the picture with"),
        ({"video": ["video", 0]}, "There is no sound to compare the picture with"),
        ({"images": ["images", 0], "box": "10 10 50 50"}, "does not lie in the picture"),
        ({"images": ["images", 0], "box": "mouth"}, "is not four numbers"),
        ({"images": ["images", 0], "fps": 0.0}, "fps"),
    ],
)
def test_a_mistake_gets_a_sentence(client: ComfyClient, inputs: dict[str, Any], found: str):
    prompt = with_plot({"images": IMAGES, "video": SILENT_VIDEO}, **inputs)
    try:
        message = client.run(prompt).error_message
    except ComfyError as error:
        message = str(error)
    assert found in message
    assert "\n" not in message
