"""Every shipped workflow in the graph editor: it opens, its links fit, missing models are offered."""

from __future__ import annotations

import pytest
from comfy_client import ComfyClient
from environment import ROOT
from graph_editor.editor import Editor
from graph_editor.small_graph import load

WORKFLOWS = sorted(file.stem for file in (ROOT / "example_workflows").glob("*.json"))
ALWAYS, BYPASSED = 0, 4  # LiteGraph's modes of nodes


def models(name: str, modes: tuple[int, ...]) -> set[str]:
    """Where the models of a workflow's nodes in these modes can be downloaded."""
    nodes = [node for node in load(name)["nodes"] if node["mode"] in modes]
    return {model["url"] for node in nodes for model in node["properties"].get("models", [])}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_shipped_workflow_opens_with_known_nodes_and_links_of_the_right_type(
    editor: Editor, client: ComfyClient, name: str
):
    workflow = load(name)

    editor.load(workflow, name)

    assert editor.unknown_types() == []
    offered = client.get("/object_info")
    assert len(editor.slots()) == len(workflow["links"])
    for slot in editor.slots():
        target = offered[slot["to"]]["input"]
        (wanted, *_) = {**target["required"], **target.get("optional", {})}[slot["name"]]
        assert slot["input"] == wanted
        assert slot["type"] == slot["output"]
        assert slot["type"] in wanted.split(",")  # a socket may take several types
        assert slot["type"] in offered[slot["from"]]["output"]


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if models(name, (ALWAYS,))])
def test_missing_models_are_offered_with_their_links(editor: Editor, name: str):
    offered = editor.offered_models(load(name), name)

    # Newer editors leave out what is bypassed.
    assert models(name, (ALWAYS,)) <= offered <= models(name, (ALWAYS, BYPASSED))
