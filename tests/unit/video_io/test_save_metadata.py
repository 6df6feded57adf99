"""The workflow in the file: complete, in the keys and the place where the graph editor looks."""

from __future__ import annotations

import json

import pytest
from evaluation.finished import decode
from infinitetalk.video_io.save.metadata import write_ffmetadata

from ...support import media

WORKFLOW = {
    "nodes": [{"id": 1, "text": 'line\nbreak = ; # \\ "quotes" [STREAM] \u4f60\u597d \U0001f3ac é', "value": 0.1}],
    "extra": {"empty": "", "none": None, "yes": True},
}
PROMPT = {"1": {"class_type": "X", "inputs": {"a": ["2", 0]}, "is_changed": [float("nan")]}}
READ_BY_THE_EDITOR = ["mp4 h264", "mp4 h265", "mp4 av1", "mov prores", "webm vp9"]


@pytest.mark.parametrize("name", [*READ_BY_THE_EDITOR, "mkv ffv1"])
def test_workflow_and_prompt_come_back_from_every_format(save, name):
    tags = {"workflow": WORKFLOW, "prompt": PROMPT, "text": "plain = text; # \\"}
    decoded = decode(save(media.make_pictures(2, 16, 16), format=name, tags=tags).path)
    assert json.loads(decoded.tags["workflow"]) == WORKFLOW
    assert json.loads(decoded.tags["prompt"]) == {"1": {**PROMPT["1"], "is_changed": [None]}}
    assert json.loads(decoded.tags["text"]) == "plain = text; # \\"


@pytest.mark.parametrize("name", READ_BY_THE_EDITOR)
def test_a_large_workflow_stands_in_front_of_the_frames(save, name):
    """The editor reads the first 64 MiB of an mp4 and the first 2 MiB of a webm."""
    large = {"nodes": [{"id": index, "text": "\u4f60\u597d = ;#\\" * 20} for index in range(4000)]}
    text = json.dumps(large)
    assert 1_000_000 < len(text) < 2_000_000
    saved = save(media.make_pictures(30, 64, 64), media.make_sound(1.2), format=name, tags={"workflow": large})
    data = saved.path.read_bytes()
    key = b"WORKFLOW" if name == "webm vp9" else b"workflow"
    frames = data.index(b"\x1f\x43\xb6\x75") if name == "webm vp9" else data.index(b"mdat")
    assert data.index(key) < frames
    assert data.index(text.encode()) < 2 * 2**20
    assert json.loads(decode(saved.path).tags["workflow"]) == large


@pytest.mark.parametrize("name", READ_BY_THE_EDITOR)
def test_without_tags_nothing_of_the_graph_is_in_the_file(save, name):
    saved = save(media.make_pictures(2, 16, 16), format=name)
    assert b"workflow" not in saved.path.read_bytes().lower()


def test_the_same_save_twice_gives_the_same_bytes(save):
    pictures, sound = media.make_pictures(20, 64, 64), media.make_sound(0.8)
    first, second = (save(pictures, sound, tags={"workflow": WORKFLOW}).path for _ in range(2))
    assert first != second
    assert first.read_bytes() == second.read_bytes()


def test_infinities_become_null_because_the_editor_reads_strict_json(tmp_path):
    write_ffmetadata(tmp_path / "tags", {"prompt": {"a": float("inf"), "b": [1, (2.5, float("nan"))]}})
    assert (tmp_path / "tags").read_text() == ';FFMETADATA1\nprompt={"a": null, "b": [1, [2.5, null]]}\n'


def test_what_is_no_text_or_no_json_is_cleaned_or_left_out(save):
    deep: list = []
    for _ in range(5_000):
        deep = [deep]
    tags = {"a\ud800\x00\n": "\ud800", "workflow": WORKFLOW, "deep": deep, "object": object(), "prompt": [1]}
    decoded = decode(save(media.make_pictures(2, 16, 16), tags=tags).path)
    assert json.loads(decoded.tags["workflow"]) == WORKFLOW
    assert json.loads(decoded.tags["prompt"]) == [1]
    assert json.loads(decoded.tags["a???"]) == "\ud800"
    assert "deep" not in decoded.tags
    assert "object" not in decoded.tags
