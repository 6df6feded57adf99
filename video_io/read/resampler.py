"""Sound whose rate and channels change on the way, in one rate and layout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .audio_source import AudioError

if TYPE_CHECKING:
    import av


MOST_PLANES = 7  # FFmpeg has a list of eight, and PyAV looks for its end


class Resampler:
    """Makes float32 samples in one layout, at one rate in Hz, from frames that may change both."""

    def __init__(self, sample_rate: int, layout: str) -> None:
        self._sample_rate, self._layout = sample_rate, layout
        self._kind: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def convert(self, frame: av.AudioFrame, heard: int | None = None) -> Iterator[np.ndarray]:
        """Samples `[n, channels]` of a frame; what was held back of another kind comes first.

        Args:
            frame: decoded sound.
            heard: samples at its beginning that are used (None: all).

        Raises:
            AudioError: there is no way from its channels to the wanted ones.
        """
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:
            yield from self.rest()
            self._kind = kind
        if kind == ("fltp", self._layout, self._sample_rate) and frame.layout.nb_channels <= MOST_PLANES:
            yield _side_by_side(frame)[:heard]
            return
        if self._resampler is None:
            # Samples side by side: PyAV reads past the end of more than eight separate channels.
            self._resampler = av.AudioResampler("flt", self._layout, self._sample_rate)
        surplus = 0 if heard is None else round((frame.samples - heard) * self._sample_rate / frame.sample_rate)
        frame.pts = None  # the resampler would fill gaps itself
        try:
            pieces = [_samples(piece) for piece in self._resampler.resample(frame)]
        except av.error.FFmpegError as error:
            raise AudioError(
                f"the sound goes on in {frame.layout.name} at {frame.sample_rate} Hz, which cannot become "
                f"{self._layout} at {self._sample_rate} Hz: convert it to one of the two first"
            ) from error
        if pieces and surplus:
            pieces[-1] = pieces[-1][: max(0, len(pieces[-1]) - surplus)]
        yield from (piece for piece in pieces if len(piece))

    def rest(self) -> Iterator[np.ndarray]:
        """What is still held back."""
        if self._resampler is not None:
            for piece in self._resampler.resample(None):
                yield _samples(piece)
            self._resampler = None


def _side_by_side(frame: av.AudioFrame) -> np.ndarray:
    """Samples `[n, channels]` of a frame that has a plane of floats for each channel, as most codecs give them."""
    planes = frame.planes
    rows = np.empty((frame.samples, frame.layout.nb_channels), np.float32)
    for channel in range(rows.shape[1]):
        rows[:, channel] = _floats(planes[channel], frame.samples)
    return rows


def _samples(frame: av.AudioFrame) -> np.ndarray:
    """Samples `[n, channels]` of a frame that has them side by side: its own memory, which PyAV's array would copy."""
    channels = frame.layout.nb_channels
    return _floats(frame.planes[0], frame.samples * channels).reshape(-1, channels)


def _floats(plane: av.audio.plane.AudioPlane, count: int) -> np.ndarray:
    return np.frombuffer(plane, np.float32, count)  # type: ignore[call-overload]  # it is a buffer, untold by its stub
