"""A file's sound that is long: its length is known, and no more of it is decoded than somebody asks for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...errors import UserError
from ...spool import Spool
from .audio_source import AudioError, AudioSource, TensorAudio
from .sound_file import SampleFile, open_sound

WAVEFORM, SAMPLE_RATE = "waveform", "sample_rate"
DIGEST_BLOCK_BYTES = 1 << 20


def blocks_of_part(source: AudioSource, begin: int, count: int | None) -> Iterator[tuple[np.ndarray, int]]:
    """Samples `[n, channels]` from `begin` on (`count` of them, or all), each block with the sample that reading is at.

    What has to be decoded on the way to `begin` comes as blocks without samples, so that an interrupt can come through.
    """
    position, blocks = _entered(source, begin)
    yield np.empty((0, source.channels), np.float32), position
    for block in blocks:
        skip = max(0, begin - position)
        position += len(block)
        block = block[skip:] if count is None else block[skip : skip + count]
        yield block, position
        if count is not None:
            count -= len(block)
            if count == 0:
                return


def _entered(source: AudioSource, begin: int) -> tuple[int, Iterator[np.ndarray]]:
    """Blocks, and the sample at which they begin: plain samples are entered anywhere, codecs need what is before."""
    if isinstance(source, SampleFile):
        first = min(begin, source.length)
        return first, source.blocks(first)
    return 0, source.blocks()


def content_digest(path: Path) -> str:
    """A digest of all bytes of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(DIGEST_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Stamp:
    """What a file's folder says of it: another stamp may be another file, the same one is the same file."""

    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file.

        Raises:
            OSError: it is not there.
        """
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


class LongSound:
    """A part of a sound file, as ComfyUI's AUDIO and as `AudioSource`.

    As an AUDIO it is decoded when somebody looks at `waveform`, all of it, into a temporary file; `first` and `blocks`
    decode as far as they are asked to. A file that is not the one whose length was counted is refused. Copied or
    pickled it is an ordinary AUDIO. It can all that a mapping can, and is none: newer cores look for models in the
    values of every mapping that goes through a link, and would have it decoded.

    Attributes:
        sample_rate: Hz.
        channels: number of channels.
        length: samples of each channel.
        announced_seconds: the length in seconds.
        notes: none.

    Args:
        path: the file.
        stamp: taken before its samples were counted.
        begin: the file's sample at which the part begins.
        length: samples of each channel that were counted from there on, all of them finite.
        kept: the first of them, `[channels, n]` float32.
        sample_rate: Hz.
        folder: where the samples are kept that are decoded (the system's temporary folder if None).
        on_block: called now and then while it is decoded, so that an interrupt can come through.

    Raises:
        UserError: the file has changed meanwhile.
    """

    def __init__(
        self,
        path: Path,
        stamp: Stamp,
        begin: int,
        length: int,
        kept: Tensor,
        sample_rate: int,
        *,
        folder: Path | None = None,
        on_block: Callable[[], None] | None = None,
    ) -> None:
        self.sample_rate, self.channels, self.length = sample_rate, kept.shape[0], length
        self.announced_seconds = length / sample_rate
        self.notes: list[str] = []
        self._path, self._stamp, self._begin, self._kept = path, stamp, begin, kept
        self._folder, self._on_block = folder, on_block
        self._lock = threading.Lock()
        self._digest = content_digest(path)
        if Stamp.of(path) != stamp:
            raise UserError(f"{path.name} has changed while it was read: queue the graph again.")

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples, as of a tensor."""
        return self.channels, self.length

    def first(self, samples: int) -> Tensor:
        """The first samples (all where there are fewer), `[channels, samples]` float32; possibly a mapped file.

        Raises:
            UserError: the file has changed or is gone, or the disk is too small.
        """
        samples = min(samples, self.length)
        with self._lock:
            if samples > self._kept.shape[1]:
                self._kept = self._decoded(samples)
            return self._kept[:, :samples]

    def blocks(self) -> Iterator[np.ndarray]:
        """Float32 samples `[n, channels]`, in order, none empty: those that are kept, then those of the file.

        Raises:
            AudioError: the file has changed or is gone.
        """
        kept = self._kept
        yield from TensorAudio({WAVEFORM: kept[None], SAMPLE_RATE: self.sample_rate}).blocks()
        if kept.shape[1] == self.length:
            return
        self._check_unchanged()
        again = kept.shape[1]  # a decoder of speech that is entered here would give other bits
        for block, _ in blocks_of_part(open_sound(self._path), self._begin, self.length):
            if self._on_block is not None:
                self._on_block()
            if len(block) > again:
                yield block[again:]
            again = max(0, again - len(block))

    def _decoded(self, samples: int) -> Tensor:
        with Spool((self.channels,), folder=self._folder) as spool:
            spool.check_room(samples, self._path.name)
            try:
                for block in self.blocks():
                    spool.append(block[: samples - spool.length])
                    if spool.length == samples:
                        break
                self._check_unchanged()
                if spool.length < samples:
                    raise self._changed()
            except AudioError as error:
                raise UserError(f"{error}.") from error
            return spool.finish().T

    def _check_unchanged(self) -> None:
        """Whether the file is still the one that was counted, be it a copy with another date."""
        try:
            stamp = Stamp.of(self._path)
            unchanged = stamp == self._stamp or content_digest(self._path) == self._digest
        except OSError as error:
            raise AudioError(
                f"{self._path.name} was loaded and cannot be opened any more ({error.strerror}): put it back, or "
                "choose another file"
            ) from error
        if not unchanged:
            raise self._changed()
        self._stamp = stamp

    def _changed(self) -> AudioError:
        return AudioError(f"{self._path.name} has changed since it was loaded: queue the graph again")

    get, keys, values, items = Mapping.get, Mapping.keys, Mapping.values, Mapping.items

    def __getitem__(self, key: str) -> Any:
        if key == WAVEFORM:
            return self.first(self.length)[None]
        return {SAMPLE_RATE: self.sample_rate}[key]

    def __contains__(self, key: object) -> bool:
        return key in (WAVEFORM, SAMPLE_RATE)  # without a look at the samples

    def __iter__(self) -> Iterator[str]:
        return iter((WAVEFORM, SAMPLE_RATE))

    def __len__(self) -> int:
        return 2

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


Audio = Mapping[str, Any] | LongSound
"""ComfyUI's AUDIO: `{"waveform": [B, C, T], "sample_rate": Hz}`."""
