"""A media file opened by its content: one file, no other, on a clock that only goes forward.

Names never reach FFmpeg: it gets an open file, so names in any script work, and a playlist has nothing that it could
open. Time stamps that jump (recordings that were joined, a receiver that lost its signal) are brought together again.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ...errors import UserError

if TYPE_CHECKING:
    import av

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """The bytes `start` to `stop` (not included) of a file."""

    whole: str | Path | BytesIO | Part
    start: int
    stop: int


Source = str | Path | BytesIO | Part

# No protocol has this name: whatever a file names, FFmpeg cannot open it.
OPEN_OPTIONS = {"protocol_whitelist": "none"}
# These name other files. Those of FFmpeg's names that stand here in full are no containers of sound or picture.
FORMATS_OF_OTHER_FILES = {"hls", "dash", "concat", "concatf", "imf", "sdp", "image2", "webm_dash_manifest", "vobsub"}
OPENS_BY_ITSELF = 1  # FFmpeg's AVFMT_NOFILE: the format wants a name, not an open file
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]", b"v=0\r\n", b"v=0\n")
LONGEST_START, BLANKS = 256, b"\xef\xbb\xbf \t\r\n"  # a mark of UTF-8 and empty lines may come first
MAX_PIXELS = 1 << 26  # twice an 8K picture; more would take gigabytes
JUMP_BACK_SECONDS = 0.5  # decoding times never go back, so this is another clock
JUMP_AHEAD_SECONDS = 3600  # longer than any pause that is meant
# Their clock starts anew when the sender does, and FFmpeg itself takes 10 s for such a jump.
CLOCKS_THAT_RESTART = {"mpegts", "mpeg", "rtp_mpegts"}
RESTART_SECONDS = 10
# FFmpeg's own decoders of these leave their transparency out, which is a second picture beside the first.
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
REORDERED_SECONDS = 60  # no picture waits so long for others that are shown before it


def name_of(source: Source) -> str:
    """What a message calls the source."""
    if isinstance(source, Part):
        return name_of(source.whole)
    return "The video" if isinstance(source, BytesIO) else Path(source).name


@contextmanager
def open_bytes(source: Source) -> Iterator[BinaryIO]:
    """The source from its start, with a position of its own.

    Raises:
        UserError: the file is not there or cannot be read.
    """
    if isinstance(source, Part):
        with open_bytes(source.whole) as file:
            yield BufferedReader(_Window(file, source.start, source.stop))
        return
    if isinstance(source, BytesIO):
        yield BytesIO(source.getvalue())  # shares the bytes until somebody writes
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise UserError(
                f"{name_of(source)} cannot be opened ({error.strerror}): check that it is there and may be read."
            ) from error
        yield file


class _Window(RawIOBase):
    """A part of an open file, as a file."""

    def __init__(self, file: BinaryIO, start: int, stop: int) -> None:
        self._file, self._start, self._length, self._position = file, start, stop - start, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # of any buffer there
        self._file.seek(self._start + self._position)
        data = self._file.read(max(0, min(len(buffer), self._length - self._position)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


@contextmanager
def open_container(source: Source) -> Iterator[av.container.InputContainer]:
    """The container in `source`, from its start.

    Raises:
        UserError: it is no medium, or one that names other files; PyAV cannot be loaded.
    """
    try:
        import av
    except (ImportError, OSError) as error:
        raise UserError(
            f"PyAV, which reads sound and video, cannot be loaded ({error}): reinstall it (pip install av)."
        ) from error
    with open_bytes(source) as file:
        if file.read(LONGEST_START).lstrip(BLANKS).startswith(PLAYLIST_STARTS):
            raise _names_other_files(source, "text")
        file.seek(0)
        try:
            # Titles in an old code page are no reason to refuse a file.
            container = av.open(file, "r", container_options=OPEN_OPTIONS, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise _unreadable(source, error) from error
        with container:
            by_name = container.format.flags & OPENS_BY_ITSELF
            if by_name or FORMATS_OF_OTHER_FILES & set(container.format.name.split(",")):
                raise _names_other_files(source, container.format.name)
            yield container


class UnreadableError(UserError):
    """The file is no medium that can be read.

    Attributes:
        reason: what FFmpeg says.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} cannot be read ({reason}): connect a file that plays.")
        self.reason = reason


