"""A sound for the file in place of the voices' own mix: a song, whose voice alone went to the encoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..timebase import samples_of_frames
from .audio_clip import AudioClip
from .embeds import AudioEmbeds
from .resampling import resampled

SAID_OFFSET_SECONDS = 0.010  # a quarter of a frame: what a shifted separator's output has to exceed to be told
SAID_LENGTH_FRAMES = 1
REACH_SECONDS = 1.0  # offsets that are looked for, either way

LEAST_HEARD_SECONDS = 0.25  # of voices, to look for them: less, in a test of some frames, is found anywhere or nowhere

COMPARED_RATE = 8000  # Hz: what makes a voice recognizable lies below 4 kHz
BLOCK = 1 << 15  # samples of the voices that are compared at a time
REACH = round(REACH_SECONDS * COMPARED_RATE)
FFT_SIZE = 1 << 16  # holds a block and the reach on both sides of it
CLEAR_PEAK = 8.0  # in standard deviations of all lags; the highest of 16,000 random ones is about 4


def with_soundtrack(
    embeds: AudioEmbeds, soundtrack: AudioClip, folder: Path | None = None
) -> tuple[AudioEmbeds, list[str]]:
    """The same embeddings with another sound for the file, and what does not fit, in sentences.

    Args:
        embeds: with the voices' mix as its sound; the length of the video stays.
        soundtrack: begins with the video; what is longer is left out.
        folder: where long sounds are kept while they are used.
    """
    soundtrack.check_finite("soundtrack")
    voices = AudioClip.from_audio(embeds.sound, "the voices")
    notes = [
        note
        for note in (
            _length_note(embeds, voices, soundtrack),
            _offset_note(voices, soundtrack, folder) if _heard_seconds(embeds) >= LEAST_HEARD_SECONDS else "",
        )
        if note
    ]
    cut = soundtrack.cut(
        samples_of_frames(embeds.frames, sample_rate=soundtrack.sample_rate, frame_rate=embeds.frame_rate)
    )
    return replace(embeds, sound=cut.to_audio()), notes


def _length_note(embeds: AudioEmbeds, voices: AudioClip, soundtrack: AudioClip) -> str:
    """What to say of a soundtrack that ends before the voices or goes on behind the video; empty if it fits."""
    frame = SAID_LENGTH_FRAMES / embeds.frame_rate
    found = f"The soundtrack has {float(soundtrack.seconds):.2f} s and the voices have {float(voices.seconds):.2f} s"
    if soundtrack.seconds < voices.seconds - frame:
        return f"{found}: the video ends in silence."
    if soundtrack.seconds > embeds.frames / embeds.frame_rate + frame:
        return f"{found}: the rest of the soundtrack is left out."
    return ""


def _heard_seconds(embeds: AudioEmbeds) -> Fraction:
    """How long any voice is heard."""
    return int(torch.stack(embeds.audible).any(dim=0).sum()) / embeds.frame_rate


def _offset_note(voices: AudioClip, soundtrack: AudioClip, folder: Path | None) -> str:
    """What to say of a soundtrack in which the voices stand elsewhere, or not at all; empty if they are in step."""
    seconds = offset_seconds(voices, soundtrack, folder)
    if seconds is None:
        return (
            f"The voices are not found in the soundtrack within {REACH_SECONDS:g} s of their time, so the lips may not "
            "fit what is heard: connect the sound that the voices were separated from."
        )
    if abs(seconds) <= SAID_OFFSET_SECONDS:
        return ""
    later = "later" if seconds > 0 else "earlier"
    return (
        f"The voices stand {abs(seconds) * 1000:.0f} ms {later} in the soundtrack than in their own sound, so the lips "
        "will not fit what is heard: shift one of the two."
    )


def offset_seconds(voices: AudioClip, soundtrack: AudioClip, folder: Path | None = None) -> float | None:
    """How much later a sound stands in another one, by the peak of their generalized cross-correlation.

    The spectra of both are made flat (SCOT: Carter, Nuttall and Cable, "The smoothed coherence transform", 1973), so
    that neither the pitch of the voice nor loud low notes of the music make peaks of their own.

    Returns:
        Seconds, negative if it stands earlier; None if it is not found within `REACH_SECONDS`. 0 for silence.
    """
    near = soundtrack.cut(math.ceil((voices.seconds + REACH_SECONDS) * soundtrack.sample_rate))
    first, second = (resampled(clip, COMPARED_RATE, mono=True, folder=folder) for clip in (voices, near))
    cross = np.zeros(FFT_SIZE // 2 + 1, np.complex128)
    power = np.zeros((2, FFT_SIZE // 2 + 1))
    for pair in _blocks(first, second):
        spectra = np.fft.rfft(pair, FFT_SIZE)
        cross += spectra[0].conj() * spectra[1]
        power += np.abs(spectra) ** 2
    if not power.max(axis=1).all():
        return 0.0
    flat = np.sqrt(np.prod(power + 1e-9 * power.max(axis=1, keepdims=True), axis=0))
    correlation = np.fft.irfft(cross / flat)
    lags = np.concatenate([correlation[-REACH:], correlation[: REACH + 1]])
    peak = int(lags.argmax())
    return (peak - REACH) / COMPARED_RATE if lags[peak] > CLEAR_PEAK * lags.std() else None


def _blocks(first: AudioClip, second: AudioClip) -> Iterator[NDArray[np.float64]]:
    """Blocks of the first sound, each with the stretch of the second in which it is looked for: `[2, FFT_SIZE]`."""
    for start in range(0, first.length, BLOCK):
        pair = np.zeros((2, FFT_SIZE))
        block = first.read(start, min(start + BLOCK, first.length))[0].numpy()
        pair[0, REACH : REACH + len(block)] = block
        begin = max(0, start - REACH)
        stretch = second.read(min(begin, second.length), min(start + BLOCK + REACH, second.length))[0].numpy()
        at = begin - (start - REACH)
        pair[1, at : at + len(stretch)] = stretch
        yield pair
