"""The shipped workflows hang together, and the editor's graph is the API's graph."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "example_workflows"
BYPASSED = 4  # LiteGraph's mode of a node that hands its input on
EDITOR_ONLY = {"MarkdownNote", "Note"}
WORKFLOWS = sorted(FOLDER.glob("*.json"))
# Widgets that exist in the editor only: they follow the one that they belong to.
EXTRA_WIDGETS = {("InfiniteTalkSampler", "seed"), ("KSampler", "seed"), ("LoadImage", "image"), ("LoadVideo", "file")}
FACE_DETECTOR_LOADER = "LoadMediaPipeFaceLandmarker"  # the only loader of models that is not called one
TITLE_HEIGHT = 30  # pixels above a node's position
THUMBNAIL_BYTES = 250_000
Box = tuple[float, float, float, float]


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
        assert nodes[source]["outputs"][output]["type"] == kind
        assert kind in nodes[target]["inputs"][slot]["type"].split(",")
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
    # A model in shards is a folder, and the editor offers single files: the notes say where it is.
    loaders = {n["type"] for n in graph["nodes"] if "Loader" in n["type"] or n["type"] == FACE_DETECTOR_LOADER}
    loaders -= {"InfiniteTalkMergedModelLoader"}
    assert set(offered) == loaders
    for node in offered.values():
        for model in node["properties"]["models"]:
            assert model["name"] in node["widgets_values"]
            assert model["name"].endswith(".safetensors")
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(f"/{model['name']}")


def test_the_notes_link_every_model_that_is_loaded(graph: dict[str, Any]):
    notes = "".join(n["widgets_values"][0] for n in graph["nodes"] if n["type"] == "MarkdownNote")
    for node in graph["nodes"]:
        for model in node["properties"].get("models", []):
            assert f"`{model['directory']}`" in notes
            assert f"({model['url']})" in notes


def test_nodes_and_groups_do_not_overlap(graph: dict[str, Any]):
    nodes = [node_box(node) for node in graph["nodes"]]
    groups = [group_box(group) for group in graph["groups"]]
    assert not [pair for boxes in (nodes, groups) for pair in combinations(boxes, 2) if overlap(*pair)]
    for node in nodes:
        assert all(inside(node, group) for group in groups if overlap(node, group))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_the_thumbnail_is_a_small_jpeg(file: Path):
    picture = file.with_suffix(".jpg")
    assert picture.stat().st_size <= THUMBNAIL_BYTES
    with Image.open(picture) as opened:
        assert opened.format == "JPEG"


def test_both_formats_and_a_thumbnail_exist_of_every_workflow():
    names = {file.stem for file in WORKFLOWS}
    assert {file.stem for file in (FOLDER / "api").glob("*.json")} == names
    assert {file.stem for file in FOLDER.glob("*.jpg")} == names


def node_box(node: dict[str, Any]) -> Box:
    """Left, top, right and bottom of a node with its title."""
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - TITLE_HEIGHT, left + width, top + height


def group_box(group: dict[str, Any]) -> Box:
    """Left, top, right and bottom of a group."""
    left, top, width, height = group["bounding"]
    return left, top, left + width, top + height


def overlap(first: Box, second: Box) -> bool:
    """Whether two boxes have an area in common."""
    return all(first[i] < second[i + 2] and second[i] < first[i + 2] for i in (0, 1))


def inside(inner: Box, outer: Box) -> bool:
    """Whether the first box lies within the second."""
    return all(outer[i] <= inner[i] and inner[i + 2] <= outer[i + 2] for i in (0, 1))


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
            if slot["link"] is not None:  # of a widget, too: then its own value waits
                inputs[slot["name"]] = origin(slot["link"])
        result[str(node["id"])] = (node["type"], inputs)
    return result
