"""Frames and sound to a video file: one ffmpeg process, one encode, one pass.

The file is made in a hidden folder beside its target and moved when it is complete. Frames stream through
ffmpeg's stdin; the sound is a raw file on disk, since two pipes into one process would need a thread each.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import UserError, plain_text
from ..pixels import FramePacker, RawLayout
from ..read.audio_source import AudioError, AudioSource, as_source
from ..read.frame_source import FrameSource
from .audio_fit import AudioFit, FittedAudio, fit_audio
from .ffmpeg_process import FfmpegError, FfmpegProcess, find_ffmpeg
from .file_name import Target
from .formats import Encoder, VideoFormat
from .metadata import write_ffmetadata
from .publish import publish
from .workspace import workspace

log = logging.getLogger(__name__)

COMMON = ("-hide_banner", "-nostdin", "-v", "error", "-y")
# ffmpeg reads nothing but its stdin and the files named here: no network, no playlists of other files.
PROTOCOLS = ("-protocol_whitelist", "file,pipe,fd")
# Without accurate_rnd swscale rounds down: a color comes back up to 2.2 levels off instead of 1.6, at the same cost.
TO_BT709 = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd"
# Newer ffmpegs take color tags from the frames and older ones from the encoder's options: both are set.
FRAME_TAGS = "setparams=color_primaries=bt709:color_trc=bt709"
ENCODER_TAGS = ("-color_primaries", "bt709", "-color_trc", "bt709")


@dataclass(frozen=True)
class SaveSettings:
    """How to save.

    Attributes:
        format: container and codecs.
        crf: quality, 0 (best) to the format's highest; formats without the setting ignore it.
        audio_kbits: bit rate of lossy sound in kbit/s.
        fit: what to do when sound and picture differ in length.
        stop_without_sound: raise when the sound fails; else the silent video is kept.
    """

    format: VideoFormat
    _: KW_ONLY
    crf: int = 19
    audio_kbits: int = 192
    fit: AudioFit = AudioFit.TRIM_OR_PAD
    stop_without_sound: bool = False


@dataclass(frozen=True, kw_only=True)
class SavedVideo:
    """A finished file.

    Attributes:
        path: absolute.
        width, height: pixels, padding included.
        frames, frame_rate: number of frames, and frames per second.
        sound: its codec's name, sample rate in Hz, channels; None for a silent file.
        notes: sentences on what was changed on the way.
        warning: why there is no sound although there should be; None if all went well.
    """

    path: Path
    width: int
    height: int
    frames: int
    frame_rate: Fraction
    sound: AudioFacts | None
    notes: tuple[str, ...] = ()
    warning: str | None = None

    @property
    def seconds(self) -> float:
        """Length of the picture."""
        return float(self.frames / self.frame_rate)


@dataclass(frozen=True, kw_only=True)
class AudioFacts:
    """Sound as it is in the file."""

    codec: str
    sample_rate: int
    channels: int


@dataclass
class _Job:
    """What one save is made of, between its steps."""

    source: FrameSource
    settings: SaveSettings
    exe: str
    encoder: Encoder
    folder: Path
    progress: Callable[[int], None]
    check: Callable[[], None]
    tags: Path | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def output(self) -> Path:
        """The file in the making."""
        return self.folder / f"video{self.settings.format.suffix}"

    @property
    def keeps_alpha(self) -> bool:
        """Whether transparency goes into the file."""
        return self.source.channels == 4 and self.encoder.alpha_pixel_format is not None

    @property
    def layout(self) -> RawLayout:
        """The frames as ffmpeg gets them."""
        return RawLayout(
            height=self.encoder.padded(self.source.height),
            width=self.encoder.padded(self.source.width),
            channels=4 if self.keeps_alpha else 3,
            bits=self.encoder.feed_bits,
        )


def save_video(
    source: FrameSource,
    audio: Mapping[str, Any] | AudioSource | None,
    target: Target,
    settings: SaveSettings,
    tags: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda frames: None,
    check: Callable[[], None] = lambda: None,
) -> SavedVideo:
    """Encode `source` with `audio` into one file and return its facts.

    The memory needed does not grow with the length. Whatever ends the call, no process, thread or temporary
    file is left, and a file under a final name is complete.

    Args:
        source: the frames.
        audio: ComfyUI's AUDIO dict or an `AudioSource`; None for a silent video.
        target: folder and name; the counter is chosen when the file is complete.
        settings: format, quality, and what to do with the sound.
        tags: metadata to store, values are strings or what JSON can hold.
        progress: called with the number of frames written so far.
        check: called often; it may raise to interrupt.

    Raises:
        UserError: a mistake in the settings, no working ffmpeg, a folder that cannot be written, a full disk.
        AudioError: the sound failed and `stop_without_sound` is set.
        VideoError: ffmpeg failed on the picture; the message carries its reason.
    """
    exe = find_ffmpeg()
    settings.format.check_crf(settings.crf)
    encoder = settings.format.encoder_for(exe, source.width, source.height, source.frame_rate)
    with workspace(target.folder) as folder:
        job = _Job(source, settings, exe, encoder, folder, progress, check)
        job.notes += _picture_notes(job)
        with _explained(target.folder, OSError):
            if tags:
                job.tags = folder / "tags.txt"
                write_ffmetadata(job.tags, tags)
        sound, warning = _prepare_audio(job, audio)
        with _explained(target.folder, FfmpegError):
            frames, sound, warning = _encode_with_fallback(job, sound, warning)
        with _explained(target.folder, OSError):
            path = publish(job.output, target)
    facts = _audio_facts(sound, settings.format) if sound else None
    layout = job.layout
    return SavedVideo(
        path=path,
        width=layout.width,
        height=layout.height,
        frames=frames,
        frame_rate=source.frame_rate,
        sound=facts,
        notes=tuple(job.notes),
        warning=warning,
    )


class VideoError(RuntimeError):
    """The picture could not be encoded or written; no file was left."""


def _picture_notes(job: _Job) -> list[str]:
    """What the format changes about the picture, in sentences."""
    source, layout = job.source, job.layout
    notes = list(source.notes)
    if (layout.width, layout.height) != (source.width, source.height):
        notes.append(
            f"{job.settings.format.name} cannot hold {source.width}×{source.height}: padded to "
            f"{layout.width}×{layout.height} by repeating the last column and row."
        )
    if source.channels == 4 and not job.keeps_alpha:
        notes.append(
            f"{job.settings.format.name} has no transparency: the picture was laid over black "
            "(webm vp9, mkv ffv1 and mov prores keep it)."
        )
    return notes


def _prepare_audio(job: _Job, audio: Mapping[str, Any] | AudioSource | None) -> tuple[FittedAudio | None, str | None]:
    """The sound on disk as long as it shall be, or None and why there is none."""
    if audio is None:
        return None, None
    codec, source, path = job.settings.format.sound, job.source, job.folder / "sound.f32"
    try:
        fitted = fit_audio(
            as_source(audio),
            path,
            job.settings.fit,
            frames=source.count,
            frame_rate=source.frame_rate,
            max_channels=codec.max_channels,
            check=job.check,
        )
    except (AudioError, OSError) as error:
        path.unlink(missing_ok=True)  # it may have filled the disk
        return None, _without_audio(job, str(error), error)
    if fitted is None:
        job.notes.append("The sound is empty, so the video has none.")
        return None, None
    job.notes += fitted.notes
    sample_rate = codec.sample_rate_for(fitted.sample_rate)
    if sample_rate != fitted.sample_rate:
        job.notes.append(f"{codec.label} has no {fitted.sample_rate} Hz: the sound was resampled to {sample_rate} Hz.")
    return fitted, None


def _without_audio(job: _Job, reason: str, error: Exception) -> str:
    """The warning of a silent video, or the error if the user would rather have none."""
    if job.settings.stop_without_sound:
        raise AudioError(f"The sound could not be saved, and if_audio_fails is set to stop: {reason}") from error
    log.warning("The video is saved without sound: %s", plain_text(reason))
    return f"The video was saved without sound: {reason}"


def _encode_with_fallback(
    job: _Job, sound: FittedAudio | None, warning: str | None
) -> tuple[int, FittedAudio | None, str | None]:
    """Encode; if it fails and the sound is to blame, encode again without it."""
    try:
        return _encode(job, sound), sound, warning
    except FfmpegError as error:
        if sound is None or error.was_killed:
            raise
        fault = _audio_fault(job, sound)
        if fault is None:
            raise
        warning = _without_audio(job, str(fault), fault)
    return _encode(job, None), None, warning


def _audio_fault(job: _Job, sound: FittedAudio) -> FfmpegError | None:
    """The error that encoding the sound alone into the same container gives; None if that works."""
    codec = job.settings.format.sound
    arguments = [*COMMON, *_audio_input(sound), *_audio_output(job.settings, sound)]
    arguments += [*job.settings.format.container_arguments, "-f", job.settings.format.muxer]
    log.info("ffmpeg failed; trying the %s sound alone to learn whether it is the cause", codec.label)
    try:
        with FfmpegProcess(job.exe, [*arguments, f"file:{job.folder / 'sound-alone'}"]) as process:
            process.finish(job.check)
    except FfmpegError as error:
        return error
    return None


def _encode(job: _Job, sound: FittedAudio | None) -> int:
    """Run ffmpeg once over all frames; returns how many were written."""
    wanted = sound.frames if sound else job.source.count
    packer = FramePacker(job.layout)
    written = 0
    with FfmpegProcess(job.exe, _arguments(job, sound)) as process:
        for frame in islice(job.source.frames(), wanted):
            job.check()
            for band in packer.pack(frame):
                process.write(band, job.check)
            written += 1
            job.progress(written)
        if not written:
            raise UserError(
                f"The video announces {wanted} frames and gives none: it is damaged, connect another one or export "
                "it again."
            )
        process.finish(job.check)
    if written != wanted:
        job.notes.append(f"The video gave {written} frames where {wanted} were announced.")
    job.notes += packer.notes()
    return written


def _arguments(job: _Job, sound: FittedAudio | None) -> list[str]:
    """ffmpeg's arguments for the whole job."""
    video_format, layout, frame_rate = job.settings.format, job.layout, job.source.frame_rate
    arguments = [*COMMON, *PROTOCOLS, "-f", "rawvideo", "-pixel_format", layout.pixel_format]
    arguments += ["-video_size", f"{layout.width}x{layout.height}"]
    arguments += ["-r", f"{frame_rate.numerator}/{frame_rate.denominator}", "-i", "pipe:0"]
    arguments += _audio_input(sound) if sound else []
    if job.tags:
        arguments += [*PROTOCOLS, "-f", "ffmetadata", "-i", f"file:{job.tags}"]
    arguments += ["-map", "0:v:0", *_picture_output(job)]
    if sound:
        arguments += ["-map", "1:a:0", *_audio_output(job.settings, sound)]
    arguments += ["-map_metadata", str(1 + bool(sound)) if job.tags else "-1"]
    return [*arguments, *video_format.container_arguments, "-f", video_format.muxer, f"file:{job.output}"]


