"""What nodes have to say stays on them as long as it is true."""

from __future__ import annotations

import shutil
import uuid

from comfy_server import ComfyServer
from graph_editor.editor import Editor
from graph_editor.small_graph import load, make_small

SMALL = {"width": 64, "height": 48, "steps": 1, "window_frames": 17, "motion_frames": 5}
TALL = 600
LOADER = 'app.graph.nodes.find((node) => node.type === "InfiniteTalkModelLoader")'
MAKE_TALL = f"() => {LOADER}.setSize([{LOADER}.size[0], {TALL}])"
HEIGHT = f"() => {LOADER}.size[1]"
INTO_A_SUBGRAPH = """() => {
    const save = app.graph.nodes.find((node) => node.type === "SaveVideoWithAudio");
    app.graph.convertToSubgraph(new Set([save]));
}"""
REPORT_IN_THE_SUBGRAPH = (
    "app.graph.nodes.find((node) => node.subgraph)"
    "?.subgraph.nodes[0].widgets.find((widget) => widget.name === 'report')?.value"
)


def test_what_was_true_of_the_last_job_only_leaves_the_nodes(editor: Editor, comfy_server: ComfyServer):
    (weights,) = (comfy_server.base / "models").rglob("tiny_infinitetalk_single.safetensors")
    shutil.copy(weights, weights.with_name("SoulX-FlashTalk.safetensors"))
    editor.load(load("talking_picture"), "talking_picture")
    make_small(editor, 0.4, **SMALL)
    nodes = {"InfiniteTalkSampler", "InfiniteTalkModelLoader"}
    editor.page.evaluate(MAKE_TALL)
    editor.set_widgets("InfiniteTalkModelLoader", model="SoulX-FlashTalk.safetensors")
    editor.run()
    assert nodes <= editor.reports().keys()

    editor.set_widgets("InfiniteTalkModelLoader", model=weights.name)
    editor.run()

    assert nodes.isdisjoint(editor.reports())
    assert editor.page.evaluate(HEIGHT) == TALL, "a node that had room for the report keeps its size"


def test_a_report_in_a_subgraph_is_back_when_its_tab_is_opened_again(editor: Editor):
    tab = uuid.uuid4().hex[:8]
    editor.load(load("talking_picture"), tab)
    # With a sampler in it: the older editor keeps nothing of a job that ends before the page knows that it is queued.
    make_small(editor, 0.4, **SMALL)
    editor.set_widgets("SaveVideoWithAudio", filename_prefix=f"tests/{tab}")
    editor.page.evaluate(INTO_A_SUBGRAPH)
    editor.run()
    editor.new()

    editor.open_tab(tab)

    editor.wait_until(f"() => {REPORT_IN_THE_SUBGRAPH}?.startsWith('Saved {tab}')")
