"""A user's mistake gets one sentence, before any sampling."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from comfy_client import ComfyClient, Prompt
from talking_picture import inputs_of
from tiny_models import TinyInfiniteTalk

from ..support import jobs, media, more_models


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path) -> Prompt:
    """A job that would work; each test spoils one thing."""
    return jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.3))


def assert_one_sentence(message: str, *parts: str) -> None:
    """A sentence for a person that names what matters, and no traceback."""
    assert message.endswith("."), message
    assert "\n" not in message
    assert "Traceback" not in message
    for part in parts:
        assert re.search(part, message, re.IGNORECASE), f"{part!r} is not in: {message}"


@pytest.mark.parametrize(
    ("node", "input_name"),
    [("InfiniteTalkModelLoader", "model"), ("InfiniteTalkWav2VecLoader", "model")],
)
def test_a_model_file_that_is_not_there(client: ComfyClient, prompt: Prompt, node: str, input_name: str):
    inputs_of(prompt, node)[input_name] = "not_there.safetensors"

    assert_one_sentence(jobs.refusal(client, prompt), "not_there.safetensors", "models/|folder")


def test_a_text_to_video_model_as_base(client: ComfyClient, prompt: Prompt):
    inputs_of(prompt, "UNETLoader")["unet_name"] = more_models.T2V

    assert_one_sentence(jobs.refusal(client, prompt), "T2V|text.to.video", "I2V|image.to.video")


def test_a_base_model_of_another_width(client: ComfyClient, prompt: Prompt):
    inputs_of(prompt, "UNETLoader")["unet_name"] = more_models.OTHER_WIDTH

    assert_one_sentence(jobs.refusal(client, prompt), "384", "256")


def test_a_lora_as_infinitetalk_weights(client: ComfyClient, prompt: Prompt):
    inputs_of(prompt, "InfiniteTalkModelLoader")["model"] = more_models.LORA

    assert_one_sentence(jobs.refusal(client, prompt), "LoRA", "InfiniteTalk")


def test_a_wav2vec_of_another_width_than_the_weights_expect(
    client: ComfyClient, prompt: Prompt, tiny_infinitetalk: TinyInfiniteTalk
):
    inputs_of(prompt, "InfiniteTalkWav2VecLoader")["model"] = more_models.LARGE_WAV2VEC

    audio = tiny_infinitetalk.audio
    expected = str(audio.layers * audio.hidden)
    assert_one_sentence(jobs.refusal(client, prompt), "192", expected, "wav2vec")


@pytest.mark.parametrize("name", ["notes.txt", "notes.wav"])
def test_a_text_file_as_sound(client: ComfyClient, prompt: Prompt, tmp_path: Path, name: str):
    text = tmp_path / name
    text.write_text("This is not a sound.\n" * 100, encoding="utf-8")
    inputs_of(prompt, "InfiniteTalkLoadAudio")["audio"] = client.upload(text)

    assert_one_sentence(jobs.refusal(client, prompt), "notes", "sound|audio")


def test_a_width_that_is_no_multiple_of_16(client: ComfyClient, prompt: Prompt):
    inputs_of(prompt, "InfiniteTalkSampler")["width"] = 500

    assert_one_sentence(jobs.refusal(client, prompt), "500", "16")


def test_no_picture(client: ComfyClient, prompt: Prompt):
    del inputs_of(prompt, "InfiniteTalkSampler")["image"]

    assert_one_sentence(jobs.refusal(client, prompt), "picture|image")
