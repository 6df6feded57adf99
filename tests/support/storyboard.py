"""Graphs with scenes."""

from __future__ import annotations

from typing import Any

from comfy_client import Prompt
from talking_picture import find_node, inputs_of


def with_scenes(prompt: Prompt, *scenes: dict[str, Any]) -> Prompt:
    """The prompt with one Scene after the other; each is given inputs that differ from the defaults."""
    changed = {name: {**node, "inputs": dict(node["inputs"])} for name, node in prompt.items()}
    before = None
    for number, scene in enumerate(scenes, start=2):
        inputs = {"snap_to_pause": False, "transition": "cut", **scene}
        if before is not None:
            inputs["scenes"] = [before, 0]
        before = f"scene {number}"
        changed[before] = {"class_type": "InfiniteTalkScene", "inputs": inputs}
    inputs_of(changed, "InfiniteTalkSampler")["scenes"] = [before, 0]
    return changed


def other_picture(prompt: Prompt) -> list[Any]:
    """The picture of the prompt with all colors inverted, as an input for a scene; adds the node that makes it."""
    prompt["other picture"] = {"class_type": "ImageInvert", "inputs": {"image": [find_node(prompt, "LoadImage"), 0]}}
    return ["other picture", 0]
