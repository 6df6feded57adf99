"""Rewrites a graph for the queue (API format) of WanVideoWrapper or of ComfyUI's own InfiniteTalk nodes into ours.

`python tools/migrate.py old_api.json new_api.json`: what has no counterpart is said. docs/migration.md explains both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Prompt = dict[str, dict[str, Any]]
Link = list[Any]

WRAPPER, CORE = "MultiTalkWav2VecEmbeds", "WanInfiniteTalkToVideo"
# The wrapper's names for samplers: ours with their scheduler. `multitalk` is the authors' own schedule.
SAMPLERS = {
    "multitalk": ("euler", "infinitetalk"), "euler": ("euler", "simple"), "euler/beta": ("euler", "beta"),
    "dpm++": ("dpmpp_2m", "simple"), "dpm++/beta": ("dpmpp_2m", "beta"),
    "dpm++_sde": ("dpmpp_sde", "simple"), "dpm++_sde/beta": ("dpmpp_sde", "beta"),
    "unipc": ("uni_pc", "simple"), "unipc/beta": ("uni_pc", "beta"), "lcm": ("lcm", "simple"),
    "lcm/beta": ("lcm", "beta"), "deis": ("deis", "simple"),
}  # fmt: skip
COMBINE = {"para": "parallel", "add": "sequential"}
SAVERS = ("VHS_VideoCombine", "SaveVideo", "SaveWEBM")


class MigrationError(ValueError):
    """The graph cannot be rewritten; the message says why."""


class Inputs(dict[str, Any]):
    """Inputs of an old node."""

    def __missing__(self, name: str) -> Any:
        raise MigrationError(f"A node of the graph lacks its input '{name}': export the graph again.")


class Graph:
    """The old graph, and the new one as it grows."""

    def __init__(self, old: Prompt) -> None:
        self.old = {key: {**node, "inputs": Inputs(node["inputs"])} for key, node in old.items()}
        self.new: Prompt = {}
        self.notes: list[str] = []

    def of(self, *class_types: str) -> list[tuple[str, dict[str, Any]]]:
        """Ids and inputs of all old nodes of these classes."""
        return [(key, node["inputs"]) for key, node in self.old.items() if node["class_type"] in class_types]

    def behind(self, link: Any) -> tuple[str, dict[str, Any]]:
        """Class and inputs of the old node that a link comes from."""
        if not is_link(link):
            return "", {}
        node = self._node(link)
        return node["class_type"], node["inputs"]

    def upstream(self, link: Any, class_type: str) -> dict[str, Any] | None:
        """Inputs of the nearest old node of a class on the way up from a link, by any of the inputs."""
        waiting, seen = [link], set()
        while waiting:
            kind, inputs = self.behind(link := waiting.pop(0))
            if kind == class_type:
                return inputs
            if is_link(link) and link[0] not in seen:
                seen.add(link[0])
                waiting += [value for value in inputs.values() if is_link(value)]
        return None

    def keep(self, link: Any) -> Link | None:
        """Take a node over as it is, with everything above it; None for an open input."""
        if not is_link(link):
            return None
        if link[0] not in self.new:
            node = self._node(link)
            self.new[link[0]] = {"class_type": node["class_type"], "inputs": dict(node["inputs"])}
            for value in node["inputs"].values():
                self.keep(value)
        return list(link)

    def add(self, class_type: str, **inputs: Any) -> Link:
        """Add a node; inputs that are None stay open. Old nodes that feed one come along. Returns its first output."""
        key = f"{class_type}-{sum(node['class_type'] == class_type for node in self.new.values()) + 1}"
        for value in inputs.values():
            if is_link(value) and value[0] not in self.new:
                self.keep(value)
        self.new[key] = {"class_type": class_type, "inputs": {k: v for k, v in inputs.items() if v is not None}}
        return [key, 0]

    def known(self, value: Any, name: str, instead: Any) -> Any:
        """A value that the new graph is computed from; where another node feeds it, `instead`, which is said."""
        if not is_link(value):
            return value
        self.notes.append(f"{name} is fed by another node and cannot be rewritten: {instead} is set.")
        return instead

    def _node(self, link: Link) -> dict[str, Any]:
        if link[0] not in self.old:
            raise MigrationError(f"The graph has no node {link[0]!r}, though one is connected to it: export it again.")
        return self.old[link[0]]


def is_link(value: Any) -> bool:
    """Whether an input comes from another node."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def migrate(old: Prompt) -> tuple[Prompt, list[str]]:
    """Rewrite a graph.

    Returns:
        The new graph, and sentences on what has no counterpart or differs.

    Raises:
        MigrationError: it has no InfiniteTalk of either kind.
    """
    graph = Graph(old)
    rewrite: dict[str, Callable[[Graph], None]] = {WRAPPER: _from_wrapper, CORE: _from_core}
    for class_type, rewriter in rewrite.items():
        if graph.of(class_type):
            rewriter(graph)
            return graph.new, graph.notes
    raise MigrationError(f"The graph has neither {WRAPPER} nor {CORE}: export an InfiniteTalk graph with Export (API).")


