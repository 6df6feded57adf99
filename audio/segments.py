"""Who speaks when, from the texts that diarization and subtitle programs write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from ..errors import UserError

# h:mm:ss.fff, mm:ss.fff or seconds; SubRip has a comma before the fraction.
CLOCK = re.compile(r"(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,9})(?:[.,](\d{1,99}))?")
CUE = re.compile(r"^\s*(\S+)\s*-->\s*(\S+)")
# How a subtitle names who speaks: WebVTT's voice tag, `[name]`, or `name:` of up to three words at the start of a line.
# Chinese has a wide colon (U+FF1A), and no space behind either.
VOICE_TAG = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
WIDE_COLON, WIDE_MARKS, CHINESE = "\uff1a", "\uff0c\u3002\uff01\uff1f\u3001", "\u3400-\u9fff"
WORD = rf"[^\s:,.!?\[\]{WIDE_COLON}{WIDE_MARKS}]+"
NAME = rf"(?!\d){WORD}(?: {WORD}){{0,2}}"
COLON = rf"(?:{WIDE_COLON}|:(?=[\s{CHINESE}]|$))"
NAMED_LINE = re.compile(rf"^\s*([-–—]?)\s*(?:\[([^\]]+)\]|({NAME}){COLON})")
OTHER_BLOCKS = ("WEBVTT", "NOTE", "STYLE", "REGION")  # of WebVTT
RTTM_SPEECH, RTTM_FIELDS = "SPEAKER", 8
EXAMPLE = "0.0 4.2 Anna"


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording in which somebody speaks; times in seconds, `line` counted from 1."""

    start: Fraction
    end: Fraction
    speaker: str
    line: int


def parse_segments(text: str) -> list[Segment]:
    """Read RTTM, SubRip (SRT), WebVTT, or lines `start end name` (Audacity's labels too).

    Formats: NIST's Rich Transcription evaluation plan (RT-09, appendix A) for RTTM; the W3C's WebVTT, sections 4 and 6.

    Returns:
        At least one segment, in the order of their starts. A cue in which several people are named is one for each.

    Raises:
        UserError: a line that cannot be read, with its number.
    """
    lines = text.lstrip("\ufeff").splitlines()
    if any("-->" in line for line in lines):
        found = list(_subtitles(lines))
    elif any(line.split()[:1] == [RTTM_SPEECH] for line in lines):
        found = [_rttm(line, number) for number, line in enumerate(lines, 1) if line.split()[:1] == [RTTM_SPEECH]]
    else:
        found = [_plain(line, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise UserError(
            "There are no segments: paste RTTM, SRT or VTT with names, or write a line start end name for each, such "
            f"as {EXAMPLE}."
        )
    return sorted(found, key=lambda segment: (segment.start, segment.line))


def _plain(line: str, number: int) -> Segment:
    parts = line.split(maxsplit=2)
    if len(parts) < 3:
        raise UserError(f"Line {number} of the segments is '{line.strip()}': write start end name, such as {EXAMPLE}.")
    start, end, name = parts
    return _segment(_seconds(start, number), _seconds(end, number), name, number)


def _rttm(line: str, number: int) -> Segment:
    """`SPEAKER file channel start duration <NA> <NA> name …`"""
    fields = line.split()
    if len(fields) < RTTM_FIELDS:
        raise UserError(
            f"Line {number} of the segments has {len(fields)} fields, and a SPEAKER line of RTTM has at least "
            f"{RTTM_FIELDS}: copy the file once more."
        )
    start = _seconds(fields[3], number)
    return _segment(start, start + _seconds(fields[4], number), fields[7], number)


def _subtitles(lines: list[str]) -> Iterator[Segment]:
    """The cues of SubRip and WebVTT, of each as many segments as it names people."""
    cues = list(_cues(lines))
    openers = {name for number, _, text in cues for name in _named(text[:1], set())}
    for number, times, text in cues:
        start, end = (_seconds(time, number) for time in times)
        names = _named(text, openers)
        if not names:
            raise UserError(
                f"The subtitle at line {number} of the segments does not say who speaks: begin its text with a name "
                "and a colon (Anna: Hello.), or with <v Anna> in VTT."
            )
        for name in names:
            yield _segment(start, end, name, number)


def _cues(lines: list[str]) -> Iterator[tuple[int, tuple[str, str], list[str]]]:
    """Line number, both times and the text of every cue: a line with an arrow, then text until an empty line."""
    number = 0
    while number < len(lines):
        line, first = lines[number], number + 1
        number = first
        cue = CUE.match(line)
        if cue or line.startswith(OTHER_BLOCKS):
            while number < len(lines) and lines[number].strip():
                number += 1
        if cue:
            yield first, (cue[1], cue[2]), lines[first:number]


def _named(text: list[str], known: set[str]) -> list[str]:
    """The people whom a cue names, each once.

    What stands before a colon inside of a speech is no name: below a cue's first line only what follows a dash, and
    who is `known`, counts.
    """
    if tagged := [name.strip() for line in text for name in VOICE_TAG.findall(line)]:
        return list(dict.fromkeys(tagged))
    names = []
    for index, line in enumerate(text):
        if match := NAMED_LINE.match(re.sub(r"<[^>]*>", "", line)):
            dash, name = match[1], (match[2] or match[3]).strip()
            if index == 0 or dash or name in known:
                names.append(name)
    return list(dict.fromkeys(names))


def _seconds(clock: str, number: int) -> Fraction:
    match = CLOCK.fullmatch(clock)
    if match is None:
        raise UserError(
            f"Line {number} of the segments has '{clock}' for a time: write seconds (4.2) or m:ss (0:04.2)."
        )
    hours, minutes, seconds, digits = match.groups()
    whole = 3600 * int(hours or 0) + 60 * int(minutes or 0) + int(seconds)
    return whole + Fraction(int(digits or 0), 10 ** len(digits or ""))


def _segment(start: Fraction, end: Fraction, name: str, number: int) -> Segment:
    if end <= start:
        raise UserError(
            f"Line {number} of the segments ends at {float(end):g} s and begins at {float(start):g} s: the end must "
            "come after the start."
        )
    return Segment(start, end, " ".join(name.split()), number)
