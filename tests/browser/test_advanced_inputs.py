"""Inputs that few people touch are folded in Nodes 2.0, behind the editor's own switch; the canvas shows them all."""

from __future__ import annotations

import pytest
from graph_editor.editor import Editor

from ..support.conditions import wait_until

SEED_WIDGET = "control_after_generate"  # the editor's own, behind a seed
SEED_CONTROL = 4
"""Its place among the sampler's values."""
SHOWN = {
    "InfiniteTalkSampler": {
        "resolution", "seed", "steps", "text_cfg", "audio_cfg", "shift", "color_correction", "denoise",
    },
    "SaveVideoWithAudio": {"fps", "filename_prefix", "format", "crf", "audio_fit"},
    "InfiniteTalkAudioEmbeds": {"combine", "normalize_loudness"},
}  # fmt: skip
FOLDED = {
    "InfiniteTalkSampler": {
        "width", "height", "sampler_name", "scheduler", "window_frames", "motion_frames", "audio_scale", "apg",
        "end_padding", "resume", "part", "growing_video",
    },
    "SaveVideoWithAudio": {"audio_bitrate", "if_audio_fails", "save_metadata"},
    "InfiniteTalkAudioEmbeds": {"fps", "max_frames"},
}  # fmt: skip


@pytest.mark.parametrize("node_type", SHOWN)
def test_advanced_inputs_are_folded_until_somebody_wants_them(nodes_2: Editor, node_type: str):
    nodes_2.new()
    nodes_2.add(node_type)

    assert shown(nodes_2, node_type, at_least=len(SHOWN[node_type])) == SHOWN[node_type]
    nodes_2.press_show_advanced(node_type)
    everything = SHOWN[node_type] | FOLDED[node_type]
    assert shown(nodes_2, node_type, at_least=len(everything)) == everything


@pytest.mark.parametrize("node_type", SHOWN)
def test_the_canvas_shows_every_input(editor: Editor, node_type: str):
    editor.new()
    editor.add(node_type)

    everything = SHOWN[node_type] | FOLDED[node_type]
    assert shown(editor, node_type, at_least=len(everything)) == everything


def test_the_seed_of_a_new_sampler_stays_and_that_of_a_saved_one_is_as_it_was(editor: Editor):
    editor.new()
    editor.add("InfiniteTalkSampler")
    graph = editor.graph()
    values = graph["nodes"][0]["widgets_values"]
    assert values[SEED_CONTROL] == "fixed", "a job that was stopped would begin from the start"
    values[SEED_CONTROL] = "randomize"

    editor.load(graph, "saved")

    assert editor.graph()["nodes"][0]["widgets_values"] == values


def shown(editor: Editor, node_type: str, *, at_least: int) -> set[str]:
    """Names of the widgets that a person sees, once there are so many: switches come later than numbers."""

    def names() -> set[str]:
        return {*editor.shown_widgets(node_type)} - {SEED_WIDGET}

    wait_until(lambda: len(names()) >= at_least, seconds=30)
    return names()
