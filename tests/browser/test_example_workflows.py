"""Every shipped workflow in the graph editor: it opens, its links fit, Run queues it, missing models are offered."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import pytest
from comfy_client import ComfyClient
from environment import ROOT
from graph_editor.editor import Editor
from graph_editor.small_graph import load

from ..support.conditions import OF_NEWER_CORES

WORKFLOWS = sorted(file.stem for file in (ROOT / "example_workflows").glob("*.json"))
ALWAYS, BYPASSED = 0, 4  # LiteGraph's modes of nodes
API = "async () => (await app.graphToPrompt()).output"


def models(name: str, modes: tuple[int, ...], unknown: Collection[str] = ()) -> set[str]:
    """Where the models of a workflow's nodes in these modes can be downloaded; `unknown` types are left out."""
    nodes = [node for node in load(name)["nodes"] if node["mode"] in modes and node["type"] not in unknown]
    return {model["url"] for node in nodes for model in node["properties"].get("models", [])}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_shipped_workflow_opens_with_links_of_the_right_type_and_queues_the_graph_for_the_queue(
    editor: Editor, client: ComfyClient, name: str
):
    workflow, offered = load(name), client.get("/object_info")

    editor.load(workflow, name)

    unknown = set(editor.unknown_types())
    assert unknown == OF_NEWER_CORES.get(name, set()) - set(offered)
    assert len(editor.slots()) == len(workflow["links"])
    for slot in (slot for slot in editor.slots() if unknown.isdisjoint((slot["from"], slot["to"]))):
        target = offered[slot["to"]]["input"]
        (wanted, *_) = {**target["required"], **target.get("optional", {})}[slot["name"]]
        assert slot["input"] == wanted
        assert slot["type"] == slot["output"]
        assert slot["type"] in wanted.split(",")  # a socket may take several types
        assert slot["type"] in offered[slot["from"]]["output"]
    if not unknown:
        shipped = json.loads((ROOT / "example_workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
        queued = editor.page.evaluate(API)
        assert {number: sent(node, offered) for number, node in queued.items()} == {
            number: sent(node, offered) for number, node in shipped.items()
        }


def sent(node: dict[str, Any], offered: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class and inputs of a node, without what only the editor knows, such as the player of a sound."""
    described = offered[node["class_type"]]["input"]
    known = {**described["required"], **described.get("optional", {})}
    return node["class_type"], {key: value for key, value in node["inputs"].items() if key in known}


@pytest.mark.parametrize("name", [name for name in WORKFLOWS if models(name, (ALWAYS,))])
def test_missing_models_are_offered_with_their_links(editor: Editor, name: str):
    offered = editor.offered_models(load(name), name)

    # Newer editors leave out what is bypassed, and what a node wants that the core does not have.
    assert models(name, (ALWAYS,), editor.unknown_types()) <= offered <= models(name, (ALWAYS, BYPASSED))
