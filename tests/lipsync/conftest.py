"""A ComfyUI of its own with the models that were trained on cartoons."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import cartoon_models
import pytest
from comfy_client import ComfyClient
from comfy_server import ComfyServer

from ..support.conditions import unavailable


@pytest.fixture(scope="session")
def speaker() -> None:
    """The program that speaks; a test that lacks it is a failure in CI and skipped, with the reason, elsewhere."""
    if shutil.which("espeak-ng"):
        return
    from training.speech import MISSING

    unavailable(MISSING)


@pytest.fixture(scope="session")
def comfy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI with the cartoon models only."""
    base = tmp_path_factory.mktemp("cartoons") / "Comfy UI"
    cartoon_models.copy_models(base / "models")
    with ComfyServer.here(base) as running:
        yield running


@pytest.fixture(scope="session")
def client(comfy_server: ComfyServer) -> ComfyClient:
    """A client for the cartoon server."""
    return ComfyClient(comfy_server.url)
