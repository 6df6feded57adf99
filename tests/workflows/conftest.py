"""A ComfyUI of its own for the examples: tiny models under the real names, core's encoders made small."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_client import ComfyClient
from comfy_server import ComfyServer

from ..support.stand_ins import write_stand_ins


@pytest.fixture(scope="session")
def examples_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """The server; apart from the common one, whose core no extension may change."""
    base = tmp_path_factory.mktemp("examples") / "Comfy UI"
    write_stand_ins(base)
    with ComfyServer.here(base) as running:
        yield running


@pytest.fixture
def client(examples_server: ComfyServer) -> ComfyClient:
    """A client of its own for each test."""
    return ComfyClient(examples_server.url)


@pytest.fixture
def input_folder(examples_server: ComfyServer) -> Path:
    """Where the server finds pictures, sounds and videos."""
    return examples_server.base / "input"
