"""The talking examples: what they have in common, and what each of them is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from examples.editor_graph import EditorGraph, Model, Node, Output
from examples.notes import Notes, add_notes

BLUE, GREEN, GOLD, PURPLE = "#3f789e", "#88aa88", "#b58b2a", "#a1309b"

WAN21 = "https://huggingface.co/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files"
KIJAI = "https://huggingface.co/Kijai"
I2V = Model("wan2.1_i2v_480p_14B_fp8_scaled.safetensors", "diffusion_models", f"{WAN21}/diffusion_models")
SINGLE = Model("wan2.1_infiniteTalk_single_fp16.safetensors", "model_patches", f"{WAN21}/model_patches")
MULTI = Model("wan2.1_infiniteTalk_multi_fp16.safetensors", "model_patches", f"{WAN21}/model_patches")
WAV2VEC = Model(
    "wav2vec2-chinese-base_fp16.safetensors", "audio_encoders", f"{KIJAI}/wav2vec2_safetensors/resolve/main"
)
VAE = Model("wan_2.1_vae.safetensors", "vae", f"{WAN21}/vae")
UMT5 = Model("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders", f"{WAN21}/text_encoders")
CLIP_H = Model("clip_vision_h.safetensors", "clip_vision", f"{WAN21}/clip_vision")
LIGHTX2V = Model(
    "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", "loras",
    f"{KIJAI}/WanVideo_comfy/resolve/main/Lightx2v",
)  # fmt: skip

FACES = Model(
    "mediapipe_face_fp32.safetensors", "detection", "https://huggingface.co/Comfy-Org/mediapipe/resolve/main/detection"
)

FLASHTALK = "SoulX-FlashTalk-14B/diffusion_pytorch_model.safetensors.index.json"
"""The list of the model's shards; the editor cannot offer a folder for download, so the notes say where it is."""

NEGATIVE = ", ".join(
    ("overexposed, blurry, subtitles, watermark, low quality", "deformed face, deformed hands, extra fingers",
     "frozen picture")
)  # fmt: skip
WHO_SPEAKS = "0.0 0.4 Anna\n0.4 0.8 Ben\n0.8 6.0 Anna"
MOUTH_BOX = "0.35 0.45 0.3 0.3"
FAST = {"steps": 6, "shift": 2.0, "text_cfg": 1.0, "audio_cfg": 1.0}


@dataclass(frozen=True)
class Talk:
    """One talking example: what differs from the talking picture."""

    name: str
    prompt: str
    infinitetalk: Model = SINGLE
    fast: bool = False
    """With the lightx2v LoRA on, and its settings."""
    two_speakers: bool = False
    found_faces: bool = False
    """Where the speakers are is found by core's face detector, which older cores do not have."""
    dubbing: bool = False
    flashtalk: bool = False
    """With SoulX-FlashTalk in place of base and InfiniteTalk, and its settings."""
    song: bool = False
    """A voice without its music for the mouth, the song for the file."""
    interview: bool = False
    """Two speakers on one recording."""
    keep_shot: bool = False
    """Dubbing that changes nothing but the mouth."""
    close_ups: tuple[float, float] | None = None
    """Seconds from which on a second camera is seen, and the first one again."""
    app: bool = False
    """Offered as an app, too."""
    sampler: dict[str, Any] = field(default_factory=dict)
    """More settings of the sampler."""
    prefix: str = "InfiniteTalk/talk"
    note_heights: tuple[int, int, int] = (210, 180, 520)


