"""The sound of any file: by libsndfile where it is exact, by FFmpeg (PyAV) where it is not."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from .audio_source import AudioError, AudioSource
from .channel_order import from_vorbis
from .completeness import ends_early
from .container import Part, Source, name_of, open_bytes
from .joined_files import files_in
from .joined_ogg import JoinedSounds, sounds_in_ogg
from .sample_data import end_of, sample_data
from .video_file import FileAudio

if TYPE_CHECKING:
    import soundfile

log = logging.getLogger(__name__)

BLOCK_SAMPLES = 1 << 18  # of all channels together, per read
IN_VORBIS_ORDER = {"VORBIS", "OPUS"}  # whose channels libsndfile leaves as they are
FOR_PYAV = {"MP3", "MPEG", "FLAC"}  # libsndfile reads them up to the first join, or by estimate
OF_A_PIPE = (8).to_bytes(4, "little")


def open_sound(source: Source) -> AudioSource:
    """The sound of a file, its sample 0 at the file's beginning (see `tracks.py`).

    Raises:
        AudioError: there is no sound that can be decoded.
        UserError: the file is no medium, or names other files.
    """
    with open_bytes(source) as file:
        sounds = files_in(file)
        is_plain_ogg = bool(sounds_in_ogg(file))
    if len(sounds) > 1 and not isinstance(source, Part):
        return JoinedSounds([Part(source, *sound) for sound in sounds], open_sound)
    sound = SampleFile.opened(source, is_plain_ogg=is_plain_ogg)
    return FileAudio(source) if sound is None else sound


class _Readable:
    """An open file for libsndfile, which a header with impossible sizes sends before the file's start: it stays.

    Args:
        file: the open file.
        size_at: where a WAV has a size of its samples that is wrong. It reads as that of a file from a pipe, whose end
            is that of its samples, at any length (libsndfile 1.2: a file of 8 bytes with samples of none).
    """

    def __init__(self, file: BinaryIO, size_at: int | None) -> None:
        self._file = file
        sizes = {} if size_at is None else {4: OF_A_PIPE, size_at: bytes(4)}
        self._patches = {at + i: byte for at, size in sizes.items() for i, byte in enumerate(size)}
        self.tell = file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._file.seek(offset, whence)
        return self._file.tell()

    def readinto(self, buffer: memoryview) -> int:
        begin = self._file.tell()
        count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        for at, byte in self._patches.items():
            if begin <= at < begin + count:
                buffer[at - begin : at - begin + 1] = bytes([byte])
        return count


class SampleFile:
    """A file as an `AudioSource` through libsndfile: WAV, AIFF, W64, CAF and their like, and Ogg.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        length: samples of each channel that the file holds.
        announced_seconds: the same in seconds.
        notes: none.
    """

    def __init__(self, source: Source, file: soundfile.SoundFile, size_at: int | None) -> None:
        self._source, self._size_at = source, size_at
        self.sample_rate, self.channels, self.length = file.samplerate, file.channels, file.frames
        self._order = from_vorbis(file.channels) if file.subtype in IN_VORBIS_ORDER else None
        self.announced_seconds = self.length / self.sample_rate
        self.notes: list[str] = []

    @classmethod
    def opened(cls, source: Source, *, is_plain_ogg: bool) -> SampleFile | None:
        """The file, if libsndfile is there and reads all that its bytes hold; else None."""
        try:
            import soundfile
        except (ImportError, OSError) as error:  # the library itself may be missing: PyAV reads these files too
            log.warning("libsndfile cannot be loaded (%s): PyAV reads sound files instead.", error)
            return None
        with open_bytes(source) as raw:
            source, size_at = _up_to_its_end(source, raw)
        with open_bytes(source) as raw:
            try:
                with soundfile.SoundFile(_Readable(raw, size_at)) as file:
                    partly = file.format in FOR_PYAV or (file.format == "OGG" and not is_plain_ogg)
                    if partly or not file.frames or not file.seekable():
                        return None
                    return cls(source, file, size_at)
            # TypeError: a raw file (by its suffix) wants to be told its rate.
            except (soundfile.LibsndfileError, TypeError, OSError, ValueError) as error:
                log.debug("soundfile does not read %s: %s", name_of(source), error)
                return None

    def blocks(self, first: int = 0) -> Iterator[np.ndarray]:
        """Float32 samples [n, channels] from sample `first` on, in order.

        Raises:
            AudioError: the file is damaged or breaks off.
        """
        import soundfile

        size = max(1, BLOCK_SAMPLES // self.channels)
        with open_bytes(self._source) as raw, soundfile.SoundFile(_Readable(raw, self._size_at)) as file:
            file.seek(min(first, self.length))
            try:
                while len(block := file.read(size, dtype="float32", always_2d=True)):
                    yield block if self._order is None else np.take(block, self._order, axis=1)
            except soundfile.LibsndfileError as error:
                raise AudioError(
                    f"{name_of(self._source)} is damaged after {file.tell() / file.samplerate:.2f} s "
                    f"({error.error_string}): get the whole file, or export it again"
                ) from error
        self._check_end()

    def _check_end(self) -> None:
        """Whether the file holds what its header promises; libsndfile takes a short WAV as it is."""
        held = self.length / self.sample_rate
        with open_bytes(self._source) as file:
            breaks_off, whole, data = ends_early(file), "", sample_data(file)
            size = file.seek(0, os.SEEK_END)
        if data is not None and data.length and self._size_at is None:
            breaks_off = data.breaks_off(size)
            whole = f" of {held * data.length / max(size - data.start, 1):.2f}"
        if breaks_off:
            raise AudioError(
                f"{name_of(self._source)} breaks off: it holds {held:.2f}{whole} s; get the whole file, or export it "
                "again"
            )


def _up_to_its_end(source: Source, file: BinaryIO) -> tuple[Source, int | None]:
    """The source up to the end of its samples where libsndfile does not find that, and where a WAV has a wrong size."""
    data = sample_data(file)
    if data is None:
        return source, None
    size, end = file.seek(0, os.SEEK_END), end_of(file, data)
    if end is not None:
        return Part(source, 0, end), data.size_at
    if data.is_w64 and data.length and not data.breaks_off(size):
        return Part(source, 0, data.start + data.length), None
    return source, None
