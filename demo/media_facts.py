"""What a video file really holds, measured by decoding it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class MediaFacts:
    """Facts of a video file.

    `frames` is the count of decoded pictures. `audio_seconds` is the length of the decoded sound without the padding of
    its last packet, which players do not play. A file without sound has None in the audio fields.
    """

    path: str
    width: int
    height: int
    fps: float
    frames: int
    seconds: float
    video_codec: str
    audio_codec: str | None
    audio_rate: int | None
    audio_channels: int | None
    audio_seconds: float | None

    def as_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return asdict(self)

    def as_text(self) -> str:
        """For a person, in two lines."""
        sound = "no sound"
        if self.audio_codec:
            sound = f"{self.audio_codec}, {self.audio_rate} Hz, {self.audio_channels} channel(s)"
            sound += f", {self.audio_seconds:.3f} s"
        picture = f"{self.width}x{self.height}, {self.frames} frames at {self.fps:g} fps, {self.seconds:.3f} s"
        return f"picture: {self.video_codec}, {picture}\nsound:   {sound}"


def measure(file: Path) -> MediaFacts:
    """Decode a video file from beginning to end and tell what was in it.

    Raises:
        ValueError: the file has no picture.
    """
    import av

    with av.open(str(file)) as container:
        if not container.streams.video:
            raise ValueError(f"{file} has no picture: it is not a video.")
        video = container.streams.video[0]
        width, height, fps, codec = video.width, video.height, float(video.average_rate), video.codec_context.name
        audio = container.streams.audio[0] if container.streams.audio else None
        sound = (audio.codec_context.name, audio.sample_rate, audio.codec_context.channels) if audio else (None,) * 3
        declared = float(audio.duration * audio.time_base) if audio and audio.duration else float("inf")
        frames = samples = 0
        for decoded in container.decode(*([video, audio] if audio else [video])):
            if isinstance(decoded, av.VideoFrame):
                frames += 1
            else:
                samples += decoded.samples
    return MediaFacts(
        path=str(file.resolve()), width=width, height=height, fps=fps, frames=frames, seconds=frames / fps,
        video_codec=codec, audio_codec=sound[0], audio_rate=sound[1], audio_channels=sound[2],
        audio_seconds=min(samples / sound[1], declared) if audio else None,
    )  # fmt: skip
