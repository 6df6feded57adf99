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
from .completeness import ends_early, size_is_filled_in, wav_data
from .container import Part, Source, name_of, open_bytes
from .joined_files import files_in
from .joined_ogg import JoinedSounds, sounds_in_ogg
from .video_file import FileAudio

if TYPE_CHECKING:
    import soundfile

log = logging.getLogger(__name__)

BLOCK_SAMPLES = 1 << 18  # of all channels together, per read
IN_VORBIS_ORDER = {"VORBIS", "OPUS"}  # whose channels libsndfile leaves as they are
FOR_PYAV = {"MP3", "MPEG", "FLAC"}  # libsndfile reads them up to the first join, or by estimate


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


class _Seekable:
    """An open file for libsndfile, which a header with impossible sizes sends before the file's start: it stays."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.tell, self.read, self.readinto = file.tell, file.read, file.readinto  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with contextlib.suppress(OSError, ValueError):
            self._file.seek(offset, whence)
        return self._file.tell()


class SampleFile:
    """A file as an `AudioSource` through libsndfile: WAV, AIFF, W64, CAF and their like, and Ogg.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        length: samples of each channel that the file holds.
        announced_seconds: the same in seconds.
        notes: none.
    """

    def __init__(self, source: Source, file: soundfile.SoundFile) -> None:
        self._source = source
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
            try:
                with soundfile.SoundFile(_Seekable(raw)) as file:
                    partly = file.format in FOR_PYAV or (file.format == "OGG" and not is_plain_ogg)
                    if partly or not file.frames or not file.seekable():
                        return None
                    return cls(source, file)
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
        with open_bytes(self._source) as raw, soundfile.SoundFile(_Seekable(raw)) as file:
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
            breaks_off, whole, data = ends_early(file), "", wav_data(file)
            if data is not None and size_is_filled_in(data[1]):
                have = file.seek(0, os.SEEK_END) - data[0]
                breaks_off, whole = have < data[1], f" of {held * data[1] / max(have, 1):.2f}"
        if breaks_off:
            raise AudioError(
                f"{name_of(self._source)} breaks off: it holds {held:.2f}{whole} s; get the whole file, or export it "
                "again"
            )
