"""Pictures, sounds and videos under the names that the examples have in them, made from the demo's media."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
from PIL import Image, ImageOps
from talking_picture import PICTURE, SPEECH

VIDEO_RATE, VIDEO_FRAMES = 25, 30
VIDEO_SIZE = (208, 120)  # wide, as most videos are


def write_media(folder: Path, seconds: float | None = None) -> None:
    """Fill a server's input folder.

    Args:
        folder: is made if it is not there.
        seconds: how much of the speech; None takes all of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(PICTURE, folder / "face.png")
    face = Image.open(PICTURE).convert("RGB")
    close = ImageOps.crop(face, (face.width // 8, face.height // 12, face.width // 8, face.height // 6))
    close.resize(face.size).save(folder / "face_close.png")
    both = Image.new("RGB", (2 * face.width, face.height))
    both.paste(face, (0, 0))
    both.paste(face.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (face.width, 0))
    both.save(folder / "two_people.png")
    speech, rate = soundfile.read(SPEECH, always_2d=True)
    speech = speech if seconds is None else speech[: round(seconds * rate)]
    soundfile.write(folder / "speech.flac", speech, rate)
    soundfile.write(folder / "speech_2.flac", speech[::-1], rate)
    soundfile.write(folder / "vocals.flac", speech, rate)
    soundfile.write(folder / "song.flac", 0.5 * (speech + _chord(len(speech), rate)), rate)
    for name in ("video.mp4", "pose.mp4", "face.mp4"):
        write_video(folder / name, face, speech, rate)


def _chord(samples: int, rate: int) -> np.ndarray:
    """What stands for music, `[T, 1]` in ±1."""
    time = np.arange(samples)[:, None] / rate
    return np.sin(2 * np.pi * time * [220.0, 277.2, 329.6]).mean(axis=1, keepdims=True)


def write_video(file: Path, picture: Image.Image, sound: np.ndarray, rate: int) -> None:
    """A video of a moving picture, with as much of the sound (`[T, C]` in ±1) as it has time for."""
    still = np.asarray(ImageOps.pad(picture, VIDEO_SIZE))
    with av.open(str(file), "w") as container:
        video = container.add_stream("libx264", rate=VIDEO_RATE)
        video.width, video.height = VIDEO_SIZE
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=rate, layout="mono")
        for index in range(VIDEO_FRAMES):
            frame = av.VideoFrame.from_ndarray(np.roll(still, index, axis=1))
            container.mux(video.encode(frame))
        samples = sound[: VIDEO_FRAMES * rate // VIDEO_RATE, :1].T.astype(np.float32)
        heard = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="mono")
        heard.sample_rate, heard.time_base, heard.pts = rate, Fraction(1, rate), 0
        container.mux(audio.encode(heard))
        for stream in (video, audio):
            container.mux(stream.encode())
