"""The examples on core's own nodes that end in Save Video With Audio: text, a picture, WanAnimate, any images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from examples.editor_graph import EditorGraph, Model, Node, Output
from examples.notes import Notes, add_notes
from examples.talks import BLUE, CLIP_H, GOLD, GREEN, I2V, KIJAI, LIGHTX2V, NEGATIVE, UMT5, VAE, WAN21

T2V = Model("wan2.1_t2v_1.3B_fp16.safetensors", "diffusion_models", f"{WAN21}/diffusion_models")
ANIMATE = Model(
    "Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ.safetensors", "diffusion_models",
    f"{KIJAI}/WanVideo_comfy_fp8_scaled/resolve/main/Wan22Animate",
)  # fmt: skip
WAN_RATE = 16.0
"""Frames per second of what Wan 2.1 makes."""


TEXT_NOTES = Notes("text_to_video", "text_to_video", (210, 190, 290))
IMAGE_NOTES = Notes("image_to_video", "image_to_video", (170, 150, 320))
ANIMATE_NOTES = Notes("wan_animate", "wan_animate", (220, 200, 390))
IMAGES_NOTES = Notes("images_and_sound", None, (170, 150))


@dataclass(frozen=True)
class Sampling:
    """How core's sampler is set."""

    steps: int
    cfg: float
    sampler_name: str
    shift: float = 8.0


@dataclass(frozen=True)
class Wan:
    """The nodes that every Wan video has."""

    loaders: list[Node]
    vae: Node
    positive: Node
    negative: Node


def _wan(graph: EditorGraph, base: Model, title: str, prompt: str) -> Wan:
    model = graph.add("UNETLoader", title, loads=base)
    vae = graph.add("VAELoader", "Load VAE", loads=VAE)
    encoder = graph.add("CLIPLoader", "Load text encoder", loads=UMT5, type="wan")
    positive = graph.add("CLIPTextEncode", "Prompt", clip=encoder, text=prompt)
    negative = graph.add("CLIPTextEncode", "Negative prompt", clip=encoder, text=NEGATIVE)
    return Wan([model, vae, encoder], vae, positive, negative)


def _sample(graph: EditorGraph, model: Node, size: Node, ends: tuple[Node | Output, ...], how: Sampling) -> list[Node]:
    """Core's sampler and what it needs; `ends` are positive and negative."""
    shifted = graph.add("ModelSamplingSD3", "Shift", model=model, shift=how.shift)
    latent = size["latent"] if len(size.outputs) > 1 else size
    sampled = graph.add(
        "KSampler", model=shifted, positive=ends[0], negative=ends[1], latent_image=latent, seed=42, steps=how.steps,
        cfg=how.cfg, sampler_name=how.sampler_name, scheduler="simple",
    )  # fmt: skip
    return [shifted, sampled]


def _save(graph: EditorGraph, images: Node | Output, prefix: str, **inputs: Any) -> Node:
    return graph.add(
        "SaveVideoWithAudio", "Save Video With Audio", images=images, filename_prefix=f"InfiniteTalk/{prefix}", **inputs
    )


def text_to_video(graph: EditorGraph) -> None:
    """Wan 2.1 text to video, without sound."""
    wan = _wan(graph, T2V, "Wan 2.1 T2V 1.3B", "A lighthouse on a cliff at dusk, waves below, slow camera flight.")
    size = graph.add("EmptyHunyuanLatentVideo", "Size and length", width=832, height=480, length=81)
    ends = (wan.positive, wan.negative)
    sampling = _sample(graph, wan.loaders[0], size, ends, Sampling(steps=30, cfg=6.0, sampler_name="uni_pc"))
    decoded = graph.add("VAEDecode", samples=sampling[-1], vae=wan.vae)
    save = _save(graph, decoded, "text", fps=WAN_RATE)
    _lay_out(graph, TEXT_NOTES, {}, wan, [size, *sampling, decoded], save)


