"""What decides the pixels of a job, as a short text: the same text, the same video.

A finished window may be used again only if everything that went into it is the same. Inputs (pictures, prompts, masks,
sound) are read whole. Weights are not, since 14B of them would take a minute: of every tensor its name, shape, type and
some pieces spread over it are taken, which any training, merging, LoRA or conversion changes (see `digest.py`).
"""

from __future__ import annotations

import comfyui_version
import torch

from ..job import TalkingVideoJob
from ..source_shot import frames_of
from ..windows import Window
from .digest import Digester

FORMAT = 3
"""Raise this when a change of ours changes pixels: finished windows of older releases are then made anew."""


def job_fingerprint(job: TalkingVideoJob) -> str:
    """What all windows of a job share: models and patches, prompts, settings; not the sound, picture and length."""
    clip = job.clip_vision
    versions = [FORMAT, torch.__version__, comfyui_version.__version__]
    models = [job.model, job.infinitetalk, job.vae.patcher, None if clip is None else clip.patcher]
    types = [job.model.model_dtype(), getattr(job.model.model, "manual_cast_dtype", None), job.vae.vae_dtype]
    clip_picture = [getattr(clip, name, None) for name in ("image_size", "image_mean", "image_std")]
    prompts = [job.positive, job.negative, job.speaker_masks]
    # A picture whole; of a source video every window's frame is in the window's key.
    pictures = [job.pictures.size, job.pictures.source_size, job.embeds.fps, job.pictures.at(0)]
    return Digester().digest([versions, models, types, clip_picture, job.settings, prompts, pictures]).hex()


def window_keys(job: TalkingVideoJob) -> list[str]:
    """What each window hears, shows and keeps.

    The sound counts by what was put in (see `AudioEmbeds.digests`), never by numbers that a GPU has computed of it.
    """
    return [_window_key(job, window) for window in job.windows]


def _window_key(job: TalkingVideoJob, window: Window) -> str:
    """The window's place, the voices that it hears, and what it sees of the source.

    A voice counts as a whole: every embedding has heard all of its sound.
    """
    voices = job.voices.voice_per_slot_in(window)  # [W, slots]
    sources = [*job.embeds.digests, "a listener who stays silent"]
    heard = [sources[voice] for voice in voices.unique().tolist()]
    seen = frames_of(window) if job.keeps_shot else [window.start]
    parts = [window, voices, heard, len(job.voices) == 1, [job.pictures.key(frame) for frame in seen]]
    if job.mask is not None:
        parts.append([job.mask.key(job.pictures.source_index(frame)) for frame in seen])
    return Digester().digest(parts).hex()
