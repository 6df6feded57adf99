"""Same inputs, same file; other sound, picture, LoRA or seed, other frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comfy_client import ComfyClient, Prompt
from evaluation import finished
from PIL import Image
from talking_picture import find_node, inputs_of

from ..support import jobs, media, more_models


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """One window of speech and a few frames of the next."""
    return media.write_speech(tmp_path, 0.8)


@pytest.fixture
def plain(client: ComfyClient, picture: Path, sound: Path) -> np.ndarray:
    """Frames of the job that the others are compared with, `[F, H, W, 3]`."""
    return frames_of(client, jobs.small_prompt(client, picture, sound))


def frames_of(client: ComfyClient, prompt: Prompt) -> np.ndarray:
    """Frames of a job, saved without loss of detail worth mentioning."""
    inputs_of(prompt, "SaveVideoWithAudio")["crf"] = 0
    file, _ = finished.run(client, prompt)
    return finished.decode(file).frames


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference in 8-bit levels."""
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


def test_the_same_job_computed_twice_is_the_same_file_to_the_bit(client: ComfyClient, picture: Path, sound: Path):
    prompt = jobs.small_prompt(client, picture, sound, resume=False)
    inputs_of(prompt, "SaveVideoWithAudio")["save_metadata"] = False
    first, _ = finished.run(client, prompt)

    # Models are forgotten; so are results, but maybe only after the next job: a file of another name is loaded anew.
    client.post("/free", {"unload_models": True, "free_memory": True})
    copy = sound.with_name("the same sound.wav")
    copy.write_bytes(sound.read_bytes())
    inputs_of(prompt, "InfiniteTalkLoadAudio")["audio"] = client.upload(copy)
    second, result = finished.run(client, prompt)

    assert find_node(prompt, "InfiniteTalkSampler") in result.executed_nodes
    assert jobs.sampler_progress(prompt, result.events), "nothing was sampled"
    assert second != first
    assert second.read_bytes() == first.read_bytes()


def test_other_sound_makes_other_frames(client: ComfyClient, picture: Path, plain: np.ndarray, tmp_path: Path):
    other = media.write_speech(tmp_path, 0.8, seed=3)

    changed = frames_of(client, jobs.small_prompt(client, picture, other))

    assert changed.shape == plain.shape
    assert difference(changed, plain) > 0.2


def test_a_lora_on_the_base_model_changes_the_frames(
    client: ComfyClient, picture: Path, sound: Path, plain: np.ndarray
):
    prompt = jobs.small_prompt(client, picture, sound)
    loader = find_node(prompt, "UNETLoader")
    prompt["lora"] = {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"model": [loader, 0], "lora_name": more_models.LORA, "strength_model": 1.0},
    }
    inputs_of(prompt, "InfiniteTalkSampler")["model"] = ["lora", 0]

    assert difference(frames_of(client, prompt), plain) > 0.2


def test_another_seed_makes_other_frames(client: ComfyClient, picture: Path, sound: Path, plain: np.ndarray):
    changed = frames_of(client, jobs.small_prompt(client, picture, sound, seed=7))

    assert difference(changed, plain) > 0.2


def test_a_picture_with_alpha_is_the_picture_without_it(
    client: ComfyClient, picture: Path, sound: Path, plain: np.ndarray, tmp_path: Path
):
    with_alpha = Image.open(picture).convert("RGBA")
    with_alpha.putalpha(Image.linear_gradient("L").resize(with_alpha.size))
    file = tmp_path / "face with alpha.png"
    with_alpha.save(file)

    assert difference(frames_of(client, jobs.small_prompt(client, file, sound)), plain) == 0


def test_the_picture_decides_the_frames(
    client: ComfyClient, picture: Path, sound: Path, plain: np.ndarray, tmp_path: Path
):
    mirrored = tmp_path / "mirrored.png"
    Image.open(picture).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(mirrored)

    assert difference(frames_of(client, jobs.small_prompt(client, mirrored, sound)), plain) > 0.2
