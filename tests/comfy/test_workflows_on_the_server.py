"""The shipped workflows fit the nodes that the server really offers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_client import ComfyClient
from environment import ROOT

from ..support.conditions import OF_NEWER_CORES

API_WORKFLOWS = sorted((ROOT / "example_workflows" / "api").glob("*.json"))
FILES = {
    "LoadImage",
    "LoadVideo",
    "LoraLoaderModelOnly",
    "InfiniteTalkLoadAudio",
    "UNETLoader",
    "VAELoader",
    "CLIPLoader",
    "CLIPVisionLoader",
    "LoadMediaPipeFaceLandmarker",
}
FILES |= {"InfiniteTalkModelLoader", "InfiniteTalkMergedModelLoader", "InfiniteTalkWav2VecLoader"}


@pytest.mark.parametrize("file", API_WORKFLOWS, ids=lambda file: file.stem)
def test_every_input_of_an_api_workflow_exists_and_is_allowed(client: ComfyClient, file: Any):
    offered = client.get("/object_info")
    nodes = json.loads(file.read_text(encoding="utf-8")).values()
    missing = {node["class_type"] for node in nodes} - set(offered)
    assert missing <= OF_NEWER_CORES.get(file.stem, set())
    for node in (node for node in nodes if node["class_type"] not in missing):
        described = offered[node["class_type"]]["input"]
        inputs = {**described["required"], **described.get("optional", {})}
        assert set(described["required"]) <= set(node["inputs"])
        for name, value in node["inputs"].items():
            kind, *options = inputs[name]
            choices = kind if isinstance(kind, list) else (options[0].get("options") if kind == "COMBO" else None)
            if choices is not None and not (node["class_type"] in FILES and isinstance(value, str) and "." in value):
                assert value in choices