def talk(graph: EditorGraph, example: Talk) -> None:
    """Add all nodes of a talking example and lay them out.

    The ids of the talking picture's nodes stay for ever, as other people's programs name them: new nodes come last.
    """
    if example.dubbing:
        seen = graph.add("LoadVideo", "Video to dub", file="video.mp4")
    else:
        seen = graph.add("LoadImage", "Picture", image="two_people.png" if example.two_speakers else "face.png")
    voices = [graph.add("InfiniteTalkLoadAudio", "Speech", audio="vocals.flac" if example.song else "speech.flac")]
    wav2vec = graph.add("InfiniteTalkWav2VecLoader", "Load Wav2Vec", loads=WAV2VEC)
    embeds = graph.add("InfiniteTalkAudioEmbeds", "Audio Embeds", wav2vec=wav2vec)
    base, weights, loaders = _base_and_weights(graph, example)
    vae = graph.add("VAELoader", "Load VAE", loads=VAE)
    encoder = graph.add("CLIPLoader", "Load text encoder", loads=UMT5, type="wan")
    positive = graph.add("CLIPTextEncode", "Prompt", clip=encoder, text=example.prompt)
    prompts = [positive]
    if not example.flashtalk:  # without guidance nobody reads it
        prompts.append(graph.add("CLIPTextEncode", "Negative prompt", clip=encoder, text=NEGATIVE))
    vision = graph.add("CLIPVisionLoader", "Load CLIP Vision", loads=CLIP_H)
    sampler = graph.add(
        "InfiniteTalkSampler", "InfiniteTalk Sampler", infinitetalk=weights, audio_embeds=embeds, vae=vae,
        clip_vision=vision, seed=42, **dict(zip(("positive", "negative"), prompts, strict=False)),
        **({"source_video": seen} if example.dubbing else {"image": seen}),
        **(FAST if example.fast else {}), **example.sampler,
    )  # fmt: skip
    save = graph.add("SaveVideoWithAudio", "Save Video With Audio", video=sampler, filename_prefix=example.prefix)
    if example.flashtalk:
        graph.connect(base, sampler, "model")
    else:
        title = "Fast: lightx2v LoRA" if example.fast else "Fast: lightx2v LoRA (off)"
        loaders.insert(1, graph.add("LoraLoaderModelOnly", title, loads=LIGHTX2V, off=not example.fast, model=base))
        graph.connect(loaders[1], sampler, "model")
    follow = _voices(graph, example, voices, embeds)
    faces, masks = _masks(graph, example, seen, sampler)
    scenes = _second_camera(graph, example.close_ups, seen, sampler) if example.close_ups else []
    add_notes(graph, Notes(example.name, "flashtalk" if example.flashtalk else "talking", example.note_heights))
    graph.column(360)
    graph.group("Video and speech" if example.dubbing else "Picture and speech", BLUE, [seen, *voices])
    graph.column(540)
    graph.group("Models", GREEN, [*loaders, vae, vision, encoder, wav2vec])
    graph.column(440)
    graph.group("Prompt", GOLD, prompts)
    graph.group("What the mouth follows", PURPLE, [*masks, *follow, embeds])
    if faces:
        graph.column(440)
        graph.group("Faces", PURPLE, faces)
    if scenes:
        graph.column(400)
        graph.group("Scenes", GREEN, scenes)
    graph.column(440)
    graph.group("Sampling", BLUE, [sampler])
    graph.column(460)
    graph.group("Saving", BLUE, [save])
    if example.app:
        source = (seen, "file" if example.dubbing else "image")
        quality = [(sampler, "resolution"), (sampler, "steps")]
        graph.app([source, (voices[0], "audio"), (positive, "text"), *quality], [save])


def _base_and_weights(graph: EditorGraph, example: Talk) -> tuple[Node, Node | Output, list[Node]]:
    """The base, InfiniteTalk's part, and the nodes that load them."""
    if example.flashtalk:
        merged = graph.add("InfiniteTalkMergedModelLoader", "SoulX-FlashTalk 14B", model=FLASHTALK)
        return merged, merged["infinitetalk"], [merged]
    base = graph.add("UNETLoader", "Wan 2.1 I2V 14B", loads=I2V)
    weights = graph.add("InfiniteTalkModelLoader", "Load InfiniteTalk", loads=example.infinitetalk)
    return base, weights, [base, weights]


def _voices(graph: EditorGraph, example: Talk, voices: list[Node], embeds: Node) -> list[Node]:
    """Add what else is heard to `voices` and connect all of it; returns nodes between the sounds and Audio Embeds."""
    if example.interview:
        voices[0].title = "Recording"
        split = graph.add("InfiniteTalkSplitSpeakers", "Split Speakers", audio=voices[0], segments=WHO_SPEAKS)
        for name in ("audio_1", "audio_2"):
            graph.connect(split[name], embeds, name)
        graph.connect(voices[0], embeds, "soundtrack")
        return [split]
    graph.connect(voices[0], embeds, "audio_1")
    if example.two_speakers:
        voices[0].title = "Speech, left"
        voices.append(graph.add("InfiniteTalkLoadAudio", "Speech, right", audio="speech_2.flac"))
        graph.connect(voices[1], embeds, "audio_2")
    if example.song:
        voices[0].title = "Voice alone"
        voices.append(graph.add("InfiniteTalkLoadAudio", "Song", audio="song.flac"))
        graph.connect(voices[1], embeds, "soundtrack")
    return []


