"""The shipped talking picture in the graph editor: open it, press Run, see the result on the node, drop the file."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from comfy_client import ComfyClient
from environment import ROOT
from talking_picture import NEEDED_MODELS

from .editor import Editor, Graph
from .graphs import meaning, saved_file

WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))
NOT_TINY = ("CLIPLoader", "CLIPTextEncode", "CLIPVisionLoader", "LoraLoaderModelOnly")
SMALL = {"resolution": "custom", "width": 64, "height": 48, "steps": 2, "window_frames": 17, "motion_frames": 5}
SECONDS = 1.0


@dataclass(frozen=True)
class Finished:
    """What a person saw while and after the talking picture ran."""

    graph: Graph
    """As it was when Run was pressed."""
    texts: dict[str, list[str]]
    """Progress texts that were shown, by node type."""
    report: str
    """Text on the save node when the job has ended."""
    video: dict[str, Any]
    """The player on the save node after half a second of playing."""
    file: dict[str, str]
    """The saved file, as history names it."""


def load(name: str) -> Graph:
    return json.loads((ROOT / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))


def make_small(editor: Editor) -> None:
    """The same graph for tiny models: other files, a second of speech, a small picture, no text and CLIP encoder."""
    editor.remove(*NOT_TINY)
    editor.connect("UNETLoader", 0, "InfiniteTalkSampler", "model")
    for (node_type, widget), file in NEEDED_MODELS.items():
        editor.set_widgets(node_type, **{widget: Path(file).name})
    editor.set_widgets("InfiniteTalkLoadAudio", duration=SECONDS)
    # A seed of its own, or the server would answer the second editor with what the first one made.
    editor.set_widgets("InfiniteTalkSampler", **SMALL, seed=uuid.uuid4().time_low)


@pytest.fixture(scope="module")
def finished(page_of_editor: Editor, client: ComfyClient) -> Finished:
    """The talking picture, run once by the editor's button."""
    editor = page_of_editor
    editor.load(load("talking_picture"), "talking_picture")
    make_small(editor)
    graph = editor.graph()
    texts = editor.run()
    editor.wait_until("() => document.querySelector('video')?.readyState >= 2")
    return Finished(
        graph=graph,
        texts=texts,
        report=editor.page.locator(".infinitetalk-report").inner_text(),
        video=editor.page.evaluate("() => tests.play(document.querySelector('video'))"),
        file=saved_file(client),
    )


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_a_shipped_workflow_opens_with_known_nodes_and_links_of_the_right_type(
    editor: Editor, client: ComfyClient, file: Path
):
    workflow = load(file.stem)

    editor.load(workflow, file.stem)

    assert editor.unknown_types() == []
    offered = client.get("/object_info")
    assert len(editor.slots()) == len(workflow["links"])
    for slot in editor.slots():
        target = offered[slot["to"]]["input"]
        (wanted, *_) = {**target["required"], **target.get("optional", {})}[slot["name"]]
        assert slot["type"] == slot["output"] == slot["input"] == wanted
        assert wanted in offered[slot["from"]]["output"]


def test_the_sampler_shows_window_and_step_while_it_works(finished: Finished):
    # 25 frames: window 1 has 17 of them, window 2 the rest.
    shown = [text.rsplit(",", 1)[0] for text in finished.texts["InfiniteTalkSampler"] if text.endswith("left")]
    assert shown == [f"Window {window} of 2, step {step} of 2" for window in (1, 2) for step in (1, 2)]


def test_the_length_stands_on_audio_embeds(finished: Finished):
    assert "actual frames: 25" in finished.texts["InfiniteTalkAudioEmbeds"][-1]


def test_the_saved_file_plays_with_sound_in_the_preview(finished: Finished):
    video = finished.video
    assert video["seconds"] == pytest.approx(SECONDS, abs=0.03)
    assert (video["width"], video["height"]) == (64, 48)
    assert video["position"] > 0
    assert video["frames"] > 0
    assert video["sound_bytes"] > 0


def test_facts_about_the_file_stay_on_the_save_node(finished: Finished):
    assert f"Saved {finished.file['filename']}: 64×48, 25 frames, 25 fps, 1.00 s, AAC 44100 Hz" in finished.report


def test_dropping_the_saved_file_restores_the_graph(finished: Finished, editor: Editor):
    editor.new()

    editor.drop(finished.file, "video/mp4")

    editor.wait_until(f"() => app.graph.nodes.length === {len(finished.graph['nodes'])}")
    assert meaning(editor.graph()) == meaning(finished.graph)
