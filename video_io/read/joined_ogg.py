"""Ogg files behind each other in one file, as web radios record them: each has a clock, a rate and channels of its own.

FFmpeg begins its clock anew at every join and gives up where the rate changes, and libsndfile stops there. So each is
read as the file that it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

import numpy as np

from ...errors import UserError
from .audio_source import AudioError, AudioSource
from .container import Part
from .resampler import Resampler

log = logging.getLogger(__name__)

PAGE_HEADER_BYTES = 27
FIRST_PAGE = 2  # flag of a page that begins a stream
LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")  # of 1 to 8 channels


def sounds_in_ogg(file: BinaryIO) -> list[tuple[int, int]]:
    """First byte and end of each file in an Ogg file; empty if it is no Ogg, or has more than one stream at a time."""
    size, position, began = file.seek(0, os.SEEK_END), 0, False
    starts: list[int] = []
    while position < size:
        file.seek(position)
        header = file.read(PAGE_HEADER_BYTES)
        if len(header) < PAGE_HEADER_BYTES or header[:4] != b"OggS":
            break  # cut off, or something else follows
        if header[5] & FIRST_PAGE:
            if began:
                return []
            starts.append(position)
        began = bool(header[5] & FIRST_PAGE)
        position += PAGE_HEADER_BYTES + header[26] + sum(file.read(header[26]))
    return [(start, stop) for start, stop in zip(starts, [*starts[1:], size], strict=True)] if starts else []


class JoinedSounds:
    """Sounds one after the other as an `AudioSource`, in the rate and the channels of the first.

    Args:
        parts: of the file.
        opened: reads one of them.

    Raises:
        AudioError: the first is no sound that can be decoded.
    """

    def __init__(self, parts: Sequence[Part], opened: Callable[[Part], AudioSource]) -> None:
        self._parts, self._opened = parts, opened
        first = opened(parts[0])
        self.sample_rate, self.channels = first.sample_rate, first.channels
        self.announced_seconds = first.announced_seconds
        self.notes: list[str] = []

    def blocks(self) -> Iterator[np.ndarray]:
        """Float32 samples [n, channels], in order.

        Raises:
            AudioError: a part is damaged or breaks off.
        """
        for part in self._parts:
            try:
                sound = self._opened(part)
            except (AudioError, UserError) as error:
                log.warning("A part of the file is left out: %s", error)
                continue
            if (sound.sample_rate, sound.channels) == (self.sample_rate, self.channels):
                yield from sound.blocks()
            else:
                yield from self._converted(sound)

    def _converted(self, sound: AudioSource) -> Iterator[np.ndarray]:
        from av import AudioFrame

        resampler = Resampler(self.sample_rate, _layout(self.channels))
        for block in sound.blocks():
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(block).reshape(1, -1), "flt", _layout(sound.channels))
            frame.sample_rate = sound.sample_rate
            yield from resampler.convert(frame)
        yield from resampler.rest()


def _layout(channels: int) -> str:
    return LAYOUTS[channels - 1] if channels <= len(LAYOUTS) else f"{channels} channels"
