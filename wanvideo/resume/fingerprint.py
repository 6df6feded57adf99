"""What decides the pixels of a job, as a short text: the same text, the same video.

A finished window may be used again only if everything that went into it is the same. Inputs (pictures, prompts, masks,
sound) are read whole. Weights are not, since 14B of them would take a minute: of every tensor its name, shape, type and
some pieces spread over it are taken, which any training, merging, LoRA or conversion changes (see `digest.py`).
"""

from __future__ import annotations

from dataclasses import replace

import comfyui_version
import torch
from comfy.cli_args import args

from ..guidance import is_one
from ..job import TalkingVideoJob
from ..scenes import Scene
from ..source_shot import frames_of
from ..windows import Window
from .digest import Digester

FORMAT = 5
"""Raise this when a change of ours changes pixels: finished windows of older releases are then made anew."""

LESS_EXACT = ("use_sage_attention", "use_ck_attention", "fp16_intermediates")
"""Arguments of ComfyUI: two attentions that work with 8 bits (the others are as exact as each other), and frames that
the VAE gives in half precision."""


def job_fingerprint(job: TalkingVideoJob) -> str:
    """What all windows of a job share: models and patches, settings; not the sound, the scenes and the length."""
    clip = job.clip_vision
    versions = [FORMAT, torch.__version__, comfyui_version.__version__]
    models = [job.model, job.infinitetalk, job.vae.patcher, None if clip is None else clip.patcher]
    base = job.model.model
    how = getattr(base.model_config, "optimizations", None)  # fp8_e4m3fn and fp8_e4m3fn_fast have the same weights
    # While a model is loaded, what ModelComputeDtype has set stands in its place; that counts as a patch.
    cast = job.model.object_patches_backup.get("manual_cast_dtype", getattr(base, "manual_cast_dtype", None))
    types = [job.model.model_dtype(), cast, how, job.vae.vae_dtype]
    types += _less_exact()  # nothing as a rule: the key of a usual job is that of older releases
    clip_picture = [getattr(clip, name, None) for name in ("image_size", "image_mean", "image_std")]
    shape = [job.speaker_masks, job.pictures.size, job.embeds.fps]
    parts = [versions, models, types, clip_picture, job.settings, shape]
    if _reads_the_guidance(job):
        parts.append("as one guidance")  # until then such nodes and samplers were given other numbers
    return Digester().digest(parts).hex()


def _reads_the_guidance(job: TalkingVideoJob) -> bool:
    """Whether a node or the sampler works on what was guided, with audio guidance beside another of the text."""
    settings = job.settings
    if is_one(settings.audio_cfg) or settings.audio_cfg == settings.text_cfg:
        return False
    return "cfg_pp" in settings.sampler_name or bool(job.model.model_options.get("sampler_post_cfg_function"))


def _less_exact() -> list[str]:
    """What ComfyUI was told at its start to do less exactly: who does not like what came of it starts it without."""
    chosen = [name for name in LESS_EXACT if getattr(args, name, False)]
    return chosen + sorted(feature.value for feature in args.fast)


def window_keys(job: TalkingVideoJob) -> list[str]:
    """What each window hears, shows and keeps.

    The sound counts by what was put in (see `AudioEmbeds.digests`), never by numbers that a GPU has computed of it.
    """
    keys = {}
    for window in job.windows:
        if window.scene not in keys:
            keys[window.scene] = _scene_key(job.scene_of(window))
    return [_window_key(job, window, keys[window.scene]) for window in job.windows]


def _scene_key(scene: Scene) -> bytes:
    """A scene's prompts, and its picture whole; of a source video only the frame that it begins with.

    That it is a video counts for itself: a still one has smooth seams, which a picture has not.
    """
    pictures = scene.pictures
    shown = [pictures.is_video, pictures.source_size, pictures.at(scene.start)]
    return Digester().digest([scene.positive, scene.negative, shown])


def _window_key(job: TalkingVideoJob, window: Window, scene_key: bytes) -> str:
    """The window's place, the voices that it hears, and what it sees of its picture or of the source.

    Its number in the video does not count: scenes may come and go before it. A voice counts as a whole: every embedding
    has heard all of its sound.
    """
    voices = job.voices.voice_per_slot_in(window)  # [W, slots]
    sources = [*job.embeds.digests, "a listener who stays silent"]
    heard = [sources[voice] for voice in voices.unique().tolist()]
    pictures = job.scene_of(window).pictures
    seen = frames_of(window) if job.keeps_shot else [window.start]
    parts = [replace(window, index=0), voices, heard, len(job.voices) == 1, scene_key]
    parts.append([pictures.key(frame) for frame in seen])
    if job.mask is not None:
        parts.append([job.mask.key(pictures.source_index(frame)) for frame in seen])
    return Digester().digest(parts).hex()