def _masks(graph: EditorGraph, example: Talk, seen: Node, sampler: Node) -> tuple[list[Node], list[Node]]:
    """Where somebody talks in the picture: the nodes that find faces, and else the node that is told where they are."""
    if example.found_faces:
        detector = graph.add("LoadMediaPipeFaceLandmarker", "Load face detector", loads=FACES)
        how = {"detector_variant": "both", "num_faces": 0}  # all: one too many is refused, with its place
        found = graph.add("MediaPipeFaceLandmarker", "Find faces", face_detection_model=detector, image=seen, **how)
        where = {"layout": "from masks", "bboxes": found["bboxes"]}
        masks = graph.add("InfiniteTalkSpeakerMasks", "Speaker Masks", image=seen, **where)
        graph.connect(masks, sampler, "speaker_masks")
        return [detector, found, masks], []
    if example.two_speakers:
        masks = graph.add("InfiniteTalkSpeakerMasks", "Speaker Masks", image=seen)
        graph.connect(masks, sampler, "speaker_masks")
        return [], [masks]
    if example.keep_shot:
        mouth = {"layout": "boxes", "boxes": MOUTH_BOX, "follow": True}
        masks = graph.add("InfiniteTalkSpeakerMasks", "The mouth, which may change", image=seen, **mouth)
        graph.connect(masks, sampler, "edit_mask")
        return [], [masks]
    return [], []


def _second_camera(graph: EditorGraph, close_ups: tuple[float, float], first: Node, sampler: Node) -> list[Node]:
    """Cuts to another picture and back to the first; returns the nodes."""
    other = graph.add("LoadImage", "Second camera", image="face_close.png")
    close = graph.add("InfiniteTalkScene", "Scene 2: close-up", image=other, start=close_ups[0])
    back = graph.add("InfiniteTalkScene", "Scene 3: as before", scenes=close, image=first, start=close_ups[1])
    graph.connect(back, sampler, "scenes")
    return [other, close, back]


HEAD_AND_SHOULDERS = "A person looks into the camera and talks, head and shoulders, natural gestures, soft light."
TALKS = (
    Talk("talking_picture", HEAD_AND_SHOULDERS, app=True),
    Talk("talking_picture_lightx2v", HEAD_AND_SHOULDERS, fast=True, app=True),
    Talk(
        "talking_picture_flashtalk",
        "A person is talking. Only the foreground characters are moving, the background remains static.",
        flashtalk=True,
        sampler={
            "resolution": "custom", "width": 448, "height": 768, "steps": 4, "text_cfg": 1.0, "audio_cfg": 1.0,
            "sampler_name": "lcm", "scheduler": "simple", "shift": 5.0, "window_frames": 33, "motion_frames": 5,
            "color_correction": 1.0,
        },
        prefix="InfiniteTalk/flashtalk", note_heights=(260, 240, 560),
    ),
    Talk(
        "two_speakers", "Two people sit side by side and talk with each other, natural gestures, soft light.",
        infinitetalk=MULTI, two_speakers=True, prefix="InfiniteTalk/two", note_heights=(280, 250, 520),
    ),
    Talk(
        "two_speakers_found_faces",
        "Two people sit side by side and talk with each other, natural gestures, soft light.",
        infinitetalk=MULTI, two_speakers=True, found_faces=True, prefix="InfiniteTalk/two",
        note_heights=(300, 260, 540),
    ),
    Talk(
        "interview", "Two people sit side by side and talk with each other, natural gestures, soft light.",
        infinitetalk=MULTI, two_speakers=True, interview=True, prefix="InfiniteTalk/interview",
        note_heights=(290, 240, 520),
    ),
    Talk(
        "dubbing", "A person talks, natural gestures.", dubbing=True, app=True, prefix="InfiniteTalk/dub",
        note_heights=(200, 180, 520),
    ),
    Talk(
        "dubbing_keep_the_shot", "A person talks, natural gestures.", dubbing=True, keep_shot=True,
        sampler={"denoise": 0.7}, prefix="InfiniteTalk/dub", note_heights=(350, 330, 400),
    ),
    Talk(
        "long_narration", HEAD_AND_SHOULDERS, fast=True, sampler={"color_correction": 1.0},
        prefix="InfiniteTalk/narration", note_heights=(250, 220, 520),
    ),
    Talk(
        "song", "A person sings into the camera, head and shoulders, expressive, soft light.", fast=True, song=True,
        sampler={"color_correction": 1.0}, prefix="InfiniteTalk/song", note_heights=(290, 250, 520),
    ),
    Talk(
        "storyboard", HEAD_AND_SHOULDERS, fast=True, close_ups=(4.0, 8.0), sampler={"color_correction": 1.0},
        prefix="InfiniteTalk/story", note_heights=(250, 220, 520),
    ),
)  # fmt: skip
