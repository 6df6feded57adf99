"""Held-out clips for the cartoon models that come with the demo, and the graphs that make them talk."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cartoon_models
import numpy as np
import soundfile
import talking_picture
from comfy_client import ComfyClient, Prompt
from PIL import Image
from talking_picture import WORKFLOW, inputs_of
from training.articulation import articulate
from training.faces import FPS, Face, Motion, render
from training.speech import RATE, sound_clip

TWO_SPEAKERS = WORKFLOW.with_name("two_speakers.json")
FIRST_HELD_OUT_SEED = 1_000_000  # no face of the training has such a seed
PAUSE_FRAMES, PAUSE_OPENING = 8, 0.01  # so many frames of a clip ask for a mouth that is not more open than this


@dataclass(frozen=True)
class Clip:
    """A face and what it shall say; nothing of it was trained on."""

    seed: int
    face: Face
    sound: np.ndarray
    """`[samples]` at `speech.RATE`."""

    @classmethod
    def held_out(cls, number: int, seconds: float) -> Clip:
        """One of the clips, always the same; all have a pause, so that a mouth can be seen to close.

        Raises:
            RuntimeError: espeak-ng is not there.
        """
        seed = FIRST_HELD_OUT_SEED + number
        rng = np.random.default_rng(seed)
        face = Face.random(rng)
        while True:
            sound = sound_clip(rng, seconds, held_out=True)
            opening = articulate(sound, RATE, round(seconds * FPS)).opening
            if np.count_nonzero(opening <= PAUSE_OPENING) >= PAUSE_FRAMES:
                return cls(seed, face, sound)

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.sound) / RATE

    def picture(self) -> np.ndarray:
        """The face at rest, uint8 `[SIZE, SIZE, 3]`."""
        return render(self.face, Motion.still(1))[0]


def talking_prompt(client: ComfyClient, clip: Clip, folder: Path, **sampler: Any) -> Prompt:
    """The shipped workflow with the cartoon models and a clip, whose files are written to `folder` and uploaded."""
    prompt = talking_picture.with_cartoon_models(talking_picture.load_workflow())
    picture = uploaded_picture(client, [clip], folder)
    return with_settings(talking_picture.with_media(prompt, picture, uploaded_sound(client, clip, folder)), **sampler)


def two_speakers_prompt(client: ComfyClient, clips: tuple[Clip, Clip], folder: Path, **sampler: Any) -> Prompt:
    """The shipped workflow for two speakers: the first one's face on the left, both voices at the same time."""
    prompt = talking_picture.with_cartoon_models(talking_picture.load_workflow(TWO_SPEAKERS))
    inputs_of(prompt, "LoadImage")["image"] = uploaded_picture(client, clips, folder)
    for number, clip in enumerate(clips, start=1):
        loader, _ = inputs_of(prompt, "InfiniteTalkAudioEmbeds")[f"audio_{number}"]
        prompt[loader]["inputs"]["audio"] = uploaded_sound(client, clip, folder)
    return with_settings(prompt, width=len(clips) * cartoon_models.SIDE, **sampler)


def uploaded_picture(client: ComfyClient, clips: Sequence[Clip], folder: Path) -> str:
    """The clips' faces side by side, written to `folder` and uploaded; its name on the server."""
    file = folder / f"{'_'.join(str(clip.seed) for clip in clips)}.png"
    Image.fromarray(np.concatenate([clip.picture() for clip in clips], axis=1)).save(file)
    return client.upload(file)


def uploaded_sound(client: ComfyClient, clip: Clip, folder: Path) -> str:
    """A clip's sound, written to `folder` and uploaded; its name on the server."""
    file = folder / f"{clip.seed}.wav"
    soundfile.write(file, clip.sound, RATE, subtype="PCM_16")
    return client.upload(file)


def with_settings(prompt: Prompt, **sampler: Any) -> Prompt:
    """No job shall find another's windows or file."""
    inputs_of(prompt, "InfiniteTalkSampler").update({"seed": 1, "resume": False, **sampler})
    inputs_of(prompt, "SaveVideoWithAudio")["filename_prefix"] = f"cartoons/{uuid.uuid4().hex[:12]}"
    return prompt
