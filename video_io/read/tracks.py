"""Which picture and which sound of a file are meant, and where its time begins."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ...errors import UserError
from .channel_order import without_own_order
from .container import JUMP_AHEAD_SECONDS, MAX_PIXELS, Packets, Source, name_of, open_container, seconds_of

if TYPE_CHECKING:
    import av

# A track that gives no frame in so many packets (some 10 s of sound, or of pictures) is none that can be decoded.
MAX_PACKETS_WITHOUT_FRAME = 500


@dataclass(frozen=True)
class Track:
    """A stream that can be decoded: its index in the file, and the time stamp of its first frame in seconds."""

    index: int
    first: Fraction


@dataclass(frozen=True)
class Tracks:
    """The chosen picture and sound; None where there is none that can be decoded.

    Attributes:
        undecodable_pictures, undecodable_sounds: names of the codecs of tracks that were passed over.
        empty: whether there are tracks without anything in them.
    """

    picture: Track | None
    sound: Track | None
    undecodable_pictures: tuple[str, ...] = ()
    undecodable_sounds: tuple[str, ...] = ()
    empty: bool = False

    @property
    def zero(self) -> Fraction:
        """Time stamp in seconds at which the file begins: where picture or sound does, whichever is earlier."""
        return min((track.first for track in (self.picture, self.sound) if track), default=Fraction(0))

    def streams(self, container: av.container.InputContainer) -> list[av.stream.Stream]:
        """The chosen streams of the opened file. Both are read even if one is wanted: their clock is one."""
        return [container.streams[track.index] for track in (self.picture, self.sound) if track]


def choose_tracks(source: Source) -> Tracks:
    """Look at the file's tracks: the default one of each kind, else the first one that can be decoded.

    Raises:
        UserError: the file is no medium, or names other files; its clock is damaged.
    """
    passed_pictures: list[str | None] = []
    passed_sounds: list[str | None] = []
    with open_container(source) as container:
        pictures = [stream.index for stream in _in_order(container.streams.video)]
        sounds = [stream.index for stream in _in_order(container.streams.audio)]
    picture = _first_decodable(source, pictures, passed_pictures)
    sound = _first_decodable(source, sounds, passed_sounds)
    if picture and sound and abs(picture.first - sound.first) > JUMP_AHEAD_SECONDS:
        raise UserError(
            f"{name_of(source)} is damaged: its picture begins at {float(picture.first):.0f} s and its sound at "
            f"{float(sound.first):.0f} s; get the whole file, or export it again."
        )
    undecodable = [tuple(codec for codec in passed if codec) for passed in (passed_pictures, passed_sounds)]
    return Tracks(picture, sound, undecodable[0], undecodable[1], None in [*passed_pictures, *passed_sounds])


def _in_order(streams: tuple[av.stream.Stream, ...]) -> list[av.stream.Stream]:
    """Default tracks first, as players take them; cover images are no picture."""
    from av.stream import Disposition

    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    real = [stream for stream in streams if not stream.disposition & covers]
    return sorted(real, key=lambda stream: not stream.disposition & Disposition.default)


def _first_decodable(source: Source, indices: list[int], passed_over: list[str | None]) -> Track | None:
    """The first track with a frame; `passed_over` gets the codecs of those before, None for an empty one."""
    for index in indices:
        with open_container(source) as container:
            stream = container.streams[index]
            if stream.codec_context is None:
                passed_over.append(f"track {index}")
                continue
            first = _first_time(container, stream)
            if isinstance(first, Fraction):
                return Track(index, first)
            passed_over.append(stream.codec_context.name if first else None)
    return None


def _first_time(container: av.container.InputContainer, stream: av.stream.Stream) -> Fraction | int:
    """The time of the first frame that is shown or heard; if there is none, how many packets were tried."""
    from av import AudioStream, VideoStream

    if isinstance(stream, VideoStream):
        prepare(stream)
    elif isinstance(stream, AudioStream):
        without_own_order(stream)
    tried, packets = 0, Packets(container, [stream])
    for packet in packets:
        tried += bool(packet.size)
        for frame in packets.decode(packet):
            if getattr(frame, "samples", 1):  # a piece of sound may be all priming
                return seconds_of(frame) or Fraction(0)
        if tried > MAX_PACKETS_WITHOUT_FRAME:
            break
    return tried


def prepare(stream: av.VideoStream) -> None:
    """Let a picture be decoded by all cores, unless it is too large to be meant."""
    stream.thread_type = "AUTO"
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
