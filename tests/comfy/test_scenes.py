"""A storyboard through the queue of a real server: cuts, prompts, refusals, parts."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from comfy_client import ComfyClient, JobResult, Prompt
from environment import ROOT
from evaluation import finished
from PIL import Image, ImageOps
from talking_picture import WORKFLOW, find_node, inputs_of, load_workflow, without_model

from ..support import jobs, media
from ..support.storyboard import other_picture, with_scenes

SECONDS, FRAMES, RATE = 2.4, 60, 22_050
STARTS = (0.8, 1.6)
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.write_speech(tmp_path_factory.mktemp("sound"), SECONDS)


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, sound: Path) -> Prompt:
    """Windows of one step and one pass, saved without loss."""
    prompt = jobs.small_prompt(client, picture, sound, steps=1, text_cfg=1.0, audio_cfg=1.0)
    inputs_of(prompt, "SaveVideoWithAudio")["crf"] = 0
    return prompt


@pytest.fixture
def storyboard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`docs/storyboard.py`, as users copy it beside `api_client.py`."""
    monkeypatch.syspath_prepend(str(DOCS))
    spec = importlib.util.spec_from_file_location("storyboard_list", DOCS / "storyboard.py")
    loaded = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, loaded)  # its dataclass looks there for its annotations
    spec.loader.exec_module(loaded)
    return loaded


def alternating(prompt: Prompt) -> Prompt:
    """Another picture from the first start on, and the first picture again from the second."""
    return with_scenes(
        prompt,
        {"start": STARTS[0], "image": other_picture(prompt)},
        {"start": STARTS[1], "image": [find_node(prompt, "LoadImage"), 0]},
    )


def said(result: JobResult, node: str) -> list[str]:
    return [e.data["text"] for e in result.events if e.kind == "progress_text" and e.data["node"] == node]


def test_every_scene_begins_with_its_picture_and_the_nodes_say_when(client, prompt):
    graph = alternating(prompt)
    file, result = finished.run(client, graph)
    frames = finished.decode(file).frames.astype(int)
    assert len(frames) == FRAMES
    plain = finished.decode(finished.run(client, prompt)[0]).frames.astype(int)
    again = [int(start * 25) for start in STARTS]
    assert np.abs(frames[again[1]] - frames[0]).mean() < np.abs(frames[again[0]] - frames[0]).mean() / 5
    assert (frames[: again[0]] == plain[: again[0]]).all(), "the first scene is that of the video without scenes"
    assert said(result, "scene 2") == ["Scene 2 begins at 0.80 s (frame 20); its picture of 512 × 512 is scaled and "
                                       "cropped to 48 × 32"]  # fmt: skip
    sampler = said(result, find_node(prompt, "InfiniteTalkSampler"))
    assert "3 scenes, from 0.00, 0.80, 1.60 s on" in sampler
    assert any(text.startswith("Window 3 of 6 (scene 2 of 3), step 1 of 1") for text in sampler)


def test_a_scene_that_goes_on_takes_the_motion_along(client, prompt):
    scene = {"start": STARTS[0], "image": other_picture(prompt)}
    cut, on = (
        finished.decode(finished.run(client, with_scenes(prompt, {**scene, "transition": how}))[0]).frames.astype(int)
        for how in ("cut", "continue")
    )
    at = int(STARTS[0] * 25)
    assert len(cut) == len(on) == FRAMES
    assert (cut[:at] == on[:at]).all()
    assert (cut[at] != on[at]).any()


