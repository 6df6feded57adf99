"""Any sound file or sound track -> samples, to the sample.

libsndfile (through soundfile) reads WAV, FLAC, MP3, Ogg and their like; what it does not know goes through the bundled
ffmpeg. Only the part that is asked for is kept, and a long part is kept on disk.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UserError
from ..spool import Spool
from .audio_clip import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioClip
from .ffmpeg_audio import FfmpegAudio

if TYPE_CHECKING:
    import soundfile

log = logging.getLogger(__name__)

BLOCK_SAMPLES = 1 << 18  # of all channels together, per read
MP3_SLACK_SAMPLES = 2 * 1152  # a decoder may hold back up to two frames of a whole MP3
MAGIC = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a bitmap picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"{", "a text file"),
    (b"<", "a text file"),
)


@dataclass(kw_only=True)
class SampleSource:
    """An open file: `blocks` gives `[n, channels]` float32 from `first` on, until the file ends."""

    sample_rate: int
    channels: int
    first: int  # sample at which `blocks` begins
    blocks: Iterator[np.ndarray]
    declared: int | None = None  # samples that the file says it has, where that can be relied on


def decode_file(
    path: Path,
    start_seconds: float = 0.0,
    duration_seconds: float = 0.0,
    *,
    folder: Path | None = None,
    on_block: Callable[[], None] | None = None,
) -> AudioClip:
    """Decode a sound file, or the first sound track of a video, at its own rate and with all of its channels.

    Args:
        path: the file.
        start_seconds: where to begin; rounded to the nearest sample.
        duration_seconds: how much to take, rounded to the nearest sample; 0 for all of the rest.
        folder: where a long sound is kept (the system's temporary folder if None).
        on_block: called now and then, so that an interrupt can come through.

    Returns:
        The sound. Sample 0 is the file's time 0: encoder delay is removed, a track that begins late is preceded by
        silence.

    Raises:
        UserError: it is no sound, is empty, breaks off, or does not reach as far as was asked for.
    """
    start, duration = (
        _checked_seconds(v, n) for v, n in ((start_seconds, "start_time"), (duration_seconds, "duration"))
    )
    if not path.is_file():
        raise UserError(f"The file {path.name} is not there: choose or upload another one.")
    if path.stat().st_size == 0:
        raise UserError(f"{path.name} is empty (0 bytes): choose or export another file.")
    with _opened(path, start) as source:
        begin = round(start * source.sample_rate)
        count = round(duration * source.sample_rate) if duration else None
        if count == 0:
            raise UserError(
                f"duration {duration_seconds} s is less than one sample of {path.name}: give more, or 0 for all."
            )
        with Spool((source.channels,), folder=folder) as spool:
            end = _collect(source, begin, count, spool, on_block)
            _check_end(path, source, end, start, duration, spool.length)
            sound = AudioClip(spool.finish().T, source.sample_rate)
    sound.check_finite(path.name)
    return sound


def _checked_seconds(value: float, name: str) -> Fraction:
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"{name} is {value}, and 0 or more seconds are needed.")
    return Fraction(value)


def _collect(
    source: SampleSource, begin: int, count: int | None, spool: Spool, on_block: Callable[[], None] | None
) -> int:
    """Put the samples from `begin` on (`count` of them, or all) into `spool`; returns where reading ended."""
    position = source.first
    for block in source.blocks:
        if on_block is not None:
            on_block()
        skip = max(0, begin - position)
        position += len(block)
        wanted = block[skip:] if count is None else block[skip : skip + count - spool.length]
        spool.append(wanted)
        if count is not None and spool.length >= count:
            break
    return position


def _check_end(path: Path, source: SampleSource, end: int, start: Fraction, duration: Fraction, kept: int) -> None:
    """Whether the file held what was asked for; `end` is the sample after the last one that was read."""
    seconds = end / source.sample_rate
    complete = duration and kept == round(duration * source.sample_rate)
    if not complete and source.declared is not None and end < source.declared:
        raise UserError(
            f"{path.name} breaks off: it holds {seconds:.2f} of {source.declared / source.sample_rate:.2f} s; "
            "get the whole file, or export it again."
        )
    if end == 0:
        raise UserError(f"{path.name} holds no samples: choose or export another file.")
    if kept == 0:
        raise UserError(f"{path.name} is {seconds:.3f} s long, and start_time is {float(start):g} s: start earlier.")
    if duration and not complete:
        raise UserError(
            f"{path.name} is {seconds:.3f} s long, and {float(duration):g} s from {float(start):g} s on were "
            "asked for: shorten duration, or set it to 0 for all of the rest."
        )


@contextmanager
def _opened(path: Path, start: Fraction) -> Iterator[SampleSource]:
    """The file in the first program that can read it."""
    import soundfile

    try:
        # A raw file (by its suffix) wants to be told its rate: TypeError.
        file = soundfile.SoundFile(path)
    except (soundfile.LibsndfileError, TypeError) as error:
        log.debug("soundfile does not read %s: %s", path.name, error)
        with FfmpegAudio(path) as track:
            if not track.channels:
                raise UserError(_no_sound(path, track.reason)) from error
            _check_format(path, track.sample_rate, track.channels)
            yield SampleSource(
                sample_rate=track.sample_rate, channels=track.channels, first=0, blocks=_ffmpeg_blocks(path, track)
            )
        return
    with file:
        _check_format(path, file.samplerate, file.channels)
        first = 0
        # mpg123 seeks in MP3 by estimate, so the beginning is decoded and thrown away there.
        if file.format != "MP3" and file.seekable():
            first = min(round(start * file.samplerate), file.frames)
            file.seek(first)
        yield SampleSource(
            sample_rate=file.samplerate,
            channels=file.channels,
            first=first,
            blocks=_soundfile_blocks(path, file),
            declared=_declared_samples(path, file.format, file.frames),
        )


def _check_format(path: Path, sample_rate: int, channels: int) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE or channels < 1:
        raise UserError(
            f"{path.name} has {channels} channels at {sample_rate} Hz, and at least 1 channel and {MIN_SAMPLE_RATE} to "
            f"{MAX_SAMPLE_RATE} Hz are needed: convert it first."
        )


def _soundfile_blocks(path: Path, file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    import soundfile

    samples = max(1, BLOCK_SAMPLES // file.channels)
    try:
        while len(block := file.read(samples, dtype="float32", always_2d=True)):
            yield block
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{path.name} is damaged after {file.tell() / file.samplerate:.2f} s ({error.error_string}): "
            "get the whole file, or export it again."
        ) from error


def _ffmpeg_blocks(path: Path, track: FfmpegAudio) -> Iterator[np.ndarray]:
    yield from track.blocks()
    if track.failed():
        raise UserError(
            f"{path.name} is damaged or breaks off ({track.reason}): get the whole file, or export it again."
        )
    if track.reason:
        log.warning("ffmpeg complained about %s: %s", path.name, track.reason)


def _declared_samples(path: Path, kind: str, frames: int) -> int | None:
    """Samples that the file promises to hold, if it does.

    libsndfile takes a short WAV as it is, and only estimates the length of an MP3 without a count.
    """
    with path.open("rb") as file:
        head = file.read(10)
        if kind == "MP3":
            tag = 0
            if head.startswith(b"ID3"):  # its size is in four bytes of seven bits
                tag = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            file.seek(tag)
            start = file.read(2048)
            counted = b"Xing" in start or b"Info" in start
            return max(0, frames - MP3_SLACK_SAMPLES) if counted else None
        if kind in ("WAV", "WAVEX") and head.startswith(b"RIFF"):
            (riff_bytes,) = struct.unpack("<I", head[4:8])
            have, promised = path.stat().st_size - 8, riff_bytes
            # Programs that write to a pipe leave 0 or the greatest value; half a sample more or less is rounding.
            if 0 < have < promised - 64 and promised < 0x7FFF_0000 and frames:
                return math.ceil(frames * promised / have)
    return None


def _no_sound(path: Path, reason: str) -> str:
    """What is in a file that holds no sound."""
    with path.open("rb") as file:
        head = file.read(512)
    found = next((label for magic, label in MAGIC if head.startswith(magic)), None)
    if found is None and head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        found = "a WebP picture"
    if found is None and b"\0" not in head and _is_text(head):
        found = "a text file"
    if found is None:
        found = f"no sound that soundfile or ffmpeg can read ({reason})" if reason else "no sound track"
    return f"{path.name} is or holds {found}, and a sound file or a video with sound is needed: choose another file."


def _is_text(head: bytes) -> bool:
    """Whether the bytes are UTF-8 (a character may be cut off at the end)."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True