def _unreadable(source: Source, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    return UnreadableError(name_of(source), reason)


def _names_other_files(source: Source, kind: str) -> UserError:
    return UserError(
        f"{name_of(source)} is a playlist or an image sequence ({kind}), which can name other files: connect a single "
        "sound or video file."
    )


def tick_of(stream: av.stream.Stream) -> Fraction:
    """The unit of the stream's time stamps in seconds."""
    return Fraction(stream.time_base or 0)


def seconds_of(frame: av.VideoFrame | av.AudioFrame) -> Fraction | None:
    """The frame's time stamp, if it has one."""
    return None if frame.pts is None else frame.pts * Fraction(frame.time_base or 0)


def _clock_of(packet: av.Packet, tick: float) -> int | None:
    """The packet's decoding time; its time of showing where the two are too far apart for both to be right."""
    dts, pts = packet.dts, packet.pts
    if dts is None or pts is None:
        return pts if dts is None else dts
    return pts if abs(pts - dts) * tick > REORDERED_SECONDS else dts


def _decoder_with_alpha(stream: av.stream.Stream) -> av.VideoCodecContext | None:
    """A decoder that gives the transparency of a stream which has one that its usual decoder leaves out."""
    import av

    if stream.metadata.get("alpha_mode") != "1" or stream.codec_context is None:
        return None
    name = WITH_ALPHA.get(stream.codec_context.codec.canonical_name)
    if name is None:
        return None
    try:
        decoder = av.CodecContext.create(name, "r")
    except ValueError:
        log.warning("This PyAV has no %s: the video's transparency is left out.", name)
        return None
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_type = "AUTO"
    decoder.options = {"max_pixels": str(MAX_PIXELS)}
    return decoder


class Packets:
    """The packets of some streams in the file's order, on one clock.

    Attributes:
        broken: after reading: whether the file ended in the middle of something.
        damaged: whether the newest packet could not be decoded.
        jumped: after reading: whether the clock had to be mended, which makes seeking impossible.
    """

    def __init__(self, container: av.container.InputContainer, streams: list[av.stream.Stream]) -> None:
        self.broken = False
        self.damaged = False
        self.jumped = False
        self._container, self._streams = container, streams
        self._decoders = {stream.index: _decoder_with_alpha(stream) for stream in streams}
        self._restarts = bool(CLOCKS_THAT_RESTART & set(container.format.name.split(",")))
        self._ahead = RESTART_SECONDS if self._restarts else JUMP_AHEAD_SECONDS
        self._shift = Fraction(0)  # of the newest clock; a stream takes it over when it gets there
        self._shifts: dict[int, Fraction] = {}
        self._last: dict[int, dict[str, float]] = {}  # the newest time of each clock: `dts` and `pts`
        self._ends: dict[int, tuple[int, Fraction]] = {}  # in ticks, and how far they are moved
        self._ticks: dict[int, Fraction] = {}
        self._seconds_per_tick: dict[int, float] = {}  # exact numbers are slow, and only needed at a jump

    def __iter__(self) -> Iterator[av.Packet]:
        import av

        packets = self._container.demux(*self._streams)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError) as error:
                log.warning("Reading ends early: %s", error)
                self.broken = True
                return
            self._mend(packet)
            yield packet

    def _mend(self, packet: av.Packet) -> None:
        """Move the packet onto the clock of those before it."""
        index = packet.stream.index
        tick = self._ticks.get(index)
        if tick is None:
            tick = self._ticks[index] = Fraction(packet.time_base or 0)
            self._seconds_per_tick[index] = float(tick)
        stamp = _clock_of(packet, self._seconds_per_tick[index])
        if stamp is None or not tick:
            return
        shift = self._shifts.get(index, Fraction(0))
        if not self._follows(packet, shift):
            end, began = self._end_of(index), stamp * tick
            shift = self._shift if self._follows(packet, self._shift) else end - began
            self._shift, self.jumped = shift, True
            log.info("The clock of the file jumps from %.3f to %.3f s.", end, began)
        self._shifts[index] = shift
        self._last.setdefault(index, {}).update(self._times(packet, shift))
        self._ends[index] = (stamp + (packet.duration or 0), shift)
        if shift:
            ticks = round(shift / tick)
            packet.dts = None if packet.dts is None else packet.dts + ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks

    def _end_of(self, index: int) -> Fraction:
        """Where the newest packet of a stream ends."""
        ticks, shift = self._ends[index]
        return ticks * self._ticks[index] + shift

    def _times(self, packet: av.Packet, shift: Fraction) -> dict[str, float]:
        """The packet's times on both clocks, those that it has, in seconds."""
        unit, moved = self._seconds_per_tick[packet.stream.index], float(shift)
        stamps = (("dts", packet.dts), ("pts", packet.pts))
        return {clock: stamp * unit + moved for clock, stamp in stamps if stamp is not None}

    def _follows(self, packet: av.Packet, shift: Fraction) -> bool:
        """Whether the packet comes after those before it.

        By either clock: times of showing go back where pictures are reordered, by minutes where each stands for long;
        times of decoding may be damaged, and Matroska has none: FFmpeg guesses them. But a picture that others need is
        never shown before those that were there before it.
        """
        last = self._last.get(packet.stream.index, {})
        back = JUMP_BACK_SECONDS if packet.is_keyframe or self._restarts else math.inf
        return any(
            clock not in last or last[clock] - back <= seconds <= last[clock] + self._ahead
            for clock, seconds in self._times(packet, shift).items()
        )

    def decode(self, packet: av.Packet) -> list[av.VideoFrame | av.AudioFrame]:
        """The frames that a packet completes; a damaged one costs its own frames only."""
        import av

        decoder = self._decoders[packet.stream.index]
        try:
            found = packet.decode() if decoder is None else decoder.decode(packet)
            frames: list[av.VideoFrame | av.AudioFrame] = [*found]
        except (av.error.FFmpegError, ValueError) as error:
            log.warning("A damaged part of the file is left out: %s", error)
            self.damaged = True
            return []
        if packet.size:  # the empty packet at the end only brings what was held back
            self.damaged = False
        return frames
