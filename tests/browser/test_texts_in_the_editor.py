"""Help pages and Chinese names, as a person sees them in the graph editor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer
from environment import ROOT
from graph_editor.editor import Editor

CHINESE: dict[str, Any] = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
NODES = sorted(CHINESE)


@pytest.fixture(scope="module")
def chinese_editor(browser: Any, comfy_server: ComfyServer, newest_editor_files: Path) -> Iterator[Editor]:
    """The newest editor in Chinese, with one node of each type; core's editor does not ask for translations."""
    opened = Editor(browser, comfy_server.url, newest_editor_files, locale="zh")
    fill(opened)
    yield opened
    opened.page.close()


def fill(editor: Editor) -> None:
    """Put one node of each type into an empty tab."""
    editor.new()
    for node_type in NODES:
        editor.add(node_type)


def headings(page: Path) -> list[str]:
    """Title and headings of a help page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [line.lstrip("# ") for line in lines if line.startswith("#")]


def test_every_node_opens_its_help_page(editor: Editor):
    fill(editor)
    for node_type in NODES:
        assert_help(editor, node_type, ROOT / "web" / "docs" / f"{node_type}.md")


def test_every_node_opens_its_chinese_help_page(chinese_editor: Editor):
    for node_type in NODES:
        assert_help(chinese_editor, node_type, ROOT / "web" / "docs" / node_type / "zh.md")


@pytest.mark.parametrize("node_type", NODES)
def test_nodes_inputs_and_outputs_have_their_chinese_names(chinese_editor: Editor, node_type: str):
    shown, texts = chinese_editor.names()[node_type], CHINESE[node_type]

    assert shown["title"] == texts["display_name"]
    assert shown["outputs"] == [output["name"] for output in texts["outputs"].values()]
    names = {text["name"] for text in texts["inputs"].values()}
    assert names <= {*shown["inputs"], *shown["widgets"]}


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ("talking head", "InfiniteTalk Sampler"),
        ("\u6570\u5b57\u4eba", "InfiniteTalk Sampler"),
        ("diarization", "Split Speakers"),
        ("video combine", "Save Video With Audio"),
    ],
)
def test_nodes_are_found_by_what_people_call_it(nodes_2: Editor, words: str, title: str):
    page = nodes_2.page
    page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.locator("[role=dialog] input").first.fill(words)
    page.locator("[role=option]", has_text=title).first.wait_for()
    page.keyboard.press("Escape")
    page.locator("[role=dialog] input").first.wait_for(state="detached")


def assert_help(editor: Editor, node_type: str, page: Path) -> None:
    """The help that the editor shows is this page."""
    title, *rest = headings(page)
    assert rest
    shown = editor.help_page(node_type, title).splitlines()
    assert [line for line in rest if line not in shown] == []
