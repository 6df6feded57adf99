"""Save Video With Audio on a real server, with pictures of core's own nodes."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from comfy_client import ComfyClient, Prompt
from evaluation import finished

from ..support import jobs, media

FRAMES, FPS = 12, 24.0


def saving(client: ComfyClient, sound: Path | None = None, **inputs: Any) -> Prompt:
    """Twelve plain pictures of 48 × 32 and, if given, a sound, into a file of a name of its own."""
    picture = {"width": 48, "height": 32, "batch_size": FRAMES, "color": 0x3060C0}
    save = {
        "images": ["pictures", 0], "fps": FPS, "filename_prefix": f"tests/{uuid.uuid4().hex[:12]}",
        "format": "mp4 h264", "crf": 19, "audio_bitrate": 192, "audio_fit": "trim or pad to the video",
        "if_audio_fails": "save silent video", "save_metadata": True,
    }  # fmt: skip
    prompt = {
        "pictures": {"class_type": "EmptyImage", "inputs": picture},
        "save": {"class_type": "SaveVideoWithAudio", "inputs": {**save, **inputs}},
    }
    if sound is not None:
        file = {"audio": client.upload(sound), "start_time": 0.0, "duration": 0.0}
        prompt["sound"] = {"class_type": "InfiniteTalkLoadAudio", "inputs": file}
        prompt["save"]["inputs"]["audio"] = ["sound", 0]
    return prompt


def test_pictures_and_any_sound_become_a_file(client, tmp_path):
    sound = media.write_speech(tmp_path, 2.0, rate=8000)
    file, _ = finished.run(client, saving(client, sound))
    video = finished.decode(file)
    assert video.frames.shape == (FRAMES, 32, 48, 3)
    assert video.frame_rate == FPS
    assert video.sample_rate == 8000
    assert abs(len(video.sound) / 8000 - FRAMES / FPS) <= 1024 / 8000  # one AAC frame


def test_sound_can_be_kept_longer_than_the_picture(client, tmp_path):
    sound = media.write_speech(tmp_path, 2.0)
    file, _ = finished.run(client, saving(client, sound, audio_fit="keep all"))
    assert len(finished.decode(file).sound) / 22_050 == pytest.approx(2.0, abs=0.05)


def test_cores_video_goes_in_and_ours_goes_into_core(client, tmp_path):
    prompt = saving(client, media.write_speech(tmp_path, 0.5))
    prompt["core"] = {
        "class_type": "CreateVideo",
        "inputs": {"images": ["pictures", 0], "audio": ["sound", 0], "fps": 30.0},
    }
    del prompt["save"]["inputs"]["images"], prompt["save"]["inputs"]["audio"]
    prompt["save"]["inputs"]["video"] = ["core", 0]
    prompt["back"] = {
        "class_type": "SaveVideo",
        "inputs": {"video": ["save", 0], "filename_prefix": "tests/core", "format": "auto", "codec": "auto"},
    }
    file, result = finished.run(client, prompt)
    video = finished.decode(file)
    assert (len(video.frames), video.frame_rate) == (FRAMES, 30.0)
    assert video.sample_rate == 22_050
    assert result.outputs["back"]["images"]


@pytest.mark.parametrize("prefix", ["../../x", "a/../../../x", "/etc/x", ""])
def test_a_prefix_cannot_leave_the_output_folder(client, folders, prefix):
    sentence = jobs.refusal(client, saving(client, filename_prefix=prefix))
    assert "filename_prefix" in sentence
    assert not (folders.output.parent.parent / "x_00001_.mp4").exists()


@pytest.mark.parametrize("prefix", ["tests/-i", "tests/100%", "tests/\u804a\u5929 \U0001f642", "tests/a b'c"])
def test_odd_prefixes_are_names_and_never_options(client, prefix):
    file, _ = finished.run(client, saving(client, filename_prefix=prefix))
    assert file.name.startswith(prefix.removeprefix("tests/"))
    assert file.stat().st_size > 0


def test_a_name_that_is_too_long_gets_a_sentence(client):
    assert "filename_prefix" in jobs.refusal(client, saving(client, filename_prefix="tests/" + "n" * 300))


def test_both_or_neither_of_images_and_video_get_a_sentence(client):
    both = saving(client)
    both["video"] = {"class_type": "CreateVideo", "inputs": {"images": ["pictures", 0], "fps": 24.0}}
    both["save"]["inputs"]["video"] = ["video", 0]
    assert "Both images and video" in jobs.refusal(client, both)
    neither = saving(client)
    del neither["save"]["inputs"]["images"]
    assert "either images nor video" in jobs.refusal(client, neither)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can mount a small disk")
def test_a_video_that_lost_its_sound_to_a_full_disk_is_made_again_by_the_same_graph(client, folders, tmp_path):
    name = f"small-{uuid.uuid4().hex[:12]}"
    disk = folders.output / name
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if (mounted := subprocess.run(command, check=False, capture_output=True)).returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode().strip()}")
    try:
        sound = media.write_speech(tmp_path, 60.0)
        prompt = saving(client, sound, filename_prefix=f"{name}/talk", audio_fit="keep all")
        file, result = finished.run(client, prompt)
        assert "saved without sound" in result.outputs["save"]["text"][0]
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        again, _ = finished.run(client, prompt)
        assert again != file
        assert len(finished.decode(again).sound) / 22_050 == pytest.approx(60, abs=0.1)
        _, third = finished.run(client, prompt)
        assert "save" in third.cached_nodes
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("sent", [["x"], 7, "text", {"workflow": "\ud800", "\ud800": 1}, None])
def test_whatever_a_client_sends_as_metadata_the_video_is_saved(client, sent):
    prompt = saving(client)
    prompt["pictures"]["_meta"] = "no dict"
    prompt["save"]["inputs"]["filename_prefix"] += "%Empty.width%"
    result = client.run(prompt, extra_data={"extra_pnginfo": sent})
    assert result.error is None, result.error_message
    assert len(finished.decode(finished.saved_file(prompt, result.history)).frames) == FRAMES