def _from_wrapper(graph: Graph) -> None:
    (_, embeds), *_ = graph.of(WRAPPER)
    samplers, images = graph.of("WanVideoSampler"), graph.of("WanVideoImageToVideoMultiTalk")
    if not samplers or not images:
        raise MigrationError("The graph lacks WanVideoSampler or WanVideo Long I2V Multi/InfiniteTalk.")
    sampler, image = samplers[0][1], images[0][1]
    loader = graph.upstream(sampler["model"], "WanVideoModelLoader") or {}
    talk = graph.upstream(loader.get("multitalk_model") or sampler["model"], "MultiTalkModelLoader") or {}
    voices = {f"audio_{n}": graph.keep(embeds.get(f"audio_{n}")) for n in range(1, 5)}
    audio = graph.add(
        "InfiniteTalkAudioEmbeds", wav2vec=_wav2vec(graph, embeds.get("wav2vec_model")), **voices,
        combine=_combine(graph, embeds.get("multi_audio_type", "para")), fps=embeds.get("fps", 25.0),
        normalize_loudness=embeds.get("normalize_loudness", True), max_frames=embeds.get("num_frames", 0),
    )  # fmt: skip
    sampler_name, scheduler = _sampler(graph, sampler.get("scheduler", "unipc"))
    positive, negative = _wrapper_texts(graph, sampler.get("text_embeds"))
    clip = graph.upstream(image.get("clip_embeds"), "WanVideoClipVisionEncode") or {}
    talking = graph.add(
        "InfiniteTalkSampler", model=_loras(graph, loader), audio_embeds=audio,
        infinitetalk=graph.add("InfiniteTalkModelLoader", model=talk.get("model")), vae=_vae(graph, image.get("vae")),
        image=graph.keep(image.get("start_image")), positive=positive, negative=negative,
        clip_vision=graph.keep(clip.get("clip_vision")), speaker_masks=graph.keep(embeds.get("ref_target_masks")),
        **_settings(
            seed=sampler.get("seed", 0), steps=sampler["steps"], text_cfg=sampler["cfg"], shift=sampler["shift"],
            audio_cfg=embeds.get("audio_cfg_scale", 1.0), sampler_name=sampler_name, scheduler=scheduler,
            width=image["width"], height=image["height"], window_frames=image["frame_window_size"],
            motion_frames=_motion(graph, image["motion_frame"]), audio_scale=embeds.get("audio_scale", 1.0),
            color_correction=0.0 if image.get("colormatch", "disabled") == "disabled" else 1.0,
        ),
    )  # fmt: skip
    start = graph.known(sampler.get("start_step") or 0, "start_step", 0)
    if start and is_link(sampler["steps"]):
        graph.notes.append(f"Start step {start} of n is denoise 1 - {start}/n.")
    elif start:
        graph.notes.append(f"Start step {start} of {sampler['steps']} is denoise {1 - start / sampler['steps']:.2f}.")
    if any(embeds.get(name) for name in ("add_noise_floor", "smooth_transients")):
        graph.notes.append("add_noise_floor and smooth_transients have no counterpart: the voice is encoded as it is.")
    _save(graph, talking)


