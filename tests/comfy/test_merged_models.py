"""On a real server, a merged model makes the video of the two files that hold its parts, and says whose it is."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from comfy_client import ComfyClient, Prompt
from evaluation.finished import decode, run
from safetensors.torch import load_file
from talking_picture import find_node, inputs_of
from tiny_models import BASE_I2V, INFINITETALK, TinyWan, wan_transformer

from ..support import jobs, media
from ..support.merged_models import FORMATS, StateDict, one_file, shards


@pytest.fixture(scope="module")
def parts(server) -> tuple[StateDict, StateDict]:
    """The base and the audio part of the server's tiny models."""
    models = server.base / "models"
    return load_file(models / BASE_I2V), load_file(models / INFINITETALK)


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path) -> Prompt:
    """One window that is made anew every time."""
    sound = media.write_speech(tmp_path, 0.4)
    return jobs.small_prompt(client, picture, sound, resolution="custom", resume=False)


def chosen(prompt: Prompt, base: Path, audio: Path, models: Path) -> Prompt:
    """The prompt with other files in core's loader and ours."""
    inputs_of(prompt, "UNETLoader")["unet_name"] = base.relative_to(models / "diffusion_models").as_posix()
    inputs_of(prompt, "InfiniteTalkModelLoader")["model"] = audio.relative_to(models / "diffusion_models").as_posix()
    return prompt


def merged(prompt: Prompt, file: Path, models: Path) -> str:
    """Have both loaders' work done by the one for merged models; returns its id."""
    node, old = find_node(prompt, "InfiniteTalkModelLoader"), find_node(prompt, "UNETLoader")
    name = file.relative_to(models / "diffusion_models").as_posix()
    inputs = {"model": name, "weight_dtype": "default"}
    prompt[node] = {"class_type": "InfiniteTalkMergedModelLoader", "inputs": inputs}
    del prompt[old]
    for content in prompt.values():
        for key, value in content["inputs"].items():
            if value == [old, 0]:
                content["inputs"][key] = [node, 0]
    inputs_of(prompt, "InfiniteTalkSampler")["infinitetalk"] = [node, 1]
    return node


@pytest.mark.parametrize("name", ["fp16", "bf16 in shards", "scaled fp8", "GGUF F16"])
def test_the_same_video_as_with_two_files(
    client: ComfyClient, folders: SimpleNamespace, prompt: Prompt, parts: tuple[StateDict, StateDict], name: str
):
    how, folder = FORMATS[name], folders.models / "diffusion_models" / name
    together = how.write(folder / "together", how.stored({**parts[0], **parts[1]}))
    # Core's loader reads neither shards nor GGUF: the same numbers in one safetensors file.
    base, audio = (one_file(folder / part, how.stored(parts[place])) for place, part in enumerate(("base", "audio")))
    expected, _ = run(client, chosen(prompt, base, audio, folders.models))
    merged(prompt, together, folders.models)
    inputs_of(prompt, "SaveVideoWithAudio")["filename_prefix"] += "-merged"
    ours, _ = run(client, prompt)
    assert np.array_equal(decode(ours).frames, decode(expected).frames)


def test_both_loaders_take_the_merged_file_itself(
    client: ComfyClient, folders: SimpleNamespace, prompt: Prompt, parts: tuple[StateDict, StateDict]
):
    expected, _ = run(client, prompt)
    file = one_file(folders.models / "diffusion_models" / "whole", {**parts[0], **parts[1]})
    inputs_of(prompt, "SaveVideoWithAudio")["filename_prefix"] += "-merged"
    ours, _ = run(client, chosen(prompt, file, file, folders.models))
    assert np.array_equal(decode(ours).frames, decode(expected).frames)


def test_flashtalk_is_named_and_forty_steps_are_noticed(
    client: ComfyClient, folders: SimpleNamespace, prompt: Prompt, parts: tuple[StateDict, StateDict]
):
    index = shards(folders.models / "diffusion_models" / "SoulX-FlashTalk-14B", {**parts[0], **parts[1]})
    node = merged(prompt, index, folders.models)
    inputs_of(prompt, "InfiniteTalkSampler").update(steps=9, text_cfg=5.0, audio_cfg=4.0)
    _, result = run(client, prompt)
    outputs = result.history["outputs"]
    (told,) = outputs[node]["text"]
    assert told.startswith("SoulX-FlashTalk\n")
    assert "steps 4" in told
    (warning,) = outputs[find_node(prompt, "InfiniteTalkSampler")]["text"]
    assert "9 steps, text_cfg 5, audio_cfg 4" in warning

    inputs_of(prompt, "InfiniteTalkSampler").update(
        steps=4, text_cfg=1.0, audio_cfg=1.0, sampler_name="lcm", scheduler="simple", shift=5.0
    )
    _, result = run(client, prompt)
    assert result.history["outputs"][find_node(prompt, "InfiniteTalkSampler")]["text"] == []


def test_a_merged_model_on_a_text_to_video_base(
    client: ComfyClient, folders: SimpleNamespace, prompt: Prompt, parts: tuple[StateDict, StateDict]
):
    base = {name: torch.from_numpy(values) for name, values in wan_transformer(TinyWan(in_channels=16), 11).items()}
    merged(prompt, one_file(folders.models / "diffusion_models" / "t2v", {**base, **parts[1]}), folders.models)
    assert "text-to-video" in jobs.refusal(client, prompt)


def test_a_file_without_a_base_is_refused_before_anything_is_made(
    client: ComfyClient, folders: SimpleNamespace, prompt: Prompt, parts: tuple[StateDict, StateDict]
):
    merged(prompt, one_file(folders.models / "diffusion_models" / "audio alone", parts[1]), folders.models)
    assert "no base model in it" in jobs.refusal(client, prompt)
