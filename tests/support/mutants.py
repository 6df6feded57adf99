"""Media files of many formats, and damaged copies of them: the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import files

HEADER_BYTES = 600
EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0x7FFF_FFFF_FFFF_FFFF)

SOUNDS = {
    "pcm.wav": ["-c:a", "pcm_s16le"],
    "float.wav": ["-c:a", "pcm_f32le"],
    "adpcm.wav": ["-c:a", "adpcm_ms"],
    "x.aiff": [],
    "x.au": [],
    "x.w64": [],
    "x.caf": [],
    "x.flac": [],
    "x.mp3": [],
    "vorbis.ogg": ["-c:a", "libvorbis"],
    "x.opus": ["-c:a", "libopus"],
    "x.m4a": ["-c:a", "aac"],
    "x.aac": ["-c:a", "aac"],
    "x.ac3": [],
    "x.wma": [],
    "x.tta": [],
    "x.wv": [],
    "x.mka": ["-c:a", "libopus"],
}
VIDEOS = {
    "x.mp4": ["-c:v", "libx264", "-g", "5", "-c:a", "aac"],
    "fragments.mp4": ["-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov", "-c:a", "aac"],
    "x.mkv": ["-c:v", "libx264", "-c:a", "libopus"],
    "x.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"],
    "x.mov": ["-c:v", "prores_ks", "-c:a", "pcm_s16le"],
    "x.avi": ["-c:v", "mpeg4", "-c:a", "libmp3lame"],
    "x.ts": ["-c:v", "libx264", "-c:a", "aac"],
    "x.flv": ["-c:v", "flv", "-c:a", "libmp3lame", "-ar", "44100"],
    "x.mpg": ["-c:v", "mpeg2video", "-c:a", "mp2"],
    "x.wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "x.gif": ["-an"],
}


def write_formats(folder: Path) -> list[Path]:
    """One small file of each format."""
    sound = files.voice(folder, 0.6, rate=44_100)
    picture = files.counter(0.6)
    for name, options in SOUNDS.items():
        files.ffmpeg("-i", sound, *options, folder / name)
    for name, options in VIDEOS.items():
        files.ffmpeg(
            *picture, "-i", sound, "-pix_fmt", "yuv420p" if name != "x.gif" else "rgb8", *options, folder / name
        )
    return [folder / name for name in (*SOUNDS, *VIDEOS)]


@dataclass(frozen=True)
class Mutant:
    """A damaged copy of a file."""

    name: str
    content: bytes


def mutants(formats: list[Path], count: int, seed: int) -> Iterator[Mutant]:
    """`count` damaged files, of every format in turn and with every damage."""
    contents = [path.read_bytes() for path in formats]
    for number in range(count):
        choice = random.Random(f"{seed} {number}")
        path, whole = formats[number % len(formats)], contents[number % len(formats)]
        damage = DAMAGES[number // len(formats) % len(DAMAGES)]
        content = damage(bytearray(whole), choice)
        if damage is _spliced:
            content[choice.randrange(len(content)) :] = choice.choice(contents)
        yield Mutant(f"{number:05}-{damage.__name__.strip('_')}-{path.name}", bytes(content))


def _cut_off(content: bytearray, choice: random.Random) -> bytearray:
    return content[: choice.randrange(len(content))]


def _cut_off_in_header(content: bytearray, choice: random.Random) -> bytearray:
    return content[: choice.randrange(min(HEADER_BYTES, len(content)))]


def _flipped_in_header(content: bytearray, choice: random.Random) -> bytearray:
    for _ in range(choice.choice((1, 2, 8, 30))):
        content[choice.randrange(min(HEADER_BYTES, len(content)))] ^= 1 << choice.randrange(8)
    return content


def _flipped_anywhere(content: bytearray, choice: random.Random) -> bytearray:
    for _ in range(choice.choice((1, 10, 200))):
        content[choice.randrange(len(content))] ^= 1 << choice.randrange(8)
    return content


def _extreme_number(content: bytearray, choice: random.Random) -> bytearray:
    """Some numbers of 1 to 8 bytes, most in a header or in the index at the end, become as large or small as can be."""
    for _ in range(choice.choice((1, 1, 3))):
        reach = min(HEADER_BYTES, len(content) - 8)
        at = choice.choice((choice.randrange(reach), len(content) - 8 - choice.randrange(reach)))
        width = choice.choice((1, 2, 4, 8))
        number = choice.choice(EXTREMES) & ((1 << 8 * width) - 1)
        content[at : at + width] = number.to_bytes(width, choice.choice(("little", "big")))
    return content


def _piece_missing(content: bytearray, choice: random.Random) -> bytearray:
    at = choice.randrange(len(content))
    del content[at : at + choice.choice((1, 7, 100, 5_000))]
    return content


def _piece_twice(content: bytearray, choice: random.Random) -> bytearray:
    at, length = choice.randrange(len(content)), choice.choice((1, 50, 4_000))
    content[at:at] = content[at : at + length]
    return content


def _piece_of_noise(content: bytearray, choice: random.Random) -> bytearray:
    at = choice.randrange(len(content))
    content[at : at + 300] = choice.randbytes(min(300, len(content) - at))
    return content


def _spliced(content: bytearray, choice: random.Random) -> bytearray:
    return content


DAMAGES: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    _cut_off,
    _extreme_number,
    _flipped_in_header,
    _cut_off_in_header,
    _flipped_anywhere,
    _extreme_number,
    _piece_missing,
    _flipped_in_header,
    _piece_twice,
    _piece_of_noise,
    _spliced,
)
