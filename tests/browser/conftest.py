"""The graph editor in a real browser: the one that comes with the core, and the newest one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from environment import CACHE
from graph_editor import frontend
from talking_picture import PICTURE, SPEECH

from ..support.conditions import unavailable

EDITORS = ("core's editor", "newest editor")
# ComfyUI 0.3.75 has no setting for previews, only this.
WITH_PREVIEWS = ("--preview-method", "latent2rgb")


@pytest.fixture(scope="session")
def comfy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI with the demo's tiny models, started as by somebody who wants to see previews."""
    base = tmp_path_factory.mktemp("editor") / "Comfy UI"
    tiny_models.write_models(base / "models")
    with ComfyServer.here(base, WITH_PREVIEWS) as running:
        for file in (PICTURE, SPEECH):
            shutil.copy(file, base / "input")
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A running Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("Browser tests need playwright: pip install playwright.")
    from graph_editor.editor import launch

    with sync_playwright() as playwright:
        try:
            running = launch(playwright)
        except RuntimeError as error:
            unavailable(str(error))
        yield running
        running.close()


@pytest.fixture(scope="session", params=EDITORS)
def editor_files(request: pytest.FixtureRequest) -> Path | None:
    """Files of the editor under test; None stands for those that the core has."""
    return None if request.param == EDITORS[0] else request.getfixturevalue("newest_editor_files")


@pytest.fixture(scope="session")
def newest_editor_files() -> Path:
    """Files of the newest editor."""
    try:
        return frontend.download(CACHE)
    except RuntimeError as error:
        return unavailable(str(error))


@pytest.fixture(scope="session")
def page_of_editor(browser: Any, comfy_server: ComfyServer, editor_files: Path | None) -> Iterator[Any]:
    """The editor, opened once: tests use `editor`."""
    from graph_editor.editor import Editor

    opened = Editor(browser, comfy_server.url, editor_files)
    yield opened
    opened.page.close()


@pytest.fixture(scope="session")
def page_of_nodes_2(browser: Any, comfy_server: ComfyServer, newest_editor_files: Path) -> Iterator[Any]:
    """The newest editor with Nodes 2.0, opened once: tests use `nodes_2`."""
    from graph_editor.editor import Editor

    opened = Editor(browser, comfy_server.url, newest_editor_files, nodes_2=True)
    yield opened
    opened.page.close()


@pytest.fixture
def nodes_2(page_of_nodes_2: Any) -> Iterator[Any]:
    """The newest editor with Nodes 2.0; exceptions that nobody caught in the page fail the test."""
    page_of_nodes_2.errors.clear()
    yield page_of_nodes_2
    assert page_of_nodes_2.errors == []


@pytest.fixture
def editor(page_of_editor: Any) -> Iterator[Any]:
    """The open editor; exceptions that nobody caught in the page fail the test."""
    page_of_editor.errors.clear()
    yield page_of_editor
    assert page_of_editor.errors == []


@pytest.fixture(scope="session")
def client(comfy_server: ComfyServer) -> ComfyClient:
    """A client for the editor's server."""
    return ComfyClient(comfy_server.url)