def _picture_output(job: _Job) -> list[str]:
    """Filter, encoder and color tags."""
    encoder = job.encoder
    pixel_format = encoder.alpha_pixel_format if job.keeps_alpha else encoder.pixel_format
    if encoder.stores_rgb:
        filters, tags = f"format={pixel_format},{FRAME_TAGS}", ["-color_range", "pc"]
    else:
        # The matrix too: FFmpeg 4 does not note it by itself, and its ProRes encoder asks the frames alone.
        filters = f"{TO_BT709},format={pixel_format},{FRAME_TAGS}:colorspace=bt709"
        tags = ["-colorspace", "bt709", "-color_range", "tv"]
    arguments = ["-vf", filters, "-c:v", encoder.name, *encoder.arguments(job.settings.crf)]
    return [*arguments, *(encoder.alpha_arguments if job.keeps_alpha else ()), *tags, *ENCODER_TAGS]


def _audio_input(sound: FittedAudio) -> list[str]:
    arguments = [*PROTOCOLS, "-f", "f32le", "-ar", str(sound.sample_rate), "-ac", str(sound.channels)]
    return [*arguments, "-i", f"file:{sound.path}"]


def _audio_output(settings: SaveSettings, sound: FittedAudio) -> list[str]:
    """Filter and encoder of the sound; its length is exact before and after resampling."""
    codec = settings.format.sound
    sample_rate = codec.sample_rate_for(sound.sample_rate)
    filters = codec.channel_filters(sound.channels)
    if sample_rate != sound.sample_rate:
        samples = max(1, round(Fraction(sound.samples * sample_rate, sound.sample_rate)))
        filters.append(f"aresample={sample_rate},apad=whole_len={samples},atrim=end_sample={samples}")
    arguments = ["-af", ",".join(filters)] if filters else []
    arguments += ["-c:a", codec.encoder, "-ar", str(sample_rate), *codec.arguments]
    if not codec.lossless:
        bits = codec.bits_per_second(settings.audio_kbits, sample_rate, sound.channels)
        arguments += ["-b:a", str(bits)]
    return arguments


def _audio_facts(sound: FittedAudio, video_format: VideoFormat) -> AudioFacts:
    codec = video_format.sound
    sample_rate = codec.sample_rate_for(sound.sample_rate)
    return AudioFacts(codec=codec.label, sample_rate=sample_rate, channels=sound.channels)


@contextmanager
def _explained(folder: Path, kind: type[FfmpegError | OSError]) -> Iterator[None]:
    """Turn errors of that kind into ones for a person: a full disk and the like are the user's to mend."""
    try:
        yield
    except kind as error:
        text = str(error)
        if "No space left" in text or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            raise UserError(
                f"The disk that holds {folder} is full, so the video was not saved and nothing was left behind: "
                "free some space and queue it again."
            ) from error
        if isinstance(error, OSError):
            raise UserError(
                f"{folder} cannot be written to ({error}): make it writable or choose another prefix."
            ) from error
        raise VideoError(f"The video could not be saved, and no file was left. {text}") from error
