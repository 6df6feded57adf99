"""The graph editor in a real browser: the one that comes with the core, and the newest one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from environment import CACHE
from talking_picture import PICTURE, SPEECH

from . import frontend

EDITORS = ("core's editor", "newest editor")


def unavailable(reason: str) -> None:
    """A test that cannot run is a failure in CI and skipped, with the reason, elsewhere."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A running Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("Browser tests need playwright: pip install playwright.")
    from .editor import launch

    with sync_playwright() as playwright:
        try:
            running = launch(playwright)
        except RuntimeError as error:
            unavailable(str(error))
        yield running
        running.close()


@pytest.fixture(scope="session", params=EDITORS)
def editor_files(request: pytest.FixtureRequest) -> Path | None:
    """Files of the newest editor; None stands for those that the core has."""
    if request.param == EDITORS[0]:
        return None
    try:
        return frontend.download(CACHE)
    except RuntimeError as error:
        return unavailable(str(error))


@pytest.fixture(scope="session")
def page_of_editor(browser: Any, comfy_server: ComfyServer, editor_files: Path | None) -> Iterator[Any]:
    """The editor, opened once, with the demo's media where the workflows look for them: tests use `editor`."""
    from .editor import Editor

    for file in (PICTURE, SPEECH):
        shutil.copy(file, comfy_server.base / "input")
    opened = Editor(browser, comfy_server.url, editor_files)
    yield opened
    opened.page.close()


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
