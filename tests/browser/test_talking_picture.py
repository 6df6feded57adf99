"""The shipped talking picture in the graph editor: open it, press Run, see the result on the node, drop the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from comfy_client import ComfyClient
from graph_editor.editor import Editor, Graph
from graph_editor.small_graph import load, make_small

from ..support.graphs import meaning, saved_file

SMALL = {"width": 64, "height": 48, "steps": 2, "window_frames": 17, "motion_frames": 5}
SECONDS = 1.0
WIDGETS_OF_THE_FIRST_RELEASE = 18
GROWING = "video.infinitetalk-growing-video"
INTO_A_SUBGRAPH = """() => {
    const sampler = app.graph.nodes.find((node) => node.type === "InfiniteTalkSampler");
    app.graph.convertToSubgraph(new Set([sampler]));
}"""
INTO_A_GROUP_NODE = """(types) => {
    const { fromNodes } = window.comfyAPI.groupNode.GroupNodeHandler;
    if (!fromNodes) return false;
    fromNodes.call(window.comfyAPI.groupNode.GroupNodeHandler, app.graph.nodes.filter((n) => types.includes(n.type)));
    return true;
}"""
PLAYER_IN_THE_SUBGRAPH = (
    "app.graph.nodes.find((node) => node.subgraph)"
    ".subgraph.nodes[0].widgets.find((widget) => widget.name === 'growing video')?.element"
)
TELL = """([type, file]) => {
    const node = String(app.graph.nodes.find((one) => one.type === type).id);
    const detail = { node, file };
    app.api.dispatchEvent(new CustomEvent("infinitetalk.growing_video", { detail }));
}"""
SIZES_AND_PLAYERS = """() => app.graph.nodes.map(({ type, size, widgets }) =>
    [type, [...size], widgets.some(({ name }) => name === "growing video")])"""
PLAY = f"() => {{ const video = document.querySelector('{GROWING}'); video.muted = video.loop = true; video.play(); }}"
LENGTH = "Audio embeds created, actual frames: 25\n1.00 s, 25 fps, 1 speaker"


@dataclass(frozen=True)
class Finished:
    """What a person saw while and after the talking picture ran."""

    graph: Graph
    """As it was when Run was pressed."""
    graph_afterwards: Graph
    """As it would have been saved after the run."""
    texts: dict[str, list[str]]
    """Progress texts that were shown, by node type."""
    previews: list[dict[str, Any]]
    """Pictures that were shown while it ran: node type, width and height."""
    reports: dict[str, str]
    """Texts on the nodes when the job has ended, by node type."""
    reports_of_second_run: dict[str, str]
    """The same after Run was pressed once more, with nothing left to do."""
    video: dict[str, Any]
    """The player on the save node after half a second of playing."""
    file: dict[str, str]
    """The saved file, as history names it."""


@pytest.fixture(scope="module")
def finished(page_of_editor: Editor, client: ComfyClient) -> Finished:
    """The talking picture, run once by the editor's button."""
    editor = page_of_editor
    editor.load(load("talking_picture"), "talking_picture")
    make_small(editor, SECONDS, **SMALL)
    graph = editor.graph()
    seen = editor.run()
    file = saved_file(client)
    video = editor.play(file["filename"])
    reports, graph_afterwards = editor.reports(), editor.graph()
    editor.run()
    return Finished(graph, graph_afterwards, seen["texts"], seen["previews"], reports, editor.reports(), video, file)


def test_the_sampler_shows_window_and_step_while_it_works(finished: Finished):
    # 25 frames: window 1 has 17 of them, window 2 the rest.
    shown = [text.rsplit(",", 1)[0] for text in finished.texts["InfiniteTalkSampler"] if text.endswith("left")]
    assert shown == [f"Window {window} of 2, step {step} of 2" for window in (1, 2) for step in (1, 2)]


def test_the_sampler_shows_previews_while_it_works(finished: Finished):
    assert {preview["node"] for preview in finished.previews} == {"InfiniteTalkSampler"}
    assert len(finished.previews) >= 2  # of four steps: the page may be too slow to draw each
    assert {preview["width"] / preview["height"] for preview in finished.previews} == {64 / 48}


def test_the_length_stays_on_audio_embeds(finished: Finished):
    assert finished.reports["InfiniteTalkAudioEmbeds"] == LENGTH


def test_facts_about_the_file_stay_on_the_save_node(finished: Finished):
    facts = f"Saved {finished.file['filename']}: 64×48, 25 frames, 25 fps, 1.00 s, AAC 44100 Hz"
    assert facts in finished.reports["SaveVideoWithAudio"]


def test_reports_stay_when_the_server_takes_everything_from_its_cache(finished: Finished):
    assert finished.reports_of_second_run == finished.reports


def test_a_graph_saved_after_a_run_opens_as_it_was_and_runs(finished: Finished, editor: Editor):
    editor.load(finished.graph_afterwards, "saved")

    assert meaning(editor.graph()) == meaning(finished.graph)
    assert editor.reports() == {}
    editor.run()
    assert editor.reports()["SaveVideoWithAudio"] == finished.reports["SaveVideoWithAudio"]


