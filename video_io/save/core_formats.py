"""Containers and codecs by the names that ComfyUI's own Save Video gives to `VideoInput.save_to`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from ...errors import UserError
from .formats import (
    AAC,
    AOM_AV1,
    CONTAINER_MOV_FLAGS,
    OPUS,
    SVT_AV1,
    VP9,
    X264,
    X265,
    AudioCodec,
    Encoder,
    VideoFormat,
)


@dataclass(frozen=True)
class _Container:
    """A container: file suffix, ffmpeg's name, sound codec, the codecs that it takes (the usual one first)."""

    suffix: str
    muxer: str
    sound: AudioCodec
    codecs: tuple[str, ...]
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Codec:
    """A picture codec: its encoders, the CRF when none is asked for (core's own for AV1) and the highest."""

    encoders: tuple[Encoder, ...]
    usual_crf: int
    max_crf: int


CONTAINERS = {
    "mp4": _Container(".mp4", "mp4", AAC, ("h264", "h265", "av1"), CONTAINER_MOV_FLAGS),
    "mkv": _Container(".mkv", "matroska", AAC, ("h264", "h265", "av1", "vp9")),
    "webm": _Container(".webm", "webm", OPUS, ("av1", "vp9")),
}
CODECS = {
    "h264": _Codec((X264,), 19, 51),
    "h265": _Codec((X265,), 19, 51),
    "av1": _Codec((SVT_AV1, AOM_AV1), 30, 63),
    "vp9": _Codec((VP9,), 30, 63),
}


def core_format(container: str, codec: str, path: Path | None) -> tuple[VideoFormat, int]:
    """The format for core's names and the CRF that is usual for it.

    Args:
        container: core's enum member or its value; "auto" goes by the suffix of `path`, else MP4.
        codec: core's enum member or its value; "auto" is the container's usual one.
        path: of the file, if it has one.

    Raises:
        UserError: names that we cannot write or that do not go together.
    """
    container_name, codec_name = _name(container), _name(codec)
    if container_name == "auto":
        suffixes = {entry.suffix: name for name, entry in CONTAINERS.items()}
        container_name = suffixes.get(path.suffix.lower() if path else "", "mp4")
    if container_name not in CONTAINERS:
        raise UserError(f"There is no container {container_name!r} here: choose one of {', '.join(CONTAINERS)}.")
    chosen = CONTAINERS[container_name]
    codec_name = chosen.codecs[0] if codec_name == "auto" else codec_name
    if codec_name not in chosen.codecs:
        raise UserError(
            f"A {container_name} file cannot be written with {codec_name!r} here: choose one of "
            f"{', '.join(chosen.codecs)}."
        )
    picture = CODECS[codec_name]
    video_format = VideoFormat(
        name=f"{container_name} {codec_name}",
        suffix=chosen.suffix,
        muxer=chosen.muxer,
        mime=f"video/{codec_name}-{container_name}",
        encoders=picture.encoders,
        sound=chosen.sound,
        max_crf=picture.max_crf,
        container_arguments=chosen.arguments,
    )
    return video_format, picture.usual_crf


def _name(value: str | Enum | None) -> str:
    """Core's enums are strings with a `value`; None is what older callers leave out."""
    text = value.value if isinstance(value, Enum) else value
    return str(text or "auto").lower()
