"""Source videos as people have them, through every node that takes one: titles in old code pages, HDR."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from comfy_client import ComfyClient, Prompt
from evaluation import finished
from talking_picture import find_node, inputs_of

from ..support import files, jobs, media

LATIN_1, SHIFT_JIS = "\u00e9t\u00e9 \u00e0 No\u00ebl".encode("latin-1"), "\u30c6\u30b9\u30c8".encode("shift_jis")
HDR = "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path) -> Prompt:
    """The source video is dubbed, plotted against itself, and saved again."""
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.6), steps=1, text_cfg=1, audio_cfg=1)
    prompt["source"] = {"class_type": "LoadVideo", "inputs": {}}
    sampler = inputs_of(prompt, "InfiniteTalkSampler")
    del sampler["image"]
    sampler["source_video"] = ["source", 0]
    plot = {"video": ["source", 0], "source_video": ["source", 0], "fps": 25.0, "box": ""}
    prompt["plot"] = {"class_type": "InfiniteTalkSyncPlot", "inputs": plot}
    prompt["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["plot", 0]}}
    again = {**inputs_of(prompt, "SaveVideoWithAudio"), "filename_prefix": "tests/again", "video": ["source", 0]}
    prompt["again"] = {"class_type": "SaveVideoWithAudio", "inputs": again}
    return prompt


@pytest.mark.parametrize("title", [LATIN_1, SHIFT_JIS], ids=["Latin-1", "Shift-JIS"])
@pytest.mark.parametrize("name", ["x.avi", "hdr.mp4"])
def test_any_title_is_taken_by_every_node_and_hdr_is_said_on_each(client, prompt, tmp_path, title, name):
    made = [*files.counter(0.6), "-i", files.voice(tmp_path, 0.6)]
    made += ["-vf", HDR, "-c:v", "libx264"] if name == "hdr.mp4" else []
    source = files.titled(tmp_path / f"{len(title)}-{name}", title, *made)
    called = source.name if os.name == "nt" else f"<b>{source.name}"  # editors show what is written on a node as HTML
    prompt["source"]["inputs"]["file"] = client.upload(source, called)
    result = client.run(prompt)
    assert not result.error, result.error_message
    frames = 16 if name == "x.avi" else 15  # ffmpeg's AVI has a place without a picture, for the delay of its MP3
    assert f"{frames} frames, 25 fps" in result.outputs["again"]["text"][0]
    nodes = {"plot", "again", sampler := find_node(prompt, "InfiniteTalkSampler")}
    texts = [(e.data["node"], e.data["text"]) for e in result.events if e.kind == "progress_text"]
    assert "<" not in str(texts)
    texts += [("again", result.outputs["again"]["text"][0])]
    note = f"{called} is HDR: it was brought to SDR."
    saying = {node for node, text in texts if note in text or note.replace("<b>", "‹b›") in text}
    assert saying == (nodes if name == "hdr.mp4" else set())
    kept = result.history["outputs"].get(sampler, {}).get("text", [])
    assert kept == ([note] if name == "hdr.mp4" else [])


@pytest.mark.parametrize(("begins", "lasts"), [(2.0, 0.6), (2.4, 0.0)])
def test_a_part_that_core_has_cut_out_keeps_its_sound_in_place(client, tmp_path, begins, lasts):
    if "Video Slice" not in client.get("/object_info"):
        pytest.skip("this core cuts no videos")
    sound = files.voice(tmp_path, 3)
    source = tmp_path / f"long-{begins}.mp4"
    files.ffmpeg(*files.counter(3), "-i", sound, "-c:a", "aac", "-b:a", "256k", "-crf", "5", source)
    part = {"video": ["source", 0], "start_time": begins, "duration": lasts, "strict_duration": False}
    save = {"video": ["part", 0], "filename_prefix": f"tests/part-{begins}", "if_audio_fails": "stop", "crf": 5}
    rest = {"fps": 25.0, "format": "mkv ffv1", "audio_bitrate": 192, "save_metadata": False}
    prompt = {
        "source": {"class_type": "LoadVideo", "inputs": {"file": client.upload(source)}},
        "part": {"class_type": "Video Slice", "inputs": part},
        "save": {
            "class_type": "SaveVideoWithAudio",
            "inputs": {**save, **rest, "audio_fit": "trim or pad to the video"},
        },
    }
    file, _ = finished.run(client, prompt)
    video, seconds = finished.decode(file), lasts or 3 - begins
    assert len(video.frames) == round(25 * seconds)
    assert files.shown_seconds(video.frames[0]) == pytest.approx(begins, abs=0.05)
    wanted = files.samples_of(sound)[round(begins * 48_000) :, 0]
    assert abs(media.samples_late(np.asarray(video.sound)[:, 0], wanted, 4800)) <= 2
