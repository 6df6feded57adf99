"""Files of the save node, dropped on the graph editor: the graph is in them, or it is not if it must not be."""

from __future__ import annotations

import uuid

import pytest
from comfy_client import ComfyClient
from graph_editor.editor import Editor, Graph

from ..support.graphs import meaning, saved_file

READ_BY_THE_EDITOR = {"mp4 h264": "video/mp4", "mp4 av1": "video/mp4", "webm vp9": "video/webm"}
# Older editors say that there is no graph, newer ones offer the file as an input.
TAKEN_AS_A_VIDEO = """document.body.innerText.includes("Unable to find workflow")
    || app.graph.nodes.some((node) => node.type === "LoadVideo")"""
LARGE_NOTE = "Ein langer Text über Sprache; \u8bf4\u8bdd\u7684\u4eba = \\ # \U0001f3a4\n" * 12_000  # 1 MB in the file


def save_a_picture(editor: Editor, client: ComfyClient, note: str, **widgets: object) -> tuple[Graph, dict[str, str]]:
    """Run a small graph that saves one frame with sound; returns the graph and the file."""
    editor.new()
    for node_type in ("LoadImage", "InfiniteTalkLoadAudio", "SaveVideoWithAudio", "Note"):
        editor.add(node_type)
    editor.connect("LoadImage", 0, "SaveVideoWithAudio", "images")
    editor.connect("InfiniteTalkLoadAudio", 0, "SaveVideoWithAudio", "audio")
    editor.set_widgets("LoadImage", image="face.png")
    editor.set_widgets("InfiniteTalkLoadAudio", audio="speech.flac")
    # A name of its own, or the server would answer with the file of an earlier test.
    editor.set_widgets("SaveVideoWithAudio", filename_prefix=f"tests/{uuid.uuid4().hex[:12]}", **widgets)
    editor.page.evaluate("text => { app.graph.nodes.find((n) => n.type === 'Note').widgets[0].value = text }", note)
    graph = editor.graph()
    editor.run()
    return graph, saved_file(client)


@pytest.mark.parametrize("file_format", READ_BY_THE_EDITOR)
def test_the_graph_comes_back_from_every_format_that_the_editor_reads(
    editor: Editor, client: ComfyClient, file_format: str
):
    graph, file = save_a_picture(
        editor, client, "\u8bf4\u8bdd\u7684\u4eba \U0001f3a4", format=file_format, crf=30, audio_bitrate=96
    )
    editor.new()

    editor.drop(file, READ_BY_THE_EDITOR[file_format])

    editor.wait_until("() => app.graph.nodes.length === 4")
    assert meaning(editor.graph()) == meaning(graph)


def test_a_graph_of_a_megabyte_in_any_script_comes_back(editor: Editor, client: ComfyClient):
    graph, file = save_a_picture(editor, client, LARGE_NOTE)
    editor.new()

    editor.drop(file, "video/mp4")

    editor.wait_until("() => app.graph.nodes.length === 4")
    assert meaning(editor.graph()) == meaning(graph)


def test_a_file_without_metadata_holds_no_graph(editor: Editor, client: ComfyClient):
    _, file = save_a_picture(editor, client, "secret", save_metadata=False)
    editor.new()

    editor.drop(file, "video/mp4")

    editor.wait_until(f"() => {TAKEN_AS_A_VIDEO}")
    assert {node["type"] for node in editor.graph()["nodes"]} <= {"LoadVideo"}


def test_a_warning_stays_on_the_save_node_when_the_sound_is_unusable(editor: Editor, client: ComfyClient):
    _, options = client.get("/object_info/EmptyAudio")["EmptyAudio"]["input"]["required"]["sample_rate"]
    if options.get("min", 0) > 0:
        pytest.skip("this core's nodes give no sound that cannot be used")
    editor.new()
    for node_type in ("LoadImage", "EmptyAudio", "SaveVideoWithAudio"):
        editor.add(node_type)
    editor.connect("LoadImage", 0, "SaveVideoWithAudio", "images")
    editor.connect("EmptyAudio", 0, "SaveVideoWithAudio", "audio")
    editor.set_widgets("LoadImage", image="face.png")
    editor.set_widgets("EmptyAudio", sample_rate=0)

    editor.run()

    assert editor.reports()["SaveVideoWithAudio"].startswith("WARNING: The video was saved without sound:")
