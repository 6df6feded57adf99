"""The shipped workflows hang together, and the editor's graph is the API's graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
BYPASSED = 4  # LiteGraph's mode of a node that hands its input on
EDITOR_ONLY = {"MarkdownNote", "Note"}
WORKFLOWS = sorted(FOLDER.glob("*.json"))
# Widgets that exist in the editor only: they follow the one that they belong to.
EXTRA_WIDGETS = {("InfiniteTalkSampler", "seed"), ("LoadImage", "image")}


def load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(params=WORKFLOWS, ids=lambda file: file.stem)
def graph(request: pytest.FixtureRequest) -> dict[str, Any]:
    """One workflow in the editor's format."""
    return load(request.param)


@pytest.fixture(params=WORKFLOWS, ids=lambda file: file.stem)
def pair(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """One workflow in both formats."""
    return load(request.param), load(FOLDER / "api" / request.param.name)


def test_there_are_workflows():
    assert WORKFLOWS


def test_every_link_is_known_to_both_of_its_ends(graph: dict[str, Any]):
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link_id, source, output, target, slot, kind in graph["links"]:
        assert link_id in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == link_id
        assert nodes[source]["outputs"][output]["type"] == kind == nodes[target]["inputs"][slot]["type"]
    known = {link[0] for link in graph["links"]}
    assert known == {slot["link"] for node in graph["nodes"] for slot in node["inputs"]} - {None}
    assert known == {link for node in graph["nodes"] for slot in node["outputs"] for link in slot["links"] or []}


def test_ids_are_unique_and_within_the_counters(graph: dict[str, Any]):
    for items, last in (("nodes", "last_node_id"), ("links", "last_link_id")):
        ids = [item["id"] if items == "nodes" else item[0] for item in graph[items]]
        assert len(ids) == len(set(ids))
        assert max(ids) <= graph[last]


def test_the_editor_graph_is_the_api_graph(pair: tuple[dict[str, Any], dict[str, Any]]):
    graph, api = pair
    assert api_of(graph) == {node_id: (node["class_type"], node["inputs"]) for node_id, node in api.items()}


def test_model_downloads_name_the_chosen_file(graph: dict[str, Any]):
    offered = {n["type"]: n for n in graph["nodes"] if "models" in n["properties"]}
    assert {"UNETLoader", "InfiniteTalkModelLoader", "InfiniteTalkWav2VecLoader", "VAELoader"} <= set(offered)
    for node in offered.values():
        for model in node["properties"]["models"]:
            assert model["name"] in node["widgets_values"]
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(f"/{model['name']}")


def api_of(graph: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """The editor's graph as the API sees it: class and inputs by node id, bypassed nodes skipped."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    links = {link[0]: link for link in graph["links"]}

    def origin(link_id: int) -> list[Any]:
        _, source, output, *_ = links[link_id]
        while nodes[source]["mode"] == BYPASSED:
            kind = nodes[source]["outputs"][output]["type"]
            through = next(slot["link"] for slot in nodes[source]["inputs"] if slot["type"] == kind)
            _, source, output, *_ = links[through]
        return [str(source), output]

    result = {}
    for node in graph["nodes"]:
        if node["mode"] == BYPASSED or node["type"] in EDITOR_ONLY:
            continue
        inputs: dict[str, Any] = {}
        values = iter(node["widgets_values"])
        for slot in node["inputs"]:
            if "widget" in slot:
                inputs[slot["name"]] = next(values)
                if (node["type"], slot["name"]) in EXTRA_WIDGETS:
                    next(values)
            elif slot["link"] is not None:
                inputs[slot["name"]] = origin(slot["link"])
        result[str(node["id"])] = (node["type"], inputs)
    return result