def _from_core(graph: Graph) -> None:
    firsts = [(key, inputs) for key, inputs in graph.of(CORE) if not is_link(inputs.get("previous_frames"))]
    if not firsts:
        raise MigrationError(f"No {CORE} starts the video: each has previous_frames.")
    key, first = firsts[0]
    if len(graph.of(CORE)) > 1:
        graph.notes.append("The chain of extending nodes is one sampler now: it goes on to the end of the sound.")
    samplers = [inputs for _, inputs in graph.of("KSampler") if (inputs.get("model") or [None])[0] == key]
    if not samplers:
        raise MigrationError(f"No KSampler takes the model of {CORE}.")
    sampler = samplers[0]
    voices = [first.get("audio_encoder_output_1"), _two(first, "audio_encoder_output_2")]
    encodings = [graph.behind(voice)[1] for voice in voices if is_link(voice)]
    if not encodings:
        raise MigrationError(f"{CORE} has no voice: connect Audio Encoder Encode, and export the graph again.")
    encoder = graph.behind(encodings[0].get("audio_encoder"))[1]
    wav2vec = _wav2vec_loader(graph, encoder.get("audio_encoder_name"))
    audio = graph.add(
        "InfiniteTalkAudioEmbeds", wav2vec=wav2vec, combine="sequential", normalize_loudness=True, fps=25.0,
        max_frames=0, **{f"audio_{n}": graph.keep(encoding["audio"]) for n, encoding in enumerate(encodings, 1)},
    )  # fmt: skip
    masks = [graph.keep(_two(first, name)) for name in ("mask_1", "mask_2")]
    if all(masks):
        graph.notes.append("Two masks: batch them, or write two boxes into Speaker Masks, in the order of the voices.")
    shifted = graph.upstream(first["model"], "ModelSamplingSD3")
    clip = graph.upstream(first.get("clip_vision_output"), "CLIPVisionEncode") or {}
    patch = graph.behind(first["model_patch"])[1]
    talking = graph.add(
        "InfiniteTalkSampler", model=graph.keep(first["model"]), audio_embeds=audio,
        infinitetalk=graph.add("InfiniteTalkModelLoader", model=patch.get("name")), vae=graph.keep(first["vae"]),
        image=graph.keep(first.get("start_image")), positive=graph.keep(first["positive"]),
        negative=graph.keep(first["negative"]), clip_vision=graph.keep(clip.get("clip_vision")),
        **_settings(
            seed=sampler["seed"], steps=sampler["steps"], text_cfg=sampler["cfg"], audio_cfg=1.0,
            shift=(shifted or {}).get("shift", 8.0), sampler_name=sampler["sampler_name"],
            scheduler=sampler["scheduler"], width=first["width"], height=first["height"],
            window_frames=first["length"], motion_frames=_motion(graph, first.get("motion_frame_count", 9)),
            audio_scale=first.get("audio_scale", 1.0), color_correction=0.0,
        ),
    )  # fmt: skip
    _save(graph, talking)


def _two(inputs: dict[str, Any], name: str) -> Any:
    """An input of core's mode two_speakers, whose names are dotted in graphs."""
    return inputs.get(f"mode.{name}", inputs.get(name))


def _settings(**found: Any) -> dict[str, Any]:
    """The sampler's widgets; those that neither other graph has keep our defaults."""
    fixed = {"resolution": "custom", "apg": False, "end_padding": "silence", "resume": True}
    return {**fixed, **found}


def _combine(graph: Graph, name: Any) -> str:
    known = graph.known(name, "multi_audio_type", "para")
    if known not in COMBINE:
        graph.notes.append(f"multi_audio_type {known} has no counterpart: parallel is set.")
    return COMBINE.get(known, "parallel")


def _sampler(graph: Graph, name: Any) -> tuple[str, str]:
    name = graph.known(name, "The wrapper's scheduler", "multitalk")
    if name not in SAMPLERS:
        graph.notes.append(f"The wrapper's scheduler {name} has no counterpart: euler with infinitetalk is set.")
    return SAMPLERS.get(name, SAMPLERS["multitalk"])


