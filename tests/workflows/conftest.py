"""A ComfyUI of its own for the examples: tiny models under the real names, core's encoders made small."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from environment import Environment, find_core

from .example_media import write_media
from .stand_ins import write_stand_ins

SPEECH_SECONDS = 1.0


@pytest.fixture(scope="session")
def examples_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """The server; apart from the common one, whose core no extension may change."""
    base = tmp_path_factory.mktemp("examples") / "Comfy UI"
    write_stand_ins(base)
    write_media(base / "input", SPEECH_SECONDS)
    with ComfyServer(Environment(Path(sys.prefix), find_core()), base) as running:
        yield running


@pytest.fixture
def client(examples_server: ComfyServer) -> ComfyClient:
    """A client of its own for each test."""
    return ComfyClient(examples_server.url)


@pytest.fixture
def input_folder(examples_server: ComfyServer) -> Path:
    """Where the server finds pictures, sounds and videos."""
    return examples_server.base / "input"
