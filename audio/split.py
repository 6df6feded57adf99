"""One recording of several people -> a sound for each, silent where the others speak."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from ..spool import Spool
from .audio_clip import AudioClip
from .embeds import MAX_VOICES
from .segments import Segment

COMMAS = re.compile("[,\uff0c\u3001\n]")  # Chinese has wide ones
FADE_SECONDS = Fraction(1, 100)  # at both ends of a turn: too short to be heard, long enough for no click


@dataclass(frozen=True)
class Part:
    """What one speaker says: turns as (start, end) in seconds, in order, apart from each other."""

    speaker: str
    turns: list[tuple[Fraction, Fraction]]
    sound: AudioClip

    @property
    def seconds(self) -> float:
        """How long all turns are."""
        return float(sum(end - start for start, end in self.turns))


def choose_speakers(segments: Sequence[Segment], wanted: str = "") -> list[str]:
    """Whose voices are taken, in their order.

    Args:
        segments: in the order of their starts.
        wanted: names between commas or line ends, in any case; empty takes all by their first words.

    Raises:
        UserError: somebody who says nothing, somebody twice, or more than four.
    """
    known = list(dict.fromkeys(segment.speaker for segment in segments))
    by_name = {name.casefold(): name for name in reversed(known)}
    chosen = [name.strip() for name in COMMAS.split(wanted) if name.strip()]
    for name in chosen:
        if name.casefold() not in by_name:
            raise UserError(f"{name} is in speakers but not in the segments: there are {', '.join(known)}.")
    chosen = [by_name[name.casefold()] for name in chosen]
    if len(set(chosen)) < len(chosen):
        raise UserError(f"speakers names somebody twice ({', '.join(chosen)}): write each name once.")
    if len(chosen or known) > MAX_VOICES:
        raise UserError(
            f"{len(chosen or known)} people speak ({', '.join(chosen or known)}), and {MAX_VOICES} can be split: write "
            f"up to {MAX_VOICES} of them into speakers."
        )
    return chosen or known


def split_speakers(
    recording: AudioClip, segments: Sequence[Segment], speakers: Sequence[str], folder: Path | None = None
) -> list[Part]:
    """A sound for each speaker, of the recording's length, rate and channels.

    Where several speak at once, each of them gets the sound.

    Args:
        recording: any sound.
        segments: what `parse_segments` gives.
        speakers: names as they are in the segments.
        folder: where long sounds are kept.

    Raises:
        UserError: a segment begins after the end of the recording.
    """
    for segment in segments:
        if segment.start >= recording.seconds:
            raise UserError(
                f"Line {segment.line} of the segments begins at {float(segment.start):.2f} s, but the recording has "
                f"{float(recording.seconds):.2f} s: they belong to another recording."
            )
    parts = []
    for speaker in speakers:
        turns = _turns([segment for segment in segments if segment.speaker == speaker], recording.seconds)
        parts.append(Part(speaker, turns, _only(recording, turns, folder)))
    return parts


def _turns(segments: Sequence[Segment], end: Fraction) -> list[tuple[Fraction, Fraction]]:
    """The stretches that the segments cover together; what a fade would leave of a pause is no pause."""
    turns: list[tuple[Fraction, Fraction]] = []
    for segment in segments:
        if turns and segment.start <= turns[-1][1] + 2 * FADE_SECONDS:
            start, last = turns.pop()
            turns.append((start, min(end, max(last, segment.end))))
        else:
            turns.append((segment.start, min(end, segment.end)))
    return turns


def _only(recording: AudioClip, turns: Sequence[tuple[Fraction, Fraction]], folder: Path | None) -> AudioClip:
    """The recording where the turns are, and silence elsewhere; each turn is faded in and out within itself."""
    times, gains = [], []
    for start, end in turns:
        fade = min(FADE_SECONDS, (end - start) / 2)
        times += [float(at * recording.sample_rate) for at in (start, start + fade, end - fade, end)]
        gains += [0.0, 1.0, 1.0, 0.0]
    done = 0
    with Spool((recording.channels,), folder=folder) as spool:
        for chunk in recording.chunks():
            at = np.arange(done, done + chunk.shape[1])
            gain = torch.from_numpy(np.interp(at, times, gains, left=0.0, right=0.0)).float()
            spool.append((chunk * gain).T)
            done += chunk.shape[1]
        return AudioClip(spool.finish().T, recording.sample_rate)
