"""Takes a picture of a workflow in the real graph editor, for the README and the template browser.

Needs a running ComfyUI with this pack, Chromium, and `pip install playwright`:
`python tools/screenshot.py http://127.0.0.1:8188 example_workflows/talking_picture.json picture.png`
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from graph_editor.editor import Editor, launch
from playwright.sync_api import Page, sync_playwright

VIEW = {"width": 1920, "height": 1080}
PIXELS = 1.5  # of the picture, per pixel of the page
JPEG_QUALITY = 85
# Only the canvas and what lies on nodes: menus and bars have other names in every editor.
BARE = """
    body * { visibility: hidden !important }
    #graph-canvas, .dom-widget, .dom-widget *, [data-node-id], [data-node-id] * { visibility: visible !important }
"""
FIT = """(types) => {
    const items = types.length
        ? app.graph.nodes.filter((node) => types.includes(node.type)) : [...app.graph.nodes, ...app.graph.groups];
    const boxes = items.map((item) => item.boundingRect ?? item.getBounding());
    const left = Math.min(...boxes.map((box) => box[0])) - 30, top = Math.min(...boxes.map((box) => box[1])) - 40;
    const right = Math.max(...boxes.map((box) => box[0] + box[2])) + 30;
    const bottom = Math.max(...boxes.map((box) => box[1] + box[3])) + 30;
    const canvas = app.canvas.canvas.getBoundingClientRect();
    const scale = Math.min(canvas.width / (right - left), canvas.height / (bottom - top));
    app.canvas.ds.scale = scale;
    app.canvas.show_info = false;
    const middle = [(left + right) / 2, (top + bottom) / 2];
    app.canvas.ds.offset = [canvas.width / scale / 2 - middle[0], canvas.height / scale / 2 - middle[1]];
    app.canvas.setDirty(true, true);
    return [(right - left) * scale, (bottom - top) * scale, canvas.width, canvas.height];
}"""
API = "async () => (await app.graphToPrompt()).output"


def main() -> None:
    """Load the workflow, fit it into the window, save the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server")
    parser.add_argument("workflow", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--api", type=Path, help="also write the graph in the API format, as the editor makes it")
    options = parser.parse_args()
    workflow = json.loads(options.workflow.read_text(encoding="utf-8"))
    with sync_playwright() as playwright:
        browser = launch(playwright)
        editor = Editor(browser, options.server, viewport=VIEW, device_scale_factor=PIXELS)
        editor.load(workflow, options.workflow.stem)
        editor.page.wait_for_timeout(2000)
        if unknown := editor.unknown_types():
            sys.exit(f"The editor does not know {', '.join(unknown)}: install the pack on that server.")
        if options.api:
            api = json.dumps(editor.page.evaluate(API), indent=2, ensure_ascii=False)
            options.api.write_text(api + "\n", encoding="utf-8")
        shoot(editor.page, options.picture, fit(editor.page))
        browser.close()


def fit(page: Page, *node_types: str) -> dict[str, float]:
    """Hide everything but the canvas, and make the nodes of these types, else the whole graph, fill it.

    Returns:
        Where they are then on the page.
    """
    page.keyboard.press("Escape")
    page.add_style_tag(content=BARE)
    page.wait_for_timeout(500)
    width, height, view_width, view_height = page.evaluate(FIT, list(node_types))
    page.wait_for_timeout(1500)
    box = page.locator("#graph-canvas").bounding_box() or {"x": 0, "y": 0}
    left, top = box["x"] + (view_width - width) / 2, box["y"] + (view_height - height) / 2
    return {"x": left, "y": top, "width": width, "height": height}


def shoot(page: Page, picture: Path, clip: dict[str, float]) -> None:
    """Save a part of the page as PNG or JPEG, as the file's name says."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    quality = {"quality": JPEG_QUALITY} if picture.suffix == ".jpg" else {}
    page.screenshot(path=picture, clip=clip, **quality)


if __name__ == "__main__":
    main()
