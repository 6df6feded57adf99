"""Every widget of every node fed by another node: it runs, or it is refused once the value is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comfy_client import ComfyClient, Prompt
from evaluation import finished
from talking_picture import find_node, inputs_of

from ..support import jobs, media

PRIMITIVES = {
    "INT": "PrimitiveInt",
    "FLOAT": "PrimitiveFloat",
    "STRING": "PrimitiveString",
    "BOOLEAN": "PrimitiveBoolean",
}
CHOICE = "choice"
OURS = ("InfiniteTalk", "SaveVideoWithAudio")  # how the names of our nodes begin
ONLY_LOADED = {"InfiniteTalkMergedModelLoader"}  # its model has no base beside it on this server


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path) -> Prompt:
    """A graph with all of our nodes in it, of one window."""
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.6), steps=1, resolution="custom")
    image = [find_node(prompt, "LoadImage"), 0]
    prompt["masks"] = {
        "class_type": "InfiniteTalkSpeakerMasks",
        "inputs": {"image": image, "layout": "boxes", "boxes": "0 0 0.5 1\n0.5 0 0.5 1"},
    }
    prompt["voice 2"] = {
        "class_type": "InfiniteTalkLoadAudio",
        "inputs": {"audio": client.upload(media.write_speech(tmp_path, 0.6, seed=1)), "start_time": 0, "duration": 0},
    }
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")["audio_2"] = ["voice 2", 0]
    inputs_of(prompt, "InfiniteTalkSampler")["speaker_masks"] = ["masks", 0]
    plot = {"video": [find_node(prompt, "InfiniteTalkSampler"), 0], "fps": 25.0, "box": "0.25 0.5 0.5 0.5"}
    prompt["plot"] = {"class_type": "InfiniteTalkSyncPlot", "inputs": plot}
    split = {"audio": ["voice 2", 0], "segments": "0 0.3 Anna\n0.3 0.6 Ben", "speakers": "Ben, Anna"}
    prompt["split"] = {"class_type": "InfiniteTalkSplitSpeakers", "inputs": split}
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")["soundtrack"] = ["split", 0]
    scene = {"start": 0.3, "snap_to_pause": False, "transition": "cut"}
    prompt["scene"] = {"class_type": "InfiniteTalkScene", "inputs": scene}
    inputs_of(prompt, "InfiniteTalkSampler")["scenes"] = ["scene", 0]
    prompt["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["plot", 0]}}
    return prompt


def widgets(client: ComfyClient, node_type: str) -> dict[str, str]:
    """Names of a node's widgets, and their types."""
    described: dict[str, Any] = client.get(f"/object_info/{node_type}")[node_type]["input"]
    inputs = {**described.get("required", {}), **described.get("optional", {})}
    kinds = {
        name: CHOICE if isinstance(spec[0], list) or spec[0] == "COMBO" else spec[0] for name, spec in inputs.items()
    }
    return {name: kind for name, kind in kinds.items() if kind in PRIMITIVES or kind == CHOICE}


def default(client: ComfyClient, node_type: str, name: str) -> Any:
    """The value of a widget that nobody has touched."""
    described = client.get(f"/object_info/{node_type}")[node_type]["input"]
    return {**described.get("required", {}), **described.get("optional", {})}[name][1]["default"]


def link(prompt: Prompt, node: str, name: str, kind: str) -> None:
    """Feed a widget by a node that gives the same value; core has none for a list of choices."""
    value = prompt[node]["inputs"][name]
    source = f"{node} {name}"
    prompt[node]["inputs"][name] = [source, 0]
    if kind == CHOICE:
        prompt[source] = {"class_type": "AnyValue", "inputs": {"value": json.dumps(value), "named": False}}
        return
    value = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}[kind](value)
    prompt[source] = {"class_type": PRIMITIVES[kind], "inputs": {"value": value}}


def test_all_widgets_of_all_nodes_at_once(client: ComfyClient, prompt: Prompt):
    linked = set()
    for node, content in list(prompt.items()):
        if content["class_type"].startswith(OURS):
            for name, kind in widgets(client, content["class_type"]).items():
                if name not in content["inputs"]:
                    content["inputs"][name] = default(client, content["class_type"], name)
                link(prompt, node, name, kind)
                linked.add((content["class_type"], name))
    ours = {kind for kind in client.get("/object_info") if kind.startswith(OURS)} - ONLY_LOADED
    assert linked == {(kind, name) for kind in ours for name in widgets(client, kind)}
    saved, _ = finished.run(client, prompt)
    assert len(finished.decode(saved).frames) == 15


def test_a_sound_file_that_has_changed_is_read_again_though_another_node_names_it(
    client: ComfyClient, picture: Path, tmp_path: Path, folders
):
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.3), steps=1)
    link(prompt, find_node(prompt, "InfiniteTalkLoadAudio"), "audio", CHOICE)
    (name,) = [json.loads(node["inputs"]["value"]) for node in prompt.values() if node["class_type"] == "AnyValue"]
    finished.run(client, prompt)
    media.write_speech(tmp_path, 0.6).replace(folders.input / name)

    saved, _ = finished.run(client, prompt)

    assert len(finished.decode(saved).frames) == 15


@pytest.mark.parametrize(
    ("node_type", "name", "value", "words"),
    [
        ("InfiniteTalkSampler", "width", 500, "width is 500"),
        ("InfiniteTalkSampler", "window_frames", 80, "window_frames is 80"),
        ("InfiniteTalkSampler", "motion_frames", 17, "motion_frames is 17"),
        ("InfiniteTalkSpeakerMasks", "boxes", "0 0 3 1", "box"),
        ("InfiniteTalkSyncPlot", "box", "here", "is not four numbers"),
        ("SaveVideoWithAudio", "crf", 60, "crf is 60"),
        ("SaveVideoWithAudio", "filename_prefix", "../x", ".."),
    ],
)
def test_a_bad_value_that_comes_by_a_link_is_refused_when_it_is_known(
    client: ComfyClient, prompt: Prompt, node_type: str, name: str, value: Any, words: str
):
    node = find_node(prompt, node_type)
    prompt[node]["inputs"][name] = value
    link(prompt, node, name, widgets(client, node_type)[name])
    result = client.run(prompt)
    assert result.error
    assert result.error["exception_type"].endswith("UserError"), "".join(result.error["traceback"])
    assert words in result.error_message
