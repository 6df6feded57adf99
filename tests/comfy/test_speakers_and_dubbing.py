"""Two voices, masks and source videos, through the queue of a real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comfy_client import ComfyClient, Prompt
from evaluation import finished
from talking_picture import find_node, inputs_of

from ..support import jobs, media

FPS = 25


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path) -> Prompt:
    """A job of one window and a bit, one step, one pass."""
    sound = media.write_speech(tmp_path, 0.8)
    return jobs.small_prompt(client, picture, sound, steps=1, text_cfg=1.0, audio_cfg=1.0)


def frames_of(client: ComfyClient, prompt: Prompt) -> np.ndarray:
    """Frames of a job, `[F, H, W, 3]`."""
    inputs_of(prompt, "SaveVideoWithAudio")["crf"] = 0
    return finished.decode(finished.run(client, prompt)[0]).frames


def add_voice(client: ComfyClient, prompt: Prompt, number: int, sound: Path) -> None:
    """Connect one more voice to Audio Embeds."""
    prompt[f"voice{number}"] = {
        "class_type": "InfiniteTalkLoadAudio",
        "inputs": {"audio": client.upload(sound), "start_time": 0.0, "duration": 0.0},
    }
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")[f"audio_{number}"] = [f"voice{number}", 0]


def add_boxes(prompt: Prompt, boxes: str) -> None:
    """Connect Speaker Masks with these boxes."""
    prompt["masks"] = {
        "class_type": "InfiniteTalkSpeakerMasks",
        "inputs": {"image": [find_node(prompt, "LoadImage"), 0], "layout": "boxes", "boxes": boxes},
    }
    inputs_of(prompt, "InfiniteTalkSampler")["speaker_masks"] = ["masks", 0]


def test_two_voices_one_after_the_other_take_the_sum_of_their_times(client, prompt, tmp_path):
    add_voice(client, prompt, 2, media.write_speech(tmp_path, 0.6, seed=2))
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")["combine"] = "sequential"
    assert len(frames_of(client, prompt)) == 1.4 * FPS


def test_it_matters_where_the_two_speakers_are(client, prompt, tmp_path):
    add_voice(client, prompt, 2, media.write_speech(tmp_path, 0.8, seed=2))
    halves = frames_of(client, prompt)
    add_boxes(prompt, "0.5 0 0.5 1\n0 0 0.5 1")
    swapped = frames_of(client, prompt)
    assert len(halves) == len(swapped) == 0.8 * FPS
    assert np.abs(halves.astype(int) - swapped).max() > 1


def test_three_voices_at_once_are_refused_with_the_time(client, prompt, tmp_path):
    for number in (2, 3):
        add_voice(client, prompt, number, media.write_speech(tmp_path, 0.8, seed=number))
    add_boxes(prompt, "0 0 0.3 1\n0.3 0 0.3 1\n0.6 0 0.3 1")
    assert "3 voices overlap in time (voices 1 and 2 at 0.00 s" in jobs.refusal(client, prompt)


def test_three_voices_that_take_turns_are_spoken(client, prompt, tmp_path):
    for number in (2, 3):
        add_voice(client, prompt, number, media.write_speech(tmp_path, 0.4, seed=number))
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")["combine"] = "sequential"
    add_boxes(prompt, "0 0 0.3 1\n0.3 0 0.3 1\n0.6 0 0.3 1")
    assert len(frames_of(client, prompt)) == 1.6 * FPS


def test_a_video_is_dubbed_for_as_long_as_the_sound(client, prompt, tmp_path, folders):
    source, _ = finished.run(client, prompt)
    (folders.input / "source.mp4").write_bytes(source.read_bytes())
    longer = media.write_speech(tmp_path, 1.2, seed=4)
    inputs_of(prompt, "InfiniteTalkLoadAudio")["audio"] = client.upload(longer)
    prompt["source"] = {"class_type": "LoadVideo", "inputs": {"file": "source.mp4"}}
    sampler = inputs_of(prompt, "InfiniteTalkSampler")
    sampler["source_video"] = ["source", 0]
    assert "Both image and source_video are connected" in jobs.refusal(client, prompt)
    del sampler["image"]
    assert len(frames_of(client, prompt)) == 1.2 * FPS


def test_a_picture_of_any_size_makes_a_video_of_its_size(client, prompt):
    inputs_of(prompt, "InfiniteTalkSampler").update(resolution="from image", steps=1)
    prompt["small"] = {
        "class_type": "ImageScale",
        "inputs": {
            "image": [find_node(prompt, "LoadImage"), 0],
            "upscale_method": "bilinear",
            "width": 50,
            "height": 37,
            "crop": "disabled",
        },
    }
    inputs_of(prompt, "InfiniteTalkSampler")["image"] = ["small", 0]
    file, result = finished.run(client, prompt)
    assert finished.decode(file).frames.shape[1:3] == (32, 48)
    sampler = find_node(prompt, "InfiniteTalkSampler")
    said = [e.data["text"] for e in result.events if e.kind == "progress_text" and e.data["node"] == sampler]
    assert any("rounded from 50 × 37 to 48 × 32" in text for text in said)
