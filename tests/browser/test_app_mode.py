"""App mode of the newest editor: a template's few inputs beside the video that it makes."""

from __future__ import annotations

import pytest
from environment import find_core
from graph_editor.editor import Editor
from graph_editor.small_graph import load, make_small

QUALITY = ["resolution", "steps"]
SHOWN = {
    "talking_picture": ["image", "audio", "text", *QUALITY],
    "talking_picture_lightx2v": ["image", "audio", "text", *QUALITY],
    "dubbing": ["file", "audio", "text", *QUALITY],
}
SMALL = {"width": 64, "height": 48, "steps": 1, "window_frames": 17, "motion_frames": 5}
SWITCH = "() => app.extensionManager.command.execute('Comfy.ToggleLinear')"
VIDEO = "[data-testid=linear-center-panel] video"
STRIP = """() => [...document.querySelectorAll("[data-testid=linear-history-item] video")]
    .map(({ src }) => new URL(src).searchParams.get("filename"))"""
LISTS_JOBS = "/api/jobs" in (find_core() / "server.py").read_text(encoding="utf-8")
"""Without that the strip of results below the video stays empty: the newest editor on an older core."""


@pytest.mark.parametrize("name", SHOWN)
def test_a_template_shows_its_inputs_as_an_app(nodes_2: Editor, name: str):
    nodes_2.load(load(name), name)
    nodes_2.page.evaluate(SWITCH)

    widgets = nodes_2.page.locator("[data-testid=linear-widgets]")
    widgets.get_by_text("steps", exact=True).wait_for()
    lines = widgets.inner_text().splitlines()
    assert [line for line in lines if line in SHOWN[name]] == SHOWN[name]
    nodes_2.page.evaluate(SWITCH)


def test_a_run_of_the_app_ends_with_its_video(nodes_2: Editor):
    page = nodes_2.page
    nodes_2.load(load("talking_picture"), "talking_picture")
    make_small(nodes_2, 0.6, **SMALL)
    page.evaluate(SWITCH)
    page.evaluate("() => { tests.jobs.end = null; }")
    tour = page.get_by_role("button", name="Skip")
    if tour.is_visible():
        tour.click()

    page.locator("button:has([data-testid=linear-run-button-icon])").click()

    nodes_2.wait_until("() => tests.jobs.end?.kind === 'execution_success'", 60)
    nodes_2.wait_until(f"() => document.querySelector('{VIDEO}')?.readyState >= 2")
    assert page.evaluate(f"() => document.querySelector('{VIDEO}').videoWidth") == SMALL["width"]
    if LISTS_JOBS:
        nodes_2.wait_until(f"() => ({STRIP})().length > 0")
        shown = page.evaluate(STRIP)
        assert len(shown) == len({*shown})
    page.evaluate(SWITCH)
