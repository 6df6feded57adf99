"""Dubbing that keeps the shot, through the queue of a real server and in the decoded file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comfy_client import ComfyClient, Prompt
from evaluation import dubbing, finished
from talking_picture import find_node, inputs_of

from ..support import jobs, media

SECONDS, FRAMES, HEIGHT, WIDTH = 1.4, 35, 32, 48  # three windows, which start at 0, 12 and 24
BOX = "0.5 0.5 0.25 0.5"
BORDER = 2  # pixels at this size


@pytest.fixture
def frames() -> np.ndarray:
    """The source, uint8 `[FRAMES, HEIGHT, WIDTH, 3]`: one shot that pans over a picture."""
    (still,) = (media.make_pictures(1, HEIGHT, WIDTH).numpy() * 255).astype(np.uint8)
    return np.stack([np.roll(still, frame, axis=1) for frame in range(FRAMES)])


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path, frames: np.ndarray) -> Prompt:
    """The source says something else; each test chooses what is kept."""
    sound = media.write_speech(tmp_path, SECONDS)
    prompt = jobs.small_prompt(client, picture, sound, steps=1, text_cfg=1.0, audio_cfg=1.0)
    inputs_of(prompt, "SaveVideoWithAudio")["format"] = dubbing.LOSSLESS
    prompt["source"] = {"class_type": "LoadVideo", "inputs": {}}
    choose(client, prompt, frames, tmp_path)
    sampler = inputs_of(prompt, "InfiniteTalkSampler")
    sampler["source_video"] = ["source", 0]
    del sampler["image"]
    return prompt


def choose(client: ComfyClient, prompt: Prompt, frames: np.ndarray, folder: Path) -> None:
    """Take these frames as the source."""
    file = folder / f"source_{np.sum(frames, dtype=np.int64)}.mp4"
    prompt["source"]["inputs"]["file"] = client.upload(dubbing.lossless(frames, file))


def add_boxes(prompt: Prompt, boxes: str, follow: bool = False) -> None:
    """Only what is in the boxes may change."""
    inputs = {"image": ["source", 0], "layout": "boxes", "boxes": boxes, "follow": follow}
    prompt["masks"] = {"class_type": "InfiniteTalkSpeakerMasks", "inputs": inputs}
    inputs_of(prompt, "InfiniteTalkSampler")["edit_mask"] = ["masks", 0]


def texts(prompt: Prompt, events: list) -> list[str]:
    """What the sampler wrote on itself."""
    sampler = find_node(prompt, "InfiniteTalkSampler")
    return [e.data["text"] for e in events if e.kind == "progress_text" and e.data["node"] == sampler]


def test_in_the_file_all_pixels_outside_of_the_mask_are_the_sources(client, prompt, frames):
    add_boxes(prompt, BOX)
    file, result = finished.run(client, prompt)
    assert FRAMES in {event.data["max"] for event in jobs.sampler_progress(prompt, result.events)}, "looking for cuts"
    made = finished.decode(file).frames
    assert made.shape == frames.shape
    difference = np.abs(made.astype(int) - frames)
    box = np.zeros((HEIGHT, WIDTH), bool)
    box[HEIGHT // 2 - BORDER :, WIDTH // 2 - BORDER : WIDTH * 3 // 4 + BORDER] = True
    assert difference[:, ~box].max() == 0
    assert (difference[:, box].max(axis=(1, 2)) > 0).all()


def test_a_changed_frame_makes_its_window_anew_and_the_level_is_said(client, prompt, frames, tmp_path):
    add_boxes(prompt, BOX, follow=True)
    inputs_of(prompt, "InfiniteTalkSampler")["denoise"] = 0.5
    first, result = finished.run(client, prompt)
    assert any("denoise 0.5" in text and "noise level of" in text for text in texts(prompt, result.events))
    other = frames.copy()
    other[32, 3, 5] ^= 8  # a pixel of the last window
    choose(client, prompt, other, tmp_path)
    second, result = finished.run(client, prompt)
    assert "Resumed at window 3 of 3" in texts(prompt, result.events)
    kept, again = finished.decode(first).frames, finished.decode(second).frames
    assert np.array_equal(kept[:29], again[:29])
    assert np.array_equal(again[32, 3, 5], other[32, 3, 5])


def test_what_cannot_work_is_refused(client, prompt, picture):
    add_boxes(prompt, f"{BOX}\n0 0 0.2 0.2")
    assert "edit_mask has 2 masks and the source video 35 frames" in jobs.refusal(client, prompt)
    solid = {"value": 0.0, "width": WIDTH, "height": HEIGHT}
    prompt["masks"] = {"class_type": "SolidMask", "inputs": solid}
    assert "edit_mask is empty within the 48 × 32 video" in jobs.refusal(client, prompt)
    sampler = inputs_of(prompt, "InfiniteTalkSampler")
    sampler["image"] = [find_node(prompt, "LoadImage"), 0]
    del sampler["source_video"]
    assert "edit_mask is connected, but there is one picture and no source video" in jobs.refusal(client, prompt)
    del sampler["edit_mask"]
    sampler["denoise"] = 0.5
    assert "denoise is 0.5, but there is one picture and no source video" in jobs.refusal(client, prompt)
    inputs = {"image": [find_node(prompt, "LoadImage"), 0], "layout": "halves", "boxes": BOX, "follow": True}
    prompt["masks"] = {"class_type": "InfiniteTalkSpeakerMasks", "inputs": inputs}
    sampler["speaker_masks"] = ["masks", 0]
    assert "follow is on, but the layout is halves" in jobs.refusal(client, prompt)
