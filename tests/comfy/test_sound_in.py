"""The nodes for sound on the real server: what they take, what they refuse, what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from comfy_client import ComfyClient, Prompt
from evaluation import finished
from talking_picture import find_node, inputs_of

from ..support import jobs, media


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path) -> Prompt:
    """A job that would work; each test spoils one thing."""
    return jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.3))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../secret.wav", "outside ComfyUI's"),
        ("sub/../../secret.wav", "outside ComfyUI's"),
        ("/etc/hostname", "outside ComfyUI's"),
        ("secret.wav [nowhere]", "is not in ComfyUI's"),
    ],
)
def test_a_path_outside_the_input_folder(
    client: ComfyClient, prompt: Prompt, folders: SimpleNamespace, name: str, words: str
):
    shutil.copyfile(media.write_speech(folders.input, 0.3), folders.input.parent / "secret.wav")
    inputs_of(prompt, "InfiniteTalkLoadAudio")["audio"] = name

    assert words in jobs.refusal(client, prompt)


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
def test_a_file_that_links_out_of_the_input_folder_is_neither_offered_nor_read(
    client: ComfyClient, prompt: Prompt, folders: SimpleNamespace, tmp_path: Path
):
    links = {"out.wav": media.write_speech(tmp_path, 0.3), "loop.wav": folders.input / "loop.wav"}
    inside = media.write_speech(folders.input, 0.3)
    links["in.wav"] = inside
    for name, target in links.items():
        (folders.input / name).symlink_to(target)
    try:
        offered = client.model_choices("InfiniteTalkLoadAudio", "audio")
        assert {"in.wav", inside.name} <= set(offered)
        assert not {"out.wav", "loop.wav"} & set(offered)
        inputs_of(prompt, "InfiniteTalkLoadAudio")["audio"] = "out.wav"
        assert "outside ComfyUI's" in jobs.refusal(client, prompt)
    finally:
        for name in links:
            (folders.input / name).unlink()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"duration": 5.0}, "0.300 s long"),
        ({"start_time": 0.2, "duration": 0.2}, "0.300 s long"),
        ({"start_time": 1.0}, "start earlier"),
    ],
)
def test_a_part_that_is_not_there(client: ComfyClient, prompt: Prompt, changes: dict[str, float], words: str):
    inputs_of(prompt, "InfiniteTalkLoadAudio").update(changes)

    assert words in jobs.refusal(client, prompt)


@pytest.mark.parametrize(("name", "value"), [("combine", "shuffled"), ("fps", 0.0), ("max_frames", -1)])
def test_values_that_the_widgets_do_not_offer(client: ComfyClient, prompt: Prompt, name: str, value: object):
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")[name] = value

    assert name in jobs.refusal(client, prompt)


def test_a_name_that_no_folder_list_has_is_not_opened(client: ComfyClient, prompt: Prompt):
    inputs_of(prompt, "InfiniteTalkWav2VecLoader")["model"] = "../../../input/x.safetensors"

    assert "is not in models/wav2vec2" in jobs.refusal(client, prompt)


def test_sound_of_a_video_under_a_difficult_name(
    client: ComfyClient, picture: Path, folders: SimpleNamespace, tmp_path: Path
):
    import imageio_ffmpeg

    video = tmp_path / "\u5b83's “talk” \U0001f600.mp4"
    subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-i", str(media.write_speech(tmp_path, 0.4))),
            *("-f", "lavfi", "-i", "testsrc=size=32x32:duration=0.4", "-c:v", "mpeg4", str(video)),
        ],
        check=True,
    )
    prompt = jobs.small_prompt(client, picture, video)
    saved, _ = finished.run(client, prompt)
    assert saved.is_file()


def test_the_node_says_how_many_frames(client: ComfyClient, prompt: Prompt):
    result = finished.run(client, prompt)[1]

    said = result.outputs[find_node(prompt, "InfiniteTalkAudioEmbeds")]["text"]
    assert said == ["Audio embeds created, actual frames: 8\n0.32 s, 25 fps, 1 speaker"]
