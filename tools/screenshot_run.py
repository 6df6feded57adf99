"""Takes the README's pictures of a run in the newest graph editor: the sampler at work, and the finished video.

The models are those of the demo. Needs Chromium and the tests' environment:
`.venv/bin/python tools/screenshot_run.py docs/images`
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import in_process  # noqa: F401  (makes the demo's modules importable)
from cartoon_models import copy_models
from comfy_server import ComfyServer
from environment import CACHE
from graph_editor import frontend
from graph_editor.editor import Editor, launch
from graph_editor.small_graph import load, make_small
from playwright.sync_api import sync_playwright
from screenshot import VIEW, fit, shoot
from talking_picture import CARTOON_MODELS, CARTOON_SAMPLER, PICTURE, SPEECH

SHOWN = ("InfiniteTalkAudioEmbeds", "InfiniteTalkSampler", "SaveVideoWithAudio")
SECONDS = 4.0  # 100 frames: four windows
LISTEN = """() => {
    window.told = "";
    app.api.addEventListener("progress_text", ({ detail }) => { told = detail.text; });
}"""
FIRST, MIDDLE = "() => told.startsWith('Window 1 of 4')", "() => told.startsWith('Window 3 of 4, step 2')"
MINUTES = 8


def main() -> None:
    """Run the talking picture, and save `running.jpg` and `finished.jpg`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        copy_models(base / "models")
        with ComfyServer.here(base, ("--preview-method", "latent2rgb")) as server, sync_playwright() as driver:
            for file in (PICTURE, SPEECH):
                shutil.copy(file, base / "input")
            browser = launch(driver)
            files = frontend.download(CACHE)
            take(Editor(browser, server.url, files, nodes_2=True, viewport=VIEW), options.folder)
            browser.close()


def take(editor: Editor, folder: Path) -> None:
    """Press Run and take both pictures."""
    editor.load(load("talking_picture"), "talking_picture")
    make_small(editor, SECONDS, CARTOON_MODELS, **CARTOON_SAMPLER)
    editor.page.evaluate(LISTEN)
    editor.press_run()
    editor.wait_until(FIRST, 60 * MINUTES)
    clip = fit(editor.page, *SHOWN)
    editor.wait_until(MIDDLE, 60 * MINUTES)
    shoot(editor.page, folder / "running.jpg", clip)
    editor.wait_until("() => document.querySelector('video')?.readyState >= 2", 60 * MINUTES)
    shoot(editor.page, folder / "finished.jpg", fit(editor.page, *SHOWN))


if __name__ == "__main__":
    main()
