"""The real ComfyUI server with all tiny models, and helpers to queue the talking-picture graph on it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from talking_picture import PICTURE
from tiny_models import TinyInfiniteTalk

from ..support.more_models import write_more_models


@pytest.fixture(scope="session")
def server(comfy_server: ComfyServer) -> ComfyServer:
    """The common server, with the files that must be refused beside its models."""
    write_more_models(comfy_server.base / "models")
    return comfy_server


@pytest.fixture
def client(server: ComfyServer) -> ComfyClient:
    """A client of its own for each test."""
    return ComfyClient(server.url)


@pytest.fixture
def folders(server: ComfyServer) -> SimpleNamespace:
    """The server's `input`, `output` and `models` folders."""
    return SimpleNamespace(**{name: server.base / name for name in ("input", "output", "models")})


@pytest.fixture(scope="session")
def picture() -> Path:
    """The demo's picture."""
    return PICTURE


@pytest.fixture(scope="session")
def tiny_infinitetalk() -> TinyInfiniteTalk:
    """Sizes of the InfiniteTalk weights on the server."""
    return TinyInfiniteTalk()
