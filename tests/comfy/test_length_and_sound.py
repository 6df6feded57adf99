"""The file is exactly as long as the sound, and the sound in it is the user's own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from comfy_client import ComfyClient
from evaluation import finished
from talking_picture import find_node, inputs_of

from ..support import jobs, media

RATE = 22_050


@pytest.mark.parametrize("seconds", [0.4, 3.24, 3.28, 7.3, 12.0])
def test_the_file_has_exactly_the_frames_of_the_speech_and_its_sound(
    client: ComfyClient, picture: Path, tmp_path: Path, seconds: float
):
    source = media.speech(seconds, RATE)
    sound = media.write_sound(tmp_path, source, RATE)

    file, _ = finished.run(client, jobs.small_prompt(client, picture, sound))

    made = finished.decode(file)
    assert len(made.frames) == math.ceil(seconds * 25)
    assert made.frame_rate == 25
    assert made.frames.shape[1:3] == (jobs.SMALL["height"], jobs.SMALL["width"])
    assert_same_sound(made, source, RATE)


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (8_000, 1)])
def test_rate_and_channels_are_those_of_the_source(
    client: ComfyClient, picture: Path, tmp_path: Path, rate: int, channels: int
):
    source = media.speech(0.9, rate, channels)
    sound = media.write_sound(tmp_path, source, rate)

    file, _ = finished.run(client, jobs.small_prompt(client, picture, sound))

    made = finished.decode(file)
    assert len(made.frames) == 23
    assert_same_sound(made, source, rate)


def test_silence_makes_a_silent_video(client: ComfyClient, picture: Path, tmp_path: Path):
    sound = media.write_sound(tmp_path, np.zeros((RATE // 2, 1)), RATE)

    file, _ = finished.run(client, jobs.small_prompt(client, picture, sound))

    made = finished.decode(file)
    assert len(made.frames) == 13
    assert np.abs(made.sound).max() < 1e-4


def test_sound_of_one_sample_makes_one_frame(client: ComfyClient, picture: Path, tmp_path: Path):
    sound = media.write_sound(tmp_path, np.full((1, 1), 0.5), RATE)

    file, _ = finished.run(client, jobs.small_prompt(client, picture, sound))

    assert len(finished.decode(file).frames) == 1


def test_the_images_of_a_sampler_in_a_loop_are_made(client: ComfyClient, picture: Path, tmp_path: Path):
    """Nodes for loops put copies of nodes into the graph while it runs: who takes their images is not to be seen."""
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.4))
    inner = prompt.pop(find_node(prompt, "InfiniteTalkSampler"))
    prompt["loop"] = {"class_type": "AnyLoop", "inputs": {"node": json.dumps(inner), "output": 1}}
    saved = inputs_of(prompt, "SaveVideoWithAudio")
    del saved["video"]
    saved["images"] = ["loop", 0]

    file, _ = finished.run(client, prompt)

    assert len(finished.decode(file).frames) == 10


def assert_same_sound(made: finished.Decoded, source: np.ndarray, rate: int) -> None:
    """Sound and picture start at 0, and the sound is the source but for AAC's loss."""
    assert made.times[0] == 0
    assert made.sound_start == 0
    assert made.sample_rate == rate
    assert made.sound.shape[1] == source.shape[1]
    assert abs(media.samples_late(made.sound[:, 0], source[:, 0], rate // 10)) < rate / 1000
    heard = made.sound[: len(source)]
    for channel in range(source.shape[1]):
        assert np.corrcoef(heard[:, channel], source[: len(heard), channel])[0, 1] > 0.98
