"""The talking-picture graph in small, sounds to feed it, and what came out."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import talking_picture
from comfy_client import ComfyClient, ComfyError, Event, JobResult, Prompt
from talking_picture import find_node, inputs_of

SMALL = {"width": 48, "height": 32, "steps": 2, "window_frames": 17, "motion_frames": 5}
"""Sampler settings that make a window in a second or two: 17 frames, of which 12 are new."""


def speech(seconds: float, rate: int = 22_050, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Something like a voice, `[T, C]` in ±1: a gliding hum in syllables, with breath; never periodic as a whole.

    Every channel has a pitch of its own, so that exchanged or mixed channels are noticed.
    """
    samples = max(1, round(seconds * rate))
    time = np.arange(samples) / rate
    noise = np.random.default_rng(seed).standard_normal((samples, channels))
    syllables = 0.2 + 0.8 * np.sin(np.pi * (3.1 + 0.2 * seed) * time) ** 2
    voice = np.zeros((samples, channels))
    for channel in range(channels):
        pitch = 110 * (1 + 0.5 * channel) * (1 + 0.1 * seed)
        phase = 2 * np.pi * (pitch * time + 3 * np.sin(2 * np.pi * 0.37 * time))
        for harmonic in range(1, 6):
            voice[:, channel] += np.sin(harmonic * phase) / harmonic
    return np.clip((0.25 * voice + 0.03 * noise) * syllables[:, None], -1, 1)


def write_speech(folder: Path, seconds: float, rate: int = 22_050, channels: int = 1, seed: int = 0) -> Path:
    """A 16-bit WAV file with `speech`, under a name of its own."""
    return write_sound(folder, speech(seconds, rate, channels, seed), rate)


def write_sound(folder: Path, samples: np.ndarray, rate: int) -> Path:
    """A 16-bit WAV file of `[T, C]`, under a name of its own."""
    file = folder / f"sound_{uuid.uuid4().hex[:12]}.wav"
    soundfile.write(file, samples, rate, subtype="PCM_16")
    return file


def small_prompt(client: ComfyClient, picture: Path, sound: Path, **sampler: Any) -> Prompt:
    """The shipped workflow with tiny models, both files uploaded, and a file name that no other test uses."""
    prompt = talking_picture.with_tiny_models(talking_picture.load_workflow())
    prompt = talking_picture.with_media(prompt, client.upload(picture), client.upload(sound))
    inputs_of(prompt, "InfiniteTalkSampler").update({**SMALL, **sampler})
    inputs_of(prompt, "SaveVideoWithAudio")["filename_prefix"] = f"tests/{uuid.uuid4().hex[:12]}"
    return prompt


def run(client: ComfyClient, prompt: Prompt) -> tuple[Path, JobResult]:
    """Queue a prompt that must succeed; returns the saved file."""
    result = client.run(prompt)
    assert not result.error, result.error_message + "\n" + "".join(result.error.get("traceback", []))
    return saved_file(prompt, result), result


def saved_file(prompt: Prompt, result: JobResult) -> Path:
    """The file that a finished job says it has written."""
    (entry,) = result.outputs[find_node(prompt, "SaveVideoWithAudio")]["gifs"]
    return Path(entry["fullpath"])


def sampler_progress(prompt: Prompt, events: list[Event]) -> list[Event]:
    """The `progress` events of the sampler: one per step."""
    sampler = find_node(prompt, "InfiniteTalkSampler")
    return [event for event in events if event.kind == "progress" and event.data["node"] == sampler]


def refusal(client: ComfyClient, prompt: Prompt) -> str:
    """Queue a prompt that must be refused before any sampling; returns the sentence for the user."""
    try:
        result = client.run(prompt)
    except ComfyError as error:
        return str(error)
    assert result.error, "the server took it"
    assert result.error["exception_type"].endswith("UserError"), "".join(result.error["traceback"])
    assert not sampler_progress(prompt, result.events), "sampling had begun"
    return result.error_message


@dataclass(frozen=True)
class Decoded:
    """A video file, decoded."""

    frames: np.ndarray
    """`[F, H, W, 3]` uint8."""
    first_frame_seconds: float
    frames_per_second: float
    sound: np.ndarray
    """`[T, C]` float32."""
    sound_rate: int
    first_sound_seconds: float


def decode(file: Path) -> Decoded:
    """Decode picture and sound of a file, each from its first to its last packet."""
    pictures, sounds, starts = [], [], {}
    with av.open(str(file)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        rate, fps = audio.sample_rate, float(video.average_rate)
        for frame in container.decode(video, audio):
            starts.setdefault(type(frame), frame.time)
            if isinstance(frame, av.VideoFrame):
                pictures.append(frame.to_ndarray(format="rgb24"))
            else:
                sounds.append(frame.to_ndarray().T)  # the decoder's planar float: [C, T]
    return Decoded(
        frames=np.stack(pictures), first_frame_seconds=starts[av.VideoFrame], frames_per_second=fps,
        sound=np.concatenate(sounds), sound_rate=rate, first_sound_seconds=starts[av.AudioFrame],
    )  # fmt: skip


def offset_seconds(sound: np.ndarray, source: np.ndarray, rate: int, search_seconds: float = 0.1) -> float:
    """How much later `sound` is than `source` (both `[T, C]`), by the peak of their cross-correlation."""
    longest = max(len(sound), len(source))
    first, second = (np.pad(x[:, 0], (0, 2 * longest - len(x))) for x in (sound, source))
    correlation = np.fft.irfft(np.fft.rfft(first) * np.conj(np.fft.rfft(second)))
    reach = round(search_seconds * rate)
    near = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
    return float(np.argmax(near) - reach) / rate
