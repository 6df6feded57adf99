"""The talking-picture graph in small, and what a server says of it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import talking_picture
from comfy_client import ComfyClient, ComfyError, Event, Prompt
from talking_picture import inputs_of

SMALL = {"width": 48, "height": 32, "steps": 2, "window_frames": 17, "motion_frames": 5}
"""Sampler settings that make a window in a second or two: 17 frames, of which 12 are new."""


def small_prompt(client: ComfyClient, picture: Path, sound: Path, **sampler: Any) -> Prompt:
    """The shipped workflow with tiny models, both files uploaded, and a file name that no other test uses."""
    prompt = talking_picture.with_tiny_models(talking_picture.load_workflow())
    prompt = talking_picture.with_media(prompt, client.upload(picture), client.upload(sound))
    inputs_of(prompt, "InfiniteTalkSampler").update({**SMALL, **sampler})
    inputs_of(prompt, "SaveVideoWithAudio")["filename_prefix"] = f"tests/{uuid.uuid4().hex[:12]}"
    return prompt


def sampler_progress(prompt: Prompt, events: list[Event]) -> list[Event]:
    """The `progress` events of the sampler: one per step, behind those of looking through a source video."""
    samplers = {name for name, node in prompt.items() if node["class_type"] == "InfiniteTalkSampler"}
    return [event for event in events if event.kind == "progress" and event.data["node"] in samplers]


def refusal(client: ComfyClient, prompt: Prompt) -> str:
    """Queue a prompt that must be refused before any sampling; returns the sentence for the user."""
    try:
        result = client.run(prompt)
    except ComfyError as error:
        return str(error)
    assert result.error, "the server took it"
    assert result.error["exception_type"].endswith("UserError"), "".join(result.error["traceback"])
    said = [event.data["text"] for event in result.events if event.kind == "progress_text"]
    assert not [text for text in said if text.startswith("Window ")], "sampling had begun"
    return result.error_message
