"""What decides the pixels of a job, as a short text: the same text, the same video.

A finished window may be used again only if everything that went into it is the same. Inputs (pictures, prompts, masks,
sound) are read whole. Weights are not, since 14B of them would take a minute: of every tensor its name, shape, type and
some pieces spread over it are taken, which any training, merging, LoRA or conversion changes (see `digest.py`).
"""

from __future__ import annotations

from typing import Any

import comfyui_version
import torch

from ...spool import release
from ..job import TalkingVideoJob
from ..voices import Voices
from ..windows import AUDIO_WINDOW, EndPadding, Window
from .digest import Digester

FORMAT = 2
"""Raise this when a change of ours changes pixels: finished windows of older releases are then made anew."""


def job_fingerprint(job: TalkingVideoJob) -> str:
    """What all windows of a job share: models and patches, prompts, settings; not the sound, picture and length."""
    clip = job.clip_vision
    versions = [FORMAT, torch.__version__, comfyui_version.__version__]
    models = [job.model, job.infinitetalk, job.vae.patcher, None if clip is None else clip.patcher]
    types = [job.model.model_dtype(), getattr(job.model.model, "manual_cast_dtype", None), job.vae.vae_dtype]
    clip_picture = [getattr(clip, name, None) for name in ("image_size", "image_mean", "image_std")]
    settings = [job.settings, job.guidance, job.window_frames, job.motion_frames, job.audio_scale]
    prompts = [job.positive, job.negative, job.speaker_masks]
    # A picture whole; of a source video every window's frame is in the window's key.
    pictures = [job.pictures.size, job.pictures.source_size, job.embeds.fps, job.pictures.at(0)]
    return Digester().digest([versions, models, types, clip_picture, settings, prompts, pictures]).hex()


def window_keys(job: TalkingVideoJob) -> list[str]:
    """What each window hears, shows and keeps."""
    return [_window_key(job, window) for window in job.windows]


def _window_key(job: TalkingVideoJob, window: Window) -> str:
    parts = [window, _heard(job.voices, window, job.settings.end_padding), job.pictures.key(window.start)]
    key = Digester().digest(parts).hex()
    for features in job.voices.features:
        release(features)
    return key


def _heard(voices: Voices, window: Window, end_padding: EndPadding) -> list[Any]:
    """What decides `Voices.window` and `Voices.latent_seats`; every row of embeddings once, from where it lies."""
    seats = voices.seats[torch.arange(window.start, window.stop).clamp(max=len(voices.seats) - 1)]  # [W, positions]
    reach = AUDIO_WINDOW // 2
    stop = window.stop + reach
    parts: list[Any] = [seats, len(voices) == 1]
    for voice in seats.unique().tolist():
        features, silence = voices.features[voice], voices.silence[voice]
        rows = features[max(0, window.start - reach) : stop]  # [<= W + 4, layers, channels]
        beyond = max(0, stop - len(features))
        after = None
        if beyond:
            mirrored = features[max(0, len(features) - beyond) :]
            after = [len(features), end_padding, silence[:beyond], mirrored if end_padding == "mirror" else None]
        parts += [voice, rows, after]
    return parts
