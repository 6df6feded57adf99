"""The shipped workflows on the screen: nothing lies on anything else, in both renderers, near and far."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from environment import ROOT
from graph_editor.editor import Editor
from graph_editor.small_graph import load, make_small

WORKFLOWS = sorted(file.stem for file in (ROOT / "example_workflows").glob("*.json"))
ZOOMS = (0.5, 1.0)
TOOLBAR_END = 60  # pixels of the page's canvas
TOP_PIXEL = """() => {
    const top = Math.min(...app.graph.nodes.map((node) => node.pos[1]));
    return app.canvas.ds.convertOffsetToCanvas([0, top - 30])[1];
}"""
Box = dict[str, Any]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_overlaps_on_the_canvas(editor: Editor, name: str):
    editor.load(load(name), name)
    check(editor)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_nothing_overlaps_in_nodes_2_and_the_first_heading_is_below_the_toolbar(nodes_2: Editor, name: str):
    nodes_2.load(load(name), name)
    assert nodes_2.page.evaluate(TOP_PIXEL) >= TOOLBAR_END
    check(nodes_2)


def test_nothing_overlaps_in_nodes_2_after_a_run(nodes_2: Editor):
    nodes_2.load(load("talking_picture"), "talking_picture")
    make_small(nodes_2, 0.6, width=64, height=48, steps=1, window_frames=17, motion_frames=5)
    nodes_2.run()
    nodes_2.wait_until("() => document.querySelector('video')?.readyState >= 2")
    check(nodes_2)


def check(editor: Editor) -> None:
    """Compare all boxes that are on the screen."""
    for zoom in ZOOMS:
        boxes = editor.boxes(zoom)
        nodes, groups = boxes["nodes"], boxes["groups"]
        assert nodes
        assert [(a["title"], b["title"]) for a, b in combinations(nodes, 2) if overlap(a, b)] == [], zoom
        outside = [(n["title"], g["title"]) for n in nodes for g in groups if overlap(n, g) and not inside(n, g)]
        assert outside == [], zoom


def overlap(first: Box, second: Box) -> bool:
    """Whether two boxes have an area in common; a pixel is lost to rounding."""
    return all(first[low] < second[high] - 1 and second[low] < first[high] - 1 for low, high in SIDES)


def inside(inner: Box, outer: Box) -> bool:
    """Whether the first box lies within the second."""
    return all(outer[low] - 1 <= inner[low] and inner[high] <= outer[high] + 1 for low, high in SIDES)


SIDES = (("left", "right"), ("top", "bottom"))