def test_a_list_becomes_a_video_in_scenes(client, server, prompt, picture, sound, tmp_path):
    shutil.copyfile(picture, tmp_path / "wide.png")
    with Image.open(picture) as opened:
        ImageOps.invert(opened.convert("RGB")).save(tmp_path / "close up.png")
    graph, target = tmp_path / "graph.json", tmp_path / "talk.mp4"
    graph.write_text(json.dumps(prompt), encoding="utf-8")
    (tmp_path / "scenes.csv").write_text("time,picture,prompt\n0,wide.png,\n0:00.8,close up.png,\n1.6, wide.png\n")
    files = [graph, tmp_path / "scenes.csv", target, "--server", server.url, "--file", f"Speech.audio={sound}"]
    made = subprocess.run(
        [sys.executable, "-X", "utf8", DOCS / "storyboard.py", *files, "--set", "InfiniteTalk Sampler.seed=3"],
        capture_output=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    second, third = (int(frame) for frame in re.findall(r"^Scene [23] begins at .*?\(frame (\d+)\)", made.stderr, re.M))
    frames = finished.decode(target).frames.astype(int)
    assert len(frames) == FRAMES
    assert np.abs(frames[third] - frames[0]).mean() < np.abs(frames[second] - frames[0]).mean() / 5


def test_each_picture_of_a_list_is_loaded_once_and_an_empty_prompt_is_the_one_before(storyboard):
    graph = load_workflow()
    lines = ["0,a.png,One.", "", "0:12.5,b.png,Two.", "31, a.png,", "1:00:40,,Three, continue"]
    storyboard.put_scenes(graph, storyboard.read_list(lines))
    scenes = [node["inputs"] for node in graph.values() if node["class_type"] == "InfiniteTalkScene"]
    assert [(s["start"], s["transition"]) for s in scenes] == [(12.5, "cut"), (31.0, "cut"), (3640.0, "continue")]
    assert [graph[s["image"][0]]["inputs"]["image"] for s in scenes[:2]] == ["b.png", "a.png"]
    assert "image" not in scenes[2]
    assert ["positive" in s for s in scenes] == [True, False, True]
    assert sum(node["class_type"] == "LoadImage" for node in graph.values()) == 2
    chain = [s.get("scenes", [None])[0] for s in scenes]
    assert chain == [None, "storyboard Scene 2", "storyboard Scene 3"]
    assert inputs_of(graph, "InfiniteTalkSampler")["scenes"] == ["storyboard Scene 4", 0]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "first line at 0"), (["1,a.png,"], "first line at 0"), (["0,,One."], "first line at 0"),
        (["soon,a.png,"], "'soon' is no time"), (["0,a.png,", "nan,b.png,"], "'nan' is no time"),
        (["0,a.png,", "1,b.png,,fade"], "'fade' is no transition"),
        (["0,a.png,", "1,b.png,One,cut, and out"], "The line at 1 has more than four columns"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_read_gets_a_sentence(storyboard, lines, sentence):
    with pytest.raises(storyboard.ComfyError, match=sentence):
        storyboard.read_list(lines)


@pytest.mark.parametrize("encoding", ["gbk", "utf-16"])
def test_a_list_in_another_encoding_gets_a_sentence(storyboard, tmp_path, encoding):
    (tmp_path / "scenes.csv").write_text("0,a.png,\u4e00\u4e2a\u5973\u4eba", encoding=encoding)
    with pytest.raises(storyboard.ComfyError, match="is not in UTF-8: save it with that encoding"):
        storyboard.load_list(tmp_path / "scenes.csv")


def test_the_scenes_of_a_list_stand_in_place_of_those_of_the_graph(storyboard):
    graph = load_workflow(WORKFLOW.with_name("storyboard.json"))
    storyboard.put_scenes(graph, storyboard.read_list(["0,a.png,", "1,b.png,"]))
    last, _ = inputs_of(graph, "InfiniteTalkSampler")["scenes"]
    assert "scenes" not in graph[last]["inputs"]


def test_a_list_with_prompts_for_a_graph_without_one_gets_a_sentence(storyboard):
    graph = without_model(load_workflow(), "CLIPLoader")
    with pytest.raises(storyboard.ComfyError, match="before the sampler's 'positive'"):
        storyboard.put_scenes(graph, storyboard.read_list(["0,a.png,", "1,b.png,Two."]))


REFUSED = [
    ([{"start": 2.4}], "A scene begins at 2.4 s, but the video ends at 2.40 s"),
    ([{"start": 0.8}, {"start": 0.8}], "Two scenes begin at 0.8 s"),
    ([{"start": 1.6}, {"start": 0.8}], "The scene at 0.8 s comes after the one at 1.6 s"),
    ([{"start": 0.0}], "start is 0, but there the sampler's own"),
    ([{"start": 0.12, "transition": "continue"}], "continues 3 frames after a cut"),
]


@pytest.mark.parametrize(("scenes", "sentence"), REFUSED)
def test_scenes_that_cannot_be_are_refused(client, prompt, scenes, sentence):
    assert sentence in jobs.refusal(client, with_scenes(prompt, *scenes))


@pytest.mark.parametrize("start", [-1.0, float("nan")])
def test_a_start_that_is_no_time_is_refused(client, prompt, start):
    assert "start" in jobs.refusal(client, with_scenes(prompt, {"start": start}))


@pytest.mark.parametrize("part", ["0/3", "4/3", "x"])
def test_a_part_that_is_none_is_refused(client, prompt, part):
    inputs_of(prompt, "InfiniteTalkSampler")["part"] = part
    assert f"part is '{part}', but it must name a share" in jobs.refusal(client, prompt)


def test_a_part_has_its_own_share_of_the_sound(client, picture, tmp_path):
    source = media.speech(SECONDS, RATE)
    prompt = jobs.small_prompt(client, picture, media.write_sound(tmp_path, source, RATE), steps=1, text_cfg=1.0)
    inputs_of(prompt, "SaveVideoWithAudio").update(format="mkv ffv1")
    graph = alternating(prompt)
    inputs_of(graph, "InfiniteTalkSampler")["part"] = "2/3"
    file, result = finished.run(client, graph)
    made = finished.decode(file)
    assert len(made.frames) == 20
    begin, end = (round(start * RATE) for start in STARTS)
    assert made.sound.shape[0] == pytest.approx(end - begin, abs=1)
    assert np.abs(made.sound[:, 0] - source[begin:end].reshape(end - begin, -1)[:, 0]).max() < 1e-3
    assert any(text.startswith("Part 2 of 3: 0.80 to 1.60 s, 2 of 6 windows") for text in
               said(result, find_node(prompt, "InfiniteTalkSampler")))  # fmt: skip


def test_a_part_without_a_scene_is_empty_and_says_so(client, prompt):
    inputs_of(prompt, "InfiniteTalkSampler")["part"] = "2/2"
    result = client.run(prompt)
    assert not result.error
    assert find_node(prompt, "SaveVideoWithAudio") not in result.outputs
    texts = said(result, find_node(prompt, "InfiniteTalkSampler"))
    assert any(text.startswith("Part 2 of 2 is empty: of 1 scene") for text in texts)
    assert result.outputs[find_node(prompt, "InfiniteTalkSampler")]["text"] == [], "a former job's report would stay"
    assert not jobs.sampler_progress(prompt, result.events)
