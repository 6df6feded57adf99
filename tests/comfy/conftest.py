"""The real ComfyUI server with all tiny models, and helpers to queue the talking-picture graph on it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_models
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from talking_picture import PICTURE
from tiny_models import TinyInfiniteTalk, TinyWan, TinyWav2Vec

# Files that must be refused, or that a test needs beside the demo's own models.
T2V = "tiny_wan2.1_t2v.safetensors"
OTHER_WIDTH = "tiny_wan2.1_i2v_wide.safetensors"
LARGE_WAV2VEC = "tiny_wav2vec2_large.safetensors"
LORA = "tiny_lora.safetensors"


def write_more_models(models: Path) -> None:
    """Models for the refusals, and a LoRA, which also lies where InfiniteTalk weights are expected."""
    base = TinyWan()
    tiny_models.write(models / "diffusion_models" / T2V, tiny_models.wan_transformer(TinyWan(in_channels=16), 11))
    tiny_models.write(models / "diffusion_models" / OTHER_WIDTH, tiny_models.wan_transformer(TinyWan(dim=384), 12))
    tiny_models.write(models / "wav2vec2" / LARGE_WAV2VEC, tiny_models.wav2vec(TinyWav2Vec(hidden=192), 13))
    for folder in ("loras", "model_patches"):
        tiny_models.write(models / folder / LORA, tiny_models.lora(base, 14))


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
