"""The file that a job has made, and what is in it as players see it: by decoders that are not ours."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
from comfy_client import ComfyClient, JobResult, Prompt
from talking_picture import find_node


def run(client: ComfyClient, prompt: Prompt) -> tuple[Path, JobResult]:
    """Queue a prompt that must succeed; returns the saved file.

    Raises:
        AssertionError: it failed; with the server's traceback.
    """
    result = client.run(prompt)
    if result.error:
        raise AssertionError(result.error_message + "\n" + "".join(result.error.get("traceback", [])))
    return saved_file(prompt, result.history), result


def saved_file(prompt: Prompt, history: dict) -> Path:
    """The file that a finished job says it has written, by its entry in the server's history."""
    (entry,) = history["outputs"][find_node(prompt, "SaveVideoWithAudio")]["gifs"]
    return Path(entry["fullpath"])


@dataclass(frozen=True)
class Decoded:
    """A video file, decoded.

    Attributes:
        frames: `[F, H, W, 3]` uint8, four channels with alpha.
        times: seconds of every frame.
        frame_rate: average, in frames per second.
        sound: `[T, C]` float32, None if there is none.
        sound_start: seconds of its first sample.
        sample_rate: Hz, 0 if there is no sound.
        picture: ffmpeg's description of the video stream.
        tags: metadata of the file, keys in small letters.
    """

    frames: np.ndarray
    times: list[float]
    frame_rate: Fraction
    sound: np.ndarray | None
    sound_start: float | None
    sample_rate: int
    picture: str
    tags: dict[str, str]


def decode(file: Path, alpha: bool = False) -> Decoded:
    """Decode everything in a file: picture and sound with ffmpeg (edit lists applied), times with PyAV."""
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        size, frame_rate = (stream.height, stream.width), Fraction(stream.average_rate)
        tags = {key.lower(): value for key, value in container.metadata.items()}
        times = [frame.time for frame in container.decode(stream)]
    sound, sound_start, sample_rate = _sound(file)
    told = _ffmpeg("-hide_banner", "-i", str(file), check=False).stderr.decode()
    picture = next(line.strip() for line in told.splitlines() if "Video:" in line)
    return Decoded(_frames(file, size, alpha), times, frame_rate, sound, sound_start, sample_rate, picture, tags)


def _frames(file: Path, size: tuple[int, int], alpha: bool) -> np.ndarray:
    # libvpx's own decoder is the one that knows the alpha of webm.
    decoder = ["-c:v", "libvpx-vp9"] if alpha and file.suffix == ".webm" else []
    scale = ["-vf", "scale=flags=bicubic+accurate_rnd+full_chroma_int", "-fps_mode", "passthrough"]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgba" if alpha else "rgb24", "pipe:1"]
    pixels = _ffmpeg("-v", "error", *decoder, "-i", str(file), "-map", "0:v", *scale, *raw).stdout
    return np.frombuffer(pixels, np.uint8).reshape(-1, *size, 4 if alpha else 3)


def _sound(file: Path) -> tuple[np.ndarray | None, float | None, int]:
    """Samples, the time of the first one, and their rate."""
    with av.open(str(file)) as container:
        audio = container.streams.best("audio")
        if not audio:
            return None, None, 0
        sample_rate, channels = audio.codec_context.sample_rate, audio.codec_context.layout.nb_channels
        start = next(container.decode(audio)).time
    samples = _ffmpeg("-v", "error", "-i", str(file), "-map", "0:a", "-f", "f32le", "pipe:1").stdout
    return np.frombuffer(samples, "<f4").reshape(-1, channels), start, sample_rate


def _ffmpeg(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *arguments], capture_output=True, check=check)
