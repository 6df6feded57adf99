"""Voices -> what the sampler needs of them: an embedding per frame and speaker, and the sound for the file."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, combinations
from pathlib import Path

import torch
from torch import Tensor

from ..errors import UserError
from ..spool import Spool, release
from ..timebase import exact_frame_rate, frames_of_seconds, samples_covering_frames
from ..video_io.read.long_sound import Audio
from .audible import audible_frames
from .audio_clip import CHUNK_SAMPLES, AudioClip
from .input_digest import voice_digest
from .layer_sweep import Progress
from .loudness import gain_to_target, integrated_loudness
from .mix import mixed
from .options import COMBINE, MAX_VOICES
from .resampling import resampled
from .wav2vec import SAMPLE_RATE, Wav2VecEncoder

log = logging.getLogger(__name__)

SILENCE_FRAMES = 85  # after the end: one window of 81 frames, and what the 5-frame windows at its end look ahead
TRAINED_FRAME_RATE = Fraction(25)
MIN_FRAME_RATE, MAX_FRAME_RATE = 1, 240
SILENCE_SECONDS = SILENCE_FRAMES / TRAINED_FRAME_RATE  # the same time at least, at any other frame rate

CANCELED = 1e-3  # power that is left of the mean of channels, over that of the channels: 30 dB less


@dataclass(frozen=True, kw_only=True)
class AudioEmbeds:
    """The value of an `INFINITETALK_AUDIO` socket; one entry per speaker in both lists, float32 on the CPU.

    Attributes:
        features: the embeddings, `[frames, layers, channels]`: the encoding of the sound padded with silence to whole
            frames. Row k belongs to the time k / frame_rate. May be a mapped file.
        silence: `[S, layers, channels]`: rows `frames … frames + S - 1` of the same sound with silence appended; more
            than one window of 81 frames.
        fps: frames per second, as a socket carries it; `frame_rate` is what to compute with.
        frames: length of the video.
        sound: ComfyUI's AUDIO for the file, at the sources' own quality; at most as long as the video.
        audible: bool `[frames]`: the frames in which the voice is heard.
        digests: what each voice's embeddings were computed from (see `input_digest`).
    """

    features: list[Tensor]
    silence: list[Tensor]
    fps: float
    frames: int
    sound: Audio
    audible: list[Tensor]
    digests: list[str]

    @property
    def speakers(self) -> int:
        """Number of voices."""
        return len(self.features)

    @property
    def frame_rate(self) -> Fraction:
        """Exact frames per second."""
        return exact_frame_rate(self.fps)

    @property
    def same_voices(self) -> tuple[int, int] | None:
        """Numbers of the first two voices that say the same at the same time, counted from 1."""
        pairs = combinations(enumerate(self.digests, 1), 2)
        return next(((first, second) for (first, one), (second, other) in pairs if one == other), None)


def embed_voices(
    encoder: Wav2VecEncoder,
    voices: Sequence[AudioClip],
    *,
    combine: str = "parallel",
    normalize_loudness: bool = True,
    frame_rate: Fraction = TRAINED_FRAME_RATE,
    max_frames: int = 0,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> AudioEmbeds:
    """Encode every voice on the common timeline.

    Args:
        voices: one to four sounds.
        combine: `parallel` starts all at 0, `sequential` lets each begin where the one before it ends.
        normalize_loudness: bring each voice to -23 LUFS before it is encoded, measured on that voice alone, after
            `max_frames` cut it. The sound for the file keeps its level. Silence stays as it is.
        frame_rate: frames per second, 1 to 240.
        max_frames: longest video; embeddings and sound are cut alike. 0 for all of the sound.
        progress: called with steps done and steps in all.
        folder: where long sounds and embeddings are kept while they are used (the system's temporary one if None).

    Returns:
        Embeddings and sound of one length. A voice that is silent for a part of the video goes through the encoder as
        real silence.

    Raises:
        UserError: more voices than four, an unknown `combine`, a bad frame rate, samples that are no numbers.
    """
    _check_options(voices, combine, frame_rate, max_frames)
    starts = _starts(voices, combine)
    seconds = max(start + v.seconds for v, start in zip(voices, starts, strict=True))
    frames = frames_of_seconds(seconds, frame_rate)
    if 0 < max_frames < frames:
        frames = max_frames
        voices, starts = _cut(voices, starts, frames / frame_rate)
    for i, voice in enumerate(voices, 1):
        voice.check_finite(f"audio_{i}")
    samples = samples_covering_frames(frames, sample_rate=SAMPLE_RATE, frame_rate=frame_rate)
    embeddings: list[Tensor] = []
    silence: list[Tensor] = []
    audible: list[Tensor] = []
    digests: list[str] = []
    for voice, start in zip(voices, starts, strict=True):
        wave = _speech(voice, start, samples, normalize_loudness, folder)
        share = _share(progress, len(embeddings), len(voices))
        embeddings.append(encoder.encode(wave, frames, frame_rate=frame_rate, progress=share, folder=folder))
        silence.append(_silence_after(encoder, wave, frames, frame_rate, folder))
        audible.append(audible_frames(wave, frames))
        digests.append(
            voice_digest(
                voice.chunks(), encoder.digest, voice.sample_rate, start, frames, frame_rate, normalize_loudness
            )
        )
        release(wave)
    log.info("Audio embeds created, actual frames: %d", frames)
    sound = mixed(voices, starts, folder).to_audio()
    return AudioEmbeds(
        features=embeddings,
        silence=silence,
        fps=float(frame_rate),
        frames=frames,
        sound=sound,
        audible=audible,
        digests=digests,
    )


def _check_options(voices: Sequence[AudioClip], combine: str, frame_rate: Fraction, max_frames: int) -> None:
    if not 1 <= len(voices) <= MAX_VOICES:
        raise UserError(
            f"{len(voices)} voices are connected, and 1 to {MAX_VOICES} are possible: mix some of them first."
        )
    if combine not in COMBINE:
        raise UserError(f"combine is {combine}, and one of {', '.join(COMBINE)} is needed.")
    if not MIN_FRAME_RATE <= frame_rate <= MAX_FRAME_RATE:
        raise UserError(
            f"fps is {float(frame_rate):g}, and a frame rate from {MIN_FRAME_RATE} to {MAX_FRAME_RATE} is needed: "
            "25 suits InfiniteTalk."
        )
    if max_frames < 0:
        raise UserError(f"max_frames is {max_frames}, and 0 (all of the sound) or more is needed.")


def _starts(voices: Sequence[AudioClip], combine: str) -> list[Fraction]:
    """When each voice begins, in seconds."""
    if combine == "parallel":
        return [Fraction(0)] * len(voices)
    return list(accumulate((v.seconds for v in voices[:-1]), initial=Fraction(0)))


def _cut(
    voices: Sequence[AudioClip], starts: Sequence[Fraction], end: Fraction
) -> tuple[list[AudioClip], list[Fraction]]:
    """The voices up to the time `end` in seconds; one that has not begun by then keeps no sample."""
    return [v.cut(max(0, int((end - start) * v.sample_rate))) for v, start in zip(voices, starts, strict=True)], list(
        starts
    )


def _speech(voice: AudioClip, start: Fraction, samples: int, normalize: bool, folder: Path | None) -> Tensor:
    """The voice as the encoder hears it: mono, 16 kHz, at its place in `samples` samples of silence, `[samples]`."""
    if voice.length == 0:
        return torch.zeros(samples)
    mono = resampled(_heard_in_mono(voice), SAMPLE_RATE, mono=True, folder=folder)
    gain = 1.0
    if normalize:
        gain = gain_to_target(integrated_loudness((c[0].numpy() for c in mono.chunks()), SAMPLE_RATE))
    first = round(start * SAMPLE_RATE)
    with Spool(folder=folder) as spool:
        _append_silence(spool, min(first, samples))
        for chunk in mono.chunks():
            spool.append(chunk[0, : samples - spool.length] * gain)
        _append_silence(spool, samples - spool.length)
        return spool.finish()


def _heard_in_mono(voice: AudioClip) -> AudioClip:
    """The voice, or its first channel where the channels cancel each other out (one of two is wired upside down)."""
    together = apart = 0.0
    for chunk in voice.chunks() if voice.channels > 1 else ():
        together += float(chunk.mean(dim=0).square().sum())
        apart += float(chunk.square().mean(dim=0).sum())
        if together > CANCELED * apart:
            return voice
    if not apart:
        return voice
    log.warning("The channels of a voice cancel each other out (opposite phase): its first channel is encoded.")
    return AudioClip(voice.samples[:1], voice.sample_rate)


def _append_silence(spool: Spool, samples: int) -> None:
    """Append `samples` zeros without ever holding many of them."""
    block = torch.zeros(min(samples, CHUNK_SAMPLES))
    while samples > 0:
        spool.append(block[:samples])
        samples -= min(samples, len(block))


def _share(progress: Progress | None, done: int, voices: int) -> Progress | None:
    """The progress of one voice as its share of that of all `voices`, of which `done` are encoded."""
    if progress is None:
        return None
    return lambda step, steps: progress(done * steps + step, voices * steps)


def _silence_after(
    encoder: Wav2VecEncoder, wave: Tensor, frames: int, frame_rate: Fraction, folder: Path | None
) -> Tensor:
    """The embeddings that follow the sound's `frames`, in its own silence, `[S, layers, channels]`."""
    tail = max(SILENCE_FRAMES, math.ceil(SILENCE_SECONDS * frame_rate))
    total = samples_covering_frames(frames + tail, sample_rate=SAMPLE_RATE, frame_rate=frame_rate)
    with Spool(folder=folder) as spool:
        for start in range(0, len(wave), CHUNK_SAMPLES):
            spool.append(wave[start : start + CHUNK_SAMPLES])
            release(wave)
        _append_silence(spool, total - len(wave))
        return encoder.encode_end(spool.finish(), frames + tail, frames, frame_rate=frame_rate, folder=folder)
