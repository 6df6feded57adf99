"""Frames and sound of a video file, decoded while they are read.

It uses PyAV, which ComfyUI brings along for its own videos; the pack itself does not depend on it. Files are opened
by their content and nothing but local files is read, so a playlist cannot reach out to other places.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UserError
from ...timebase import exact_frame_rate
from .audio_source import SoundError

if TYPE_CHECKING:
    import av

log = logging.getLogger(__name__)

# A playlist (HLS, DASH, concat) names other files and addresses; a VIDEO is one file.
OPEN_OPTIONS = {"protocol_whitelist": "file"}
PLAYLIST_FORMATS = {"hls", "dash", "concat", "concatf", "imf", "sdp", "image2"}
ROUNDING_SECONDS = 1e-6  # of times added up as floats
# swscale's flags SWS_BICUBIC, SWS_ACCURATE_RND and SWS_FULL_CHR_H_INT; by default its RGB is 1 to 2 levels too dark.
EXACT_COLOURS = 0x4 | 0x40000 | 0x2000
GAP_SECONDS = 0.1  # shorter ones are the rounding of time stamps (1 ms in Matroska) or the codec's own frames


@contextmanager
def _open(source: str | BytesIO) -> Iterator[av.container.InputContainer]:
    """The container in `source`, from its start."""
    import av

    if isinstance(source, BytesIO):
        source.seek(0)
    with av.open(source, options=OPEN_OPTIONS) as container:
        if PLAYLIST_FORMATS & set(container.format.name.split(",")):
            raise UserError(
                f"The video is a playlist or an image sequence ({container.format.name}), which can name other files: "
                "connect a single video file."
            )
        yield container


class FileFrames:
    """The picture of a video file (or file in memory) as a `FrameSource`.

    Of a file with a variable frame rate the frames are taken as they come, at the average rate, as core does. More
    than 8 bits are kept (uint16), transparency too, and a phone's rotation is applied.

    Args:
        source: path or file in memory.
        start_seconds: frames before are left out.
        duration_seconds: of the part that is used; 0: to the end.

    Raises:
        UserError: no video in it, a playlist, or nothing left in the part.
    """

    def __init__(self, source: str | BytesIO, start_seconds: float = 0.0, duration_seconds: float = 0.0) -> None:
        import av

        self._source = source
        self._start, self._duration = start_seconds, duration_seconds
        try:
            with _open(source) as container:
                stream = _video_stream(container)
                rate = stream.average_rate or stream.guessed_rate
                self.rate = exact_frame_rate(rate) if rate else Fraction(1)
                packets = container.demux(stream)
                self.count = sum(
                    1 for packet in packets if packet.size and not packet.is_discard and self._holds(packet)
                )
            first = next(self.frames(), None)
        except av.error.FFmpegError as error:
            raise UserError(f"The video cannot be read ({error}): connect a video file that plays.") from error
        if first is None:
            raise UserError("There are no frames: the video is empty.")
        self.height, self.width, self.channels = first.shape

    def frames(self) -> Iterator[np.ndarray]:
        """Frames [H, W, 3 or 4], uint8 or (from more than 8 bits) uint16."""
        with _open(self._source) as container:
            stream = _video_stream(container)
            stream.thread_type = "AUTO"
            if self._start > 0:
                container.seek(int(self._start / stream.time_base), stream=stream)
            for frame in _decode(container, stream):
                if not self._holds(frame):
                    if self._duration and frame.time is not None and frame.time >= self._end - ROUNDING_SECONDS:
                        return
                    continue
                yield _pixels(frame)

    @property
    def _end(self) -> float:
        return self._start + self._duration

    def _holds(self, item: av.Packet | av.VideoFrame) -> bool:
        """Whether a packet or frame lies in the wanted part."""
        if item.pts is None or not (self._start or self._duration):
            return True
        seconds = float(item.pts * item.time_base)
        past_end = self._duration and seconds >= self._end - ROUNDING_SECONDS
        return seconds >= self._start - ROUNDING_SECONDS and not past_end


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise UserError("The video has no picture, only sound: connect a video with a picture.")
    return container.streams.video[0]


def _decode(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """All frames that can be decoded; a damaged packet costs its own frames only."""
    import av

    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError as error:
            log.warning("A damaged part of the video is left out: %s", error)


def _pixels(frame: av.VideoFrame) -> np.ndarray:
    """One frame as RGB or RGBA, turned as it is meant to be seen."""
    components = frame.format.components
    alpha = any(component.is_alpha for component in components) or frame.format.name == "pal8"
    deep = any(component.bits > 8 for component in components)
    names = {(False, False): "rgb24", (True, False): "rgba", (False, True): "rgb48le", (True, True): "rgba64le"}
    pixels = frame.to_ndarray(format=names[alpha, deep], interpolation=EXACT_COLOURS)
    turns = round(frame.rotation / 90) % 4
    return np.rot90(pixels, turns) if turns else pixels


class FileSound:
    """The sound of a video file as a `Sound`; time 0 is the start of the wanted part.

    Sound that begins later than the picture follows silence, sound from before is left out.
    """

    def __init__(self, source: str | BytesIO, start_seconds: float = 0.0, duration_seconds: float = 0.0) -> None:
        self._source = source
        self._start, self._duration = start_seconds, duration_seconds
        self.notes: list[str] = []
        with _open(source) as container:
            stream = container.streams.best("audio")
            self.sample_rate = stream.codec_context.sample_rate
            self.channels = stream.codec_context.layout.nb_channels
            video = container.streams.video[0]
            self._zero = self._start if self._start else float((video.start_time or 0) * video.time_base)

    def blocks(self) -> Iterator[np.ndarray]:
        """Float32 samples [n, channels], in order.

        Raises:
            SoundError: the sound cannot be decoded.
        """
        import av

        limit = round(self._duration * self.sample_rate) if self._duration else None
        position = 0  # samples given so far
        try:
            for start_seconds, samples in self._decoded():
                offset = round((start_seconds - self._zero) * self.sample_rate) - position
                if offset > GAP_SECONDS * self.sample_rate or (position == 0 and offset > 0):
                    samples = np.concatenate((np.zeros((offset, self.channels), np.float32), samples))
                elif position == 0 and offset < 0:
                    samples = samples[-offset:]
                if limit is not None:
                    samples = samples[: limit - position]
                    if position >= limit:
                        return
                position += len(samples)
                yield samples
        except av.error.FFmpegError as error:
            raise SoundError(f"The video's own sound cannot be decoded: {error}") from error

    def _decoded(self) -> Iterator[tuple[float, np.ndarray]]:
        """Time in seconds and float32 samples [n, channels] of every decoded piece."""
        import av

        with _open(self._source) as container:
            stream = container.streams.best("audio")
            if self._start > 1:
                container.seek(int((self._start - 1) / stream.time_base), stream=stream)
            resampler = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                for piece in resampler.resample(frame):
                    yield float(frame.time or 0.0), piece.to_ndarray().T


def has_sound(source: str | BytesIO) -> bool:
    """Whether the file has a sound stream that can be decoded."""
    with _open(source) as container:
        stream = container.streams.best("audio")
        return stream is not None and stream.codec_context is not None
