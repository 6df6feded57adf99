"""Any sound file or sound track -> samples, to the sample.

Reading itself is `video_io.read`'s. Only the part that is asked for is decoded, and a long part is kept on disk; of a
very long one only the beginning, until somebody asks for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from ..spool import Spool
from ..video_io.read.audio_source import AudioError, AudioSource
from ..video_io.read.container import UnreadableError
from ..video_io.read.long_sound import LongSound, Stamp, blocks_of_part
from ..video_io.read.sound_file import open_sound
from .audio_clip import MAX_SAMPLE_RATE, MIN_SAMPLE_RATE, AudioClip, check_finite

MOST_TIMES_LARGER = 4_000  # silence becomes so much larger when it is decoded; a header that says more is wrong
# Of decoded samples: 11 minutes of stereo at 48 kHz. Few sounds are longer, so nearly all are decoded once; and whoever
# needs ten frames of a file with hours in it does not have all of them written to the disk.
KEPT_BYTES = 256 << 20

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


def decode_file(
    path: Path,
    start_seconds: float = 0.0,
    duration_seconds: float = 0.0,
    *,
    folder: Path | None = None,
    on_block: Callable[[], None] | None = None,
) -> AudioClip:
    """Decode a sound file, or the sound of a video, at its own rate and with all of its channels.

    Args:
        path: the file.
        start_seconds: where to begin; rounded to the nearest sample.
        duration_seconds: how much to take, rounded to the nearest sample; 0 for all of the rest.
        folder: where a long sound is kept (the system's temporary folder if None).
        on_block: called now and then, so that an interrupt can come through.

    Returns:
        The sound. Sample 0 is where the file's picture or sound begins, whichever is earlier: encoder delay is
        removed, a track that begins late is preceded by silence. One of more than `KEPT_BYTES` is counted to its end,
        and a `LongSound`.

    Raises:
        UserError: it is no sound, is empty, breaks off, or does not reach as far as was asked for; the disk is too
            small for it.
    """
    start, duration = _checked_seconds(start_seconds, "start_time"), _checked_seconds(duration_seconds, "duration")
    stamp = _stamp(path)
    source = _opened(path)
    count = round(duration * source.sample_rate) if duration else None
    if count == 0:
        raise UserError(
            f"duration {duration_seconds} s is less than one sample of {path.name}: give more, or 0 for all."
        )
    with Spool((source.channels,), folder=folder) as spool:
        seconds = duration or max(Fraction(0), Fraction(source.announced_seconds) - start)
        _check_room(spool, round(seconds * source.sample_rate), path.name, stamp.size)
        begin = round(start * source.sample_rate)
        try:
            end, length = _collect(source, begin, count, spool, path.name, on_block)
        except AudioError as error:
            raise UserError(f"{error}.") from error
        _check_end(path, Fraction(end, source.sample_rate), start, float(duration), count, length)
        kept = AudioClip(spool.finish().T, source.sample_rate)
    kept.check_finite(path.name)
    if length == kept.length:
        return kept
    long = LongSound(path, stamp, begin, length, kept.samples, source.sample_rate, folder=folder, on_block=on_block)
    return AudioClip(long, source.sample_rate)


def _checked_seconds(value: float, name: str) -> Fraction:
    if not (math.isfinite(value) and value >= 0):
        raise UserError(f"{name} is {value}, and 0 or more seconds are needed.")
    return Fraction(value)


def _stamp(path: Path) -> Stamp:
    """Of a file that is there and not empty."""
    try:
        if not path.is_file():
            raise UserError(f"The file {path.name} is not there: choose or upload another one.")
        stamp = Stamp.of(path)
    except OSError as error:
        raise UserError(
            f"{path.name} cannot be opened ({error.strerror}): check that it is there and may be read."
        ) from error
    if stamp.size == 0:
        raise UserError(f"{path.name} is empty (0 bytes): choose or export another file.")
    return stamp


def _opened(path: Path) -> AudioSource:
    try:
        source = open_sound(path)
    except AudioError as error:
        raise UserError(_no_sound(path, str(error))) from error
    except UnreadableError as error:
        raise UserError(_no_sound(path, f"nothing that can be read ({error.reason})")) from error
    if not MIN_SAMPLE_RATE <= source.sample_rate <= MAX_SAMPLE_RATE or source.channels < 1:
        raise UserError(
            f"{path.name} has {source.channels} channels at {source.sample_rate} Hz, and at least 1 channel and "
            f"{MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz are needed: convert it first."
        )
    return source


def _check_room(spool: Spool, rows: int, name: str, size: int) -> None:
    """Whether there is room for what is kept of so many samples, if a file of `size` bytes can hold them."""
    row_bytes = 4 * spool.row_shape[0]
    most = KEPT_BYTES // row_bytes
    if rows * row_bytes <= size * MOST_TIMES_LARGER:
        spool.check_room(min(rows, most), name if rows <= most else f"The beginning of {name}")


def _collect(
    source: AudioSource, begin: int, count: int | None, spool: Spool, name: str, on_block: Callable[[], None] | None
) -> tuple[int, int]:
    """Put the samples from `begin` on (`count` of them, or all) into `spool`, as many as are kept, and count the rest.

    Returns:
        Where reading ended, and how many samples there are.
    """
    most = KEPT_BYTES // (4 * source.channels)
    end = length = 0
    for block, end in blocks_of_part(source, begin, count):  # noqa: B007  # the last one is used
        if on_block is not None:
            on_block()
        if length < most:
            spool.append(block[: most - length])
        if length + len(block) > most and not np.isfinite(block).all():  # torch would take longer than the codec
            check_finite(torch.from_numpy(block.T), length, source.sample_rate, name)
        length += len(block)
    return end, length


def _check_end(path: Path, end: Fraction, start: Fraction, duration: float, count: int | None, kept: int) -> None:
    """Whether the file held what was asked for; `end` is where reading ended, in seconds."""
    if end == 0:
        raise UserError(f"{path.name} holds no samples: choose or export another file.")
    if kept == 0:
        raise UserError(f"{path.name} is {float(end):.3f} s long, and start_time is {float(start):g} s: start earlier.")
    if count is not None and kept < count:
        raise UserError(
            f"{path.name} is {float(end):.3f} s long, and {duration:g} s from {float(start):g} s on were "
            "asked for: shorten duration, or set it to 0 for all of the rest."
        )


def _no_sound(path: Path, reason: str) -> str:
    """What is in a file that holds no sound."""
    found = _kind_of(path) or reason or "no sound track"
    return f"{path.name} is or holds {found}, and a sound file or a video with sound is needed: choose another file."


def _kind_of(path: Path) -> str | None:
    """What a file is that is neither sound nor video, where that can be told from its first bytes."""
    with path.open("rb") as file:
        head = file.read(512)
    found = next((label for magic, label in MAGIC if head.startswith(magic)), None)
    if found is None and head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        found = "a WebP picture"
    if found is None and b"\0" not in head and _is_text(head):
        found = "a text file"
    return found


def _is_text(head: bytes) -> bool:
    """Whether the bytes are UTF-8 (a character may be cut off at the end)."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True