def test_no_progress_text_is_saved_among_the_values_of_inputs(finished: Finished):
    before, after = ({node["id"]: node.get("widgets_values") for node in graph["nodes"]} for graph in (
        finished.graph, finished.graph_afterwards,
    ))  # fmt: skip
    assert after == before


def test_a_progress_text_that_an_earlier_release_saved_is_no_value_of_an_input(editor: Editor):
    graph = load("talking_picture")
    (sampler,) = (node for node in graph["nodes"] if node["type"] == "InfiniteTalkSampler")
    of_the_first_release = sampler["widgets_values"][:WIDGETS_OF_THE_FIRST_RELEASE]
    sampler["widgets_values"] = [*of_the_first_release, "Window 2 of 2, step 2 of 2, 0:00 left"]

    editor.load(graph, "old")

    (opened,) = (node for node in editor.graph()["nodes"] if node["type"] == "InfiniteTalkSampler")
    assert opened["widgets_values"] == [*of_the_first_release, 1.0, "", False]


def test_the_player_of_what_is_finished_is_on_samplers_only_and_leaves_them_as_they_were(
    finished: Finished, editor: Editor
):
    page = editor.page
    editor.new()
    for node_type in ("KSampler", "InfiniteTalkSampler"):
        editor.add(node_type)
    page.wait_for_timeout(500)
    before = page.evaluate(SIZES_AND_PLAYERS)
    for node_type in ("KSampler", "InfiniteTalkSampler"):
        page.evaluate(TELL, [node_type, finished.file])
    editor.wait_until(f"() => document.querySelector('{GROWING}')?.readyState >= 2")
    assert [shown for _, _, shown in page.evaluate(SIZES_AND_PLAYERS)] == [False, True]
    page.evaluate(PLAY)
    editor.wait_until(f"() => document.querySelector('{GROWING}').currentTime > 0")

    for file in (finished.file, None):  # it grows while somebody looks at it, and is gone before it is loaded
        page.evaluate(TELL, ["InfiniteTalkSampler", file])

    editor.wait_until(f"() => !document.querySelector('{GROWING}')")
    assert page.evaluate(SIZES_AND_PLAYERS) == before


def test_the_saved_file_plays_with_sound_in_the_preview(finished: Finished):
    video = finished.video
    assert video["seconds"] == pytest.approx(SECONDS, abs=0.03)
    assert (video["width"], video["height"]) == (64, 48)
    assert video["position"] > 0
    assert video["frames"] > 0
    assert video["sound_bytes"] > 0


def test_dropping_the_saved_file_restores_the_graph(finished: Finished, editor: Editor):
    editor.new()

    editor.drop(finished.file, "video/mp4")

    editor.wait_until(f"() => app.graph.nodes.length === {len(finished.graph['nodes'])}")
    assert meaning(editor.graph()) == meaning(finished.graph)


def test_what_is_finished_plays_on_the_sampler_while_the_rest_is_made(page_of_editor: Editor, client: ComfyClient):
    editor = page_of_editor
    editor.load(load("talking_picture"), "talking_picture")
    make_small(editor, 4 * SECONDS, **SMALL, growing_video=True)
    editor.press_run()
    editor.wait_until(f"() => document.querySelector('{GROWING}')?.readyState >= 2", 60)
    client.interrupt()
    editor.wait_until("() => tests.jobs.end !== null")
    editor.page.wait_for_timeout(2000)  # the player takes the file up a second after the server has told of it

    video = editor.play("unfinished-")

    assert video["seconds"] >= 0.4
    assert (video["width"], video["height"]) == (64, 48)
    assert video["frames"] > 0
    assert video["sound_bytes"] > 0


def test_what_is_finished_is_on_a_sampler_in_a_subgraph_too(nodes_2: Editor, client: ComfyClient):
    nodes_2.load(load("talking_picture"), "talking_picture")
    make_small(nodes_2, 4 * SECONDS, **SMALL, growing_video=True)
    nodes_2.page.evaluate(INTO_A_SUBGRAPH)
    nodes_2.press_run()
    nodes_2.wait_until(f"() => ({PLAYER_IN_THE_SUBGRAPH})?.readyState >= 2", 60)
    client.interrupt()
    nodes_2.wait_until("() => tests.jobs.end !== null")


def test_a_group_node_around_embeds_and_sampler_runs_and_shows_previews(editor: Editor):
    editor.load(load("talking_picture"), "talking_picture")
    make_small(editor, 0.4, **SMALL)
    if not editor.page.evaluate(INTO_A_GROUP_NODE, ["InfiniteTalkAudioEmbeds", "InfiniteTalkSampler"]):
        pytest.skip("this editor makes a subgraph of every group node")
    editor.page.locator("[role=dialog] input").fill("talk")
    editor.page.keyboard.press("Enter")
    editor.wait_until("() => app.graph.nodes.some((node) => node.type.endsWith('talk'))")

    seen = editor.run()

    assert {preview["node"].rpartition(">")[2] for preview in seen["previews"]} == {"talk"}
    assert "10 frames, 25 fps" in editor.reports()["SaveVideoWithAudio"]