def image_to_video(graph: EditorGraph) -> None:
    """Wan 2.1 image to video, with any sound."""
    wan = _wan(graph, I2V, "Wan 2.1 I2V 14B", "The person smiles and looks around, natural light.")
    picture = graph.add("LoadImage", "Picture", image="face.png")
    sound = graph.add("InfiniteTalkLoadAudio", "Sound", audio="speech.flac")
    vision = graph.add("CLIPVisionLoader", "Load CLIP Vision", loads=CLIP_H)
    seen = graph.add("CLIPVisionEncode", clip_vision=vision, image=picture, crop="none")
    start = graph.add(
        "WanImageToVideo", "Size and length", positive=wan.positive, negative=wan.negative, vae=wan.vae,
        clip_vision_output=seen, start_image=picture, width=832, height=480, length=81,
    )  # fmt: skip
    ends = (start["positive"], start["negative"])
    sampling = _sample(graph, wan.loaders[0], start, ends, Sampling(steps=20, cfg=6.0, sampler_name="uni_pc"))
    decoded = graph.add("VAEDecode", samples=sampling[-1], vae=wan.vae)
    save = _save(graph, decoded, "image", audio=sound, fps=WAN_RATE)
    wan.loaders.append(vision)
    inputs = {"Picture and sound": [picture, sound]}
    _lay_out(graph, IMAGE_NOTES, inputs, wan, [seen, start, *sampling, decoded], save)


def wan_animate(graph: EditorGraph) -> None:
    """Wan 2.2 Animate: a picture moves like the person in a video, and the file has that video's sound."""
    wan = _wan(graph, ANIMATE, "Wan 2.2 Animate 14B", "A person talks and moves.")
    picture = graph.add("LoadImage", "Who is to move", image="face.png")
    pose = graph.add("LoadVideo", "Pose video", file="pose.mp4")
    face = graph.add("LoadVideo", "Face video", file="face.mp4")
    poses = graph.add("GetVideoComponents", "Poses and sound", video=pose)
    faces = graph.add("GetVideoComponents", "Faces", video=face)
    vision = graph.add("CLIPVisionLoader", "Load CLIP Vision", loads=CLIP_H)
    seen = graph.add("CLIPVisionEncode", clip_vision=vision, image=picture, crop="none")
    lora = graph.add("LoraLoaderModelOnly", "Fast: lightx2v LoRA", loads=LIGHTX2V, model=wan.loaders[0])
    start = graph.add(
        "WanAnimateToVideo", "Size and length", positive=wan.positive, negative=wan.negative, vae=wan.vae,
        clip_vision_output=seen, reference_image=picture, face_video=faces["images"], pose_video=poses["images"],
        width=832, height=480, length=77,
    )  # fmt: skip
    ends = (start["positive"], start["negative"])
    sampling = _sample(graph, lora, start, ends, Sampling(steps=6, cfg=1.0, sampler_name="euler"))
    trimmed = graph.add("TrimVideoLatent", "Without the picture itself", samples=sampling[-1])
    graph.connect(start["trim_latent"], trimmed, "trim_amount")
    decoded = graph.add("VAEDecode", samples=trimmed, vae=wan.vae)
    save = _save(graph, decoded, "animate", audio=poses["audio"], fps=poses["fps"])
    wan.loaders[1:1] = [lora]
    wan.loaders.append(vision)
    inputs = {"Who is to move": [picture, seen], "How": [pose, poses, face, faces]}
    _lay_out(graph, ANIMATE_NOTES, inputs, wan, [start, *sampling, trimmed, decoded], save)


def images_and_sound(graph: EditorGraph) -> None:
    """Any images and any sound become a file: no model is needed."""
    picture = graph.add("LoadImage", "Picture", image="face.png")
    sound = graph.add("InfiniteTalkLoadAudio", "Sound", audio="speech.flac")
    still = graph.add("RepeatImageBatch", "For 6 seconds", image=picture, amount=150)
    save = _save(graph, still, "images", audio=sound)
    add_notes(graph, IMAGES_NOTES)
    for title, nodes in {"Any images": [picture, still], "Any sound": [sound]}.items():
        graph.column(360)
        graph.group(title, BLUE, nodes)
    graph.column(460)
    graph.group("Saving", BLUE, [save])


def _lay_out(
    graph: EditorGraph, notes: Notes, inputs: dict[str, list[Node]], wan: Wan, steps: list[Node], save: Node
) -> None:
    """Columns from left to right: notes, what goes in, models, texts, sampling, saving."""
    add_notes(graph, notes)
    for title, nodes in inputs.items():
        graph.column(360)
        graph.group(title, BLUE, nodes)
    graph.column(540)
    graph.group("Models", GREEN, wan.loaders)
    graph.column(440)
    graph.group("Prompt", GOLD, [wan.positive, wan.negative])
    graph.column(400)
    graph.group("Sampling", BLUE, steps)
    graph.column(460)
    graph.group("Saving", BLUE, [save])


EXAMPLES = {
    "images_and_sound": images_and_sound,
    "text_to_video": text_to_video,
    "image_to_video": image_to_video,
    "wan_animate": wan_animate,
}