def _motion(graph: Graph, frames: Any) -> Any:
    """Motion frames as 4n + 1: the VAE would drop the others."""
    if is_link(frames):
        graph.notes.append("motion_frames is fed by another node: see that it is 4n + 1.")
        return frames
    whole = max(1, (frames - 1) // 4 * 4 + 1)
    if whole != frames:
        graph.notes.append(f"{frames} motion frames are {whole} now: 4n + 1 are needed.")
    return whole


def _wav2vec(graph: Graph, link: Any) -> Link:
    _, inputs = graph.behind(link)
    return _wav2vec_loader(graph, inputs.get("model"), inputs.get("base_precision", "fp16"))


def _wav2vec_loader(graph: Graph, model: Any, precision: str = "fp16") -> Link:
    if isinstance(model, str) and "/" in model and not model.endswith((".safetensors", ".bin")):
        graph.notes.append(f"{model} was downloaded by its node: put the folder or file into models/wav2vec2.")
    return graph.add("InfiniteTalkWav2VecLoader", model=model, base_precision=precision, load_device="main_device")


def _loras(graph: Graph, loader: dict[str, Any]) -> Link:
    file = loader.get("model")
    if isinstance(file, str) and file.lower().endswith(".gguf"):
        graph.notes.append(f"{file} is loaded by the node of the pack ComfyUI-GGUF: ComfyUI's own reads no GGUF.")
        model = graph.add("UnetLoaderGGUF", unet_name=file)
    else:
        model = graph.add("UNETLoader", unet_name=file, weight_dtype="default")
    chain, lora = [], graph.behind(loader.get("lora"))[1]
    while lora:
        chain.append(lora)
        lora = graph.behind(lora.get("prev_lora"))[1]
    for lora in reversed(chain):
        model = graph.add(
            "LoraLoaderModelOnly", model=model, lora_name=lora.get("lora"), strength_model=lora["strength"]
        )
    return model


def _vae(graph: Graph, link: Any) -> Link:
    return graph.add("VAELoader", vae_name=graph.behind(link)[1].get("model_name"))


def _wrapper_texts(graph: Graph, link: Any) -> tuple[Link | None, Link | None]:
    """Both prompts on core's text encoder."""
    kind, texts = graph.behind(link)
    if not kind.startswith("WanVideoTextEncode"):
        graph.notes.append("No WanVideoTextEncode was found: positive and negative stay open.")
        return None, None
    name = texts.get("model_name") or graph.behind(texts.get("t5"))[1].get("model_name")
    clip = graph.add("CLIPLoader", clip_name=name, type="wan", device="default")
    graph.notes.append(f"{name} must be one of core's UMT5 files (umt5_xxl_…): the wrapper's own ones differ.")
    return (
        graph.add("CLIPTextEncode", clip=clip, text=texts.get("positive_prompt", "")),
        graph.add("CLIPTextEncode", clip=clip, text=texts.get("negative_prompt", "")),
    )


def _save(graph: Graph, talking: Link) -> None:
    """Save the sampler's video; its name and quality are the old save node's where it has them."""
    _, old = (graph.of(*SAVERS) or [("", {})])[0]
    graph.add(
        "SaveVideoWithAudio", video=talking, fps=25.0, filename_prefix=old.get("filename_prefix", "InfiniteTalk/talk"),
        format="mp4 h264", crf=old.get("crf", 19), audio_bitrate=192, audio_fit="trim or pad to the video",
        if_audio_fails="save silent video", save_metadata=True,
    )  # fmt: skip


def read_graph(file: Path) -> Prompt:
    """The graph of a file.

    Raises:
        MigrationError: it cannot be read, or is no graph in the API format.
    """
    try:
        graph = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise MigrationError(f"{file} cannot be read ({error}): give the path of a graph in the API format.") from error
    nodes = graph.values() if isinstance(graph, dict) else [None]
    if not all(
        isinstance(node, dict) and "class_type" in node and isinstance(node.get("inputs"), dict) for node in nodes
    ):
        raise MigrationError(f"{file} is no graph in the API format: export it from the editor with Export (API).")
    return graph


def main() -> int:
    """Read one file, write the other, say what differs; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path, help="a graph in the API format")
    parser.add_argument("new", type=Path, help="where the rewritten one goes")
    options = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # the notes hold names of files
    try:
        new, notes = migrate(read_graph(options.old))
        options.new.write_text(json.dumps(new, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except (MigrationError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(notes) or "All of it has a counterpart.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
