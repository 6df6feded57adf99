"""The demo's job: the shipped workflow with the names and sizes of the models that are there."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cartoon_models
import tiny_models
from comfy_client import ComfyClient, ComfyError, Prompt
from environment import ROOT

WORKFLOW = ROOT / "example_workflows" / "api" / "talking_picture.json"
PICTURE = ROOT / "demo" / "media" / "face.png"
SPEECH = ROOT / "demo" / "media" / "speech.flac"

TINY_SIZE = 128  # pixels; multiples of 16
TINY_STEPS = 4

# Which input of which node names a model file, and the tiny model that can stand in for it.
NEEDED_MODELS = {
    ("UNETLoader", "unet_name"): tiny_models.BASE_I2V,
    ("VAELoader", "vae_name"): tiny_models.VAE,
    ("InfiniteTalkModelLoader", "model"): tiny_models.INFINITETALK,
    ("InfiniteTalkWav2VecLoader", "model"): tiny_models.WAV2VEC,
}
CARTOON_MODELS = {
    ("UNETLoader", "unet_name"): cartoon_models.BASE_I2V,
    ("VAELoader", "vae_name"): cartoon_models.VAE,
    ("InfiniteTalkModelLoader", "model"): cartoon_models.INFINITETALK,
    ("InfiniteTalkWav2VecLoader", "model"): cartoon_models.WAV2VEC,
}
CARTOON_SAMPLER = {
    "width": cartoon_models.SIDE,
    "height": cartoon_models.SIDE,
    "steps": 4,
    "text_cfg": 1.0,
    "audio_cfg": 1.0,
    "window_frames": cartoon_models.WINDOW_FRAMES,
    "motion_frames": cartoon_models.MOTION_FRAMES,
}
# Inputs of the sampler that may stay open: text encoder and CLIP vision are gigabytes and exist in one size only.
OPTIONAL_MODELS = {
    ("CLIPLoader", "clip_name"): ("positive", "negative"),
    ("CLIPVisionLoader", "clip_name"): ("clip_vision",),
}


def load_workflow(file: Path = WORKFLOW) -> Prompt:
    """A shipped workflow, in the API format."""
    return json.loads(file.read_text(encoding="utf-8"))


def find_node(prompt: Prompt, class_type: str) -> str:
    """Id of the prompt's only node of this class."""
    (found,) = [node_id for node_id, node in prompt.items() if node["class_type"] == class_type]
    return found


def inputs_of(prompt: Prompt, class_type: str) -> dict:
    """Inputs of the prompt's only node of this class, to read or change."""
    return prompt[find_node(prompt, class_type)]["inputs"]


def with_media(prompt: Prompt, picture: str, speech: str) -> Prompt:
    """The prompt with another picture and sound (names in the server's input folder)."""
    changed = copy.deepcopy(prompt)
    inputs_of(changed, "LoadImage")["image"] = picture
    inputs_of(changed, "InfiniteTalkLoadAudio")["audio"] = speech
    return changed


def with_tiny_models(prompt: Prompt, size: int = TINY_SIZE, steps: int = TINY_STEPS) -> Prompt:
    """The same graph for the tiny random models: other file names, a small picture, few steps, no text and CLIP."""
    return _with_models(prompt, NEEDED_MODELS, {"width": size, "height": size, "steps": steps})


def with_cartoon_models(prompt: Prompt) -> Prompt:
    """The same graph for the shipped models that talk, without text and CLIP, which they were not trained with."""
    return _with_models(prompt, CARTOON_MODELS, CARTOON_SAMPLER)


def _with_models(prompt: Prompt, files: dict[tuple[str, str], str], sampler: dict[str, Any]) -> Prompt:
    changed = copy.deepcopy(prompt)
    for (class_type, input_name), file in files.items():
        inputs_of(changed, class_type)[input_name] = Path(file).name
    inputs_of(changed, "InfiniteTalkSampler").update(resolution="custom", **sampler)
    for class_type, _ in OPTIONAL_MODELS:
        changed = without_model(changed, class_type)
    return changed


def knows_drawn_faces_only(prompt: Prompt) -> bool:
    """Whether the prompt is for the shipped models that talk."""
    return inputs_of(prompt, "UNETLoader")["unet_name"] == Path(cartoon_models.BASE_I2V).name


def without_model(prompt: Prompt, class_type: str) -> Prompt:
    """The prompt without one optional loader, the nodes that need it and the sampler's links to them."""
    changed = copy.deepcopy(prompt)
    removed = {find_node(changed, class_type)}
    sampler = find_node(changed, "InfiniteTalkSampler")
    while removed:
        gone = removed.pop()
        del changed[gone]
        for node_id, node in changed.items():
            links = [name for name, value in node["inputs"].items() if isinstance(value, list) and value[0] == gone]
            if links and node_id != sampler:
                removed.add(node_id)
            for name in links:
                del node["inputs"][name]
    return changed


def prompt_for(client: ComfyClient) -> Prompt:
    """The workflow for what a server has: the real models if they are all there, otherwise small ones.

    Raises:
        ComfyError: the server lacks the pack or models; the message names them.
    """
    prompt = load_workflow()
    if not client.model_choices("InfiniteTalkModelLoader", "model"):
        raise ComfyError(f"The ComfyUI at {client.url} does not have the InfiniteTalk nodes: install the pack there.")
    missing = _missing_models(client, prompt)
    if not missing:
        for class_type, input_name in OPTIONAL_MODELS:
            wanted = inputs_of(prompt, class_type)[input_name]
            if wanted not in client.model_choices(class_type, input_name):
                prompt = without_model(prompt, class_type)
        return prompt
    for small in (with_cartoon_models(prompt), with_tiny_models(prompt)):
        if not _missing_models(client, small):
            return small
    raise ComfyError(
        f"The ComfyUI at {client.url} lacks {', '.join(missing)}: put the files into its models folder, or copy the "
        "small ones of demo/models there."
    )


def _missing_models(client: ComfyClient, prompt: Prompt) -> list[str]:
    """Names of the model files of this prompt that the server does not offer."""
    wanted = {key: inputs_of(prompt, key[0])[key[1]] for key in NEEDED_MODELS}
    return [name for key, name in wanted.items() if name not in client.model_choices(*key)]
