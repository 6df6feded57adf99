"""Held-out clips for the cartoon models that come with the demo, and the graph that makes them talk."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import talking_picture
from articulation import articulate
from comfy_client import ComfyClient, Prompt
from faces import FPS, Face, Motion, render
from PIL import Image
from speech import RATE, sound_clip
from talking_picture import inputs_of

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
    name = f"clip_{clip.seed}"
    picture, sound = folder / f"{name}.png", folder / f"{name}.wav"
    Image.fromarray(clip.picture()).save(picture)
    soundfile.write(sound, clip.sound, RATE, subtype="PCM_16")
    prompt = talking_picture.with_cartoon_models(talking_picture.load_workflow())
    prompt = talking_picture.with_media(prompt, client.upload(picture), client.upload(sound))
    inputs_of(prompt, "InfiniteTalkSampler").update({"seed": 1, "resume": False, **sampler})
    inputs_of(prompt, "SaveVideoWithAudio")["filename_prefix"] = f"cartoons/{uuid.uuid4().hex[:12]}"
    return prompt
