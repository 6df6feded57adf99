"""Frames and sound of a file, decoded while they are read, on one clock (see `tracks.py` for its zero)."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...errors import UserError
from .as_shown import Look
from .audio_source import BLOCK_SAMPLES, AudioError, AudioSource
from .channel_order import without_own_order
from .completeness import ends_early
from .container import Packets, Source, name_of, open_bytes, open_container, seconds_of, tick_of
from .joined_files import files_in
from .resampler import Resampler
from .sample_data import samples_break_off
from .timing import Grid, constant_rate
from .tracks import Track, Tracks, choose_tracks, prepare

if TYPE_CHECKING:
    import av

GAP_SECONDS = 0.05  # shorter ones are the rounding of time stamps or the codec's own frames
SEEK_SECONDS = 1  # what lies nearer is decoded on the way
# Formats without time stamps: what stands in the file follows on what stands before. FFmpeg counts for them, and
# begins anew at every join.
COUNTED = {"flac", "wav", "aiff", "tta", "wv", "ape"}  # their headers count samples
WITHOUT_CLOCK = COUNTED | {"mp3", "aac", "ac3", "eac3", "dts", "ogg", "au", "amr", "caf"}
WITH_EDIT_LIST = "mov"
MP3_HAS_COUNT = 1  # flag in the first frame, which tells about the others
MPEG1_SAMPLE_RATE = 32_000  # lower ones are MPEG-2's, whose frames are half as long


def _seconds(value: float) -> Fraction:
    """A time that came as a float, to the microsecond."""
    return Fraction(round(value * 1_000_000), 1_000_000)


class FileFrames:
    """The picture of a video file (or file in memory) as a `FrameSource` at a constant rate.

    Frame k is the last picture at or before k / `frame_rate`. A picture that begins later than the sound stands still
    first. More than 8 bits are kept (uint16), transparency too.

    Args:
        source: path or file in memory.
        start_seconds: the part begins here.
        duration_seconds: of the part that is used; 0: to the end.

    Raises:
        UserError: no video in it, a playlist, a file that breaks off, or nothing left in the part.
    """

    def __init__(self, source: Source, start_seconds: float = 0.0, duration_seconds: float = 0.0) -> None:
        self._source = source
        _check_alone(source)
        self._tracks = choose_tracks(source)
        self._picture = _picture(source, self._tracks)
        stamps, lasts, declared = self._scan()
        origin = self._tracks.zero + _seconds(start_seconds)
        self._grid = Grid(origin, constant_rate(stamps, self._tick, declared), self._tick)
        self.frame_rate = self._grid.frame_rate
        count = self._grid.count(stamps[-1] * self._tick, lasts)
        if duration_seconds:
            count = min(count, max(1, Grid(Fraction(0), self.frame_rate, self._tick).slot(_seconds(duration_seconds))))
        if count <= 0:
            raise UserError(f"There are no frames in {name_of(source)} from {start_seconds:g} s on: start earlier.")
        self.count = count
        _, first = next(self._pictures(0), (0, None))
        if first is None:
            raise UserError(f"{name_of(source)} is too damaged to be decoded: get the whole file, or export it again.")
        self._look = Look.of(first, self._pixel_aspect, self._transfer)
        self.notes = [f"{name_of(source)} is HDR: it was brought to SDR."] if self._look.is_hdr else []
        if first.interlaced_frame:
            self.notes.append(f"{name_of(source)} is interlaced, and combs stay in it: deinterlace it first.")
        self.height, self.width, self.channels = self._look.pixels(first).shape

    def frames(self, first: int = 0) -> Iterator[np.ndarray]:
        """Frames [H, W, 3 or 4] from number `first` on, uint8 or (from more than 8 bits) uint16.

        Only what is needed is decoded: the file is entered at the key picture before.
        """
        number, shown = first, None
        for slot, picture in self._pictures(first):
            if shown is not None and slot > number:
                ends = min(slot, self.count)
                yield from repeat(self._look.pixels(shown), ends - number)
                number = ends
            if number >= self.count:
                return
            shown = picture
        if shown is not None:
            yield from repeat(self._look.pixels(shown), self.count - number)

    def _scan(self) -> tuple[array[int], Fraction, Fraction | None]:
        """Time stamps of all pictures in ticks, how many seconds the last one lasts, and the declared rate."""
        from av import VideoStream

        first = self._picture.first
        with open_container(self._source) as container:
            streams = self._tracks.streams(container)
            stream = streams[0]
            assert isinstance(stream, VideoStream)
            self._tick, self._pixel_aspect = tick_of(stream), stream.sample_aspect_ratio
            self._transfer = stream.codec_context.color_trc
            declared = stream.average_rate or stream.guessed_rate
            stamps, last, unstamped = array("q"), (0, 0), 0
            packets = Packets(container, streams)
            for packet in packets:
                if packet.stream.index == stream.index and packet.size and not packet.is_discard:
                    stamp = packet.pts if packet.pts is not None else packet.dts
                    unstamped += stamp is None
                    if stamp is not None and stamp * self._tick >= first:
                        stamps.append(stamp)
                        last = max(last, (stamp, packet.duration or 0))
            self._can_seek = not packets.jumped
        if not stamps:  # a stream that has no clock at all, or one picture
            step = 1 / Fraction(declared or 1)
            stamps.extend(round((first + number * step) / self._tick) for number in range(max(1, unstamped)))
        stamps = array("q", sorted(stamps))
        with open_bytes(self._source) as file:
            if packets.broken or ends_early(file):
                holds = float((stamps[-1] - stamps[0]) * self._tick)
                raise UserError(
                    f"{name_of(self._source)} breaks off: it holds {holds:.2f} s of picture; get the whole file, or "
                    "export it again."
                )
        return stamps, last[1] * self._tick, declared and Fraction(declared)

    def _pictures(self, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decoded pictures, each with the first frame that shows it, from that of frame `first` or before on."""
        wanted = self._grid.time(first)
        if self._can_seek and wanted > self._picture.first + SEEK_SECONDS:
            entered = False
            for slot, picture in self._decoded(wanted):
                if not entered and slot > first:  # the file's index led too far
                    break
                entered = True
                yield slot, picture
            if entered:
                return
        yield from self._decoded(None)

    def _decoded(self, entry: Fraction | None) -> Iterator[tuple[int, av.VideoFrame]]:
        from av import VideoFrame, VideoStream

        with open_container(self._source) as container:
            streams = self._tracks.streams(container)
            stream = streams[0]
            assert isinstance(stream, VideoStream)
            prepare(stream)
            if entry is not None:
                container.seek(int(entry / self._tick), stream=stream)
            seconds, packets = self._picture.first, Packets(container, streams)
            for packet in packets:
                if packet.stream.index != stream.index:
                    continue
                for frame in packets.decode(packet):
                    assert isinstance(frame, VideoFrame)
                    stamp = seconds_of(frame)
                    seconds = seconds if stamp is None else stamp
                    yield self._grid.slot(seconds), frame
                    seconds += 1 / self.frame_rate


def _check_alone(source: Source) -> None:
    with open_bytes(source) as file:
        count = len(files_in(file))
    if count > 1:
        raise UserError(
            f"{name_of(source)} is {count} video files behind each other, and only the first would be shown: join "
            "them with a video editor, or connect them one by one."
        )


def _picture(source: Source, tracks: Tracks) -> Track:
    if tracks.picture is not None:
        return tracks.picture
    if tracks.undecodable_pictures:
        raise UserError(
            f"{name_of(source)} has no picture that can be decoded ({', '.join(tracks.undecodable_pictures)}): convert "
            "it to H.264 first."
        )
    raise UserError(f"{name_of(source)} has no picture, only sound: connect a video with a picture.")


def _sound(source: Source, tracks: Tracks) -> Track:
    if tracks.sound is not None:
        return tracks.sound
    if tracks.empty:
        raise UserError(f"{name_of(source)} holds no samples: choose or export another file.")
    codecs = ", ".join(tracks.undecodable_sounds)
    raise AudioError(f"no sound that can be decoded ({codecs})" if codecs else "no sound track")


class FileAudio:
    """The sound of a file as an `AudioSource`; time 0 is the start of the wanted part.

    Sound that begins later than the picture follows silence, gaps are silence. All of it comes in the channels and at
    the rate that it begins with.

    Args:
        source: path or file in memory.
        start_seconds: the part begins here.
        duration_seconds: of the part that is used; 0: to the end.

    Raises:
        AudioError: there is no sound that can be decoded.
    """

    def __init__(self, source: Source, start_seconds: float = 0.0, duration_seconds: float = 0.0) -> None:
        self._source = source
        self._tracks = choose_tracks(source)
        self._sound = _sound(source, self._tracks)
        self._start, self._duration = _seconds(start_seconds), _seconds(duration_seconds)
        self.notes: list[str] = []
        with open_container(source) as container:
            kinds = set(container.format.name.split(","))
            self._has_clock = not (WITHOUT_CLOCK & kinds) or self._tracks.picture is not None
            stream = self._stream_of(container)
            self._order = without_own_order(stream)
            frame = next(self._decoded(Packets(container, self._tracks.streams(container))), None)
            if frame is None:  # alone it was decodable, together with the picture it is not: `blocks` says so
                self.sample_rate, self._layout, self.channels = 48_000, "mono", 1
            else:
                self.sample_rate, self._layout = frame.sample_rate, frame.layout.name
                self.channels = frame.layout.nb_channels
                if self._layout != f"{self.channels} channels":  # named by the decoder, which has WAV's order
                    self._order = None
            declared = (stream.duration or 0) * tick_of(stream)
            self.announced_seconds = float(declared) or max(0, container.duration or 0) / 1_000_000
            counted = self._mp3_seconds() if "mp3" in kinds else declared if COUNTED & kinds else None
            self._declared = None if counted is None else min(declared, counted)
            self._end = None
            if WITH_EDIT_LIST in kinds and declared:
                self._end = (stream.start_time or 0) * tick_of(stream) + declared

    def blocks(self) -> Iterator[np.ndarray]:
        """Float32 samples [n, channels], in order, none empty.

        Raises:
            AudioError: the sound breaks off.
        """
        skip = round(self._start * self.sample_rate)
        left = round(self._duration * self.sample_rate) if self._duration else None
        for block in self._placed():
            block = block if self._order is None else np.take(block, self._order, axis=1)
            block, skip = block[skip:], max(0, skip - len(block))
            block = block if left is None else block[:left]
            if len(block):
                yield block
            if left is not None:
                left -= len(block)
                if left == 0:
                    return

    def _placed(self) -> Iterator[np.ndarray]:
        """The whole sound from the file's zero, silence where there is none."""
        position = 0
        with open_container(self._source) as container:
            without_own_order(self._stream_of(container))
            packets = Packets(container, self._tracks.streams(container))
            resampler = Resampler(self.sample_rate, self._layout)
            for frame in self._decoded(packets):
                stamp = seconds_of(frame) if self._has_clock or not position else None
                if stamp is not None:
                    begins = round((stamp - self._tracks.zero) * self.sample_rate)
                    gap = begins - position
                    if gap > GAP_SECONDS * self.sample_rate or (position == 0 and gap > 0):
                        for start in range(0, gap, BLOCK_SAMPLES):
                            yield np.zeros((min(BLOCK_SAMPLES, gap - start), self.channels), np.float32)
                        position = begins
                for block in resampler.convert(frame, self._within_edit(frame)):
                    position += len(block)
                    yield block
            for block in resampler.rest():
                position += len(block)
                yield block
        self._check_end(packets, Fraction(position, self.sample_rate))

    def _stream_of(self, container: av.container.InputContainer) -> av.AudioStream:
        from av import AudioStream

        stream = container.streams[self._sound.index]
        assert isinstance(stream, AudioStream)
        return stream

    def _within_edit(self, frame: av.AudioFrame) -> int:
        """Samples of the frame that are heard: the last one of an MP4 may hold more than its edit list shows."""
        stamp = None if self._end is None else seconds_of(frame)
        if self._end is None or stamp is None:
            return frame.samples
        heard = round((self._end - stamp) * frame.sample_rate)
        return heard if 0 < heard < frame.samples else frame.samples

    def _decoded(self, packets: Packets) -> Iterator[av.AudioFrame]:
        from av import AudioFrame

        for packet in packets:
            if packet.stream.index == self._sound.index:
                for frame in packets.decode(packet):
                    assert isinstance(frame, AudioFrame)
                    if frame.samples:
                        yield frame

    def _check_end(self, packets: Packets, held: Fraction) -> None:
        with open_bytes(self._source) as file:
            early = packets.broken or ends_early(file) or samples_break_off(file)
        if not held:
            raise AudioError(
                f"{name_of(self._source)} holds sound that is too damaged to be decoded: get the whole file, or "
                "export it again"
            )
        declared = self._declared or Fraction(0)
        short = held < declared - Fraction(GAP_SECONDS)
        if short and packets.damaged:
            raise AudioError(
                f"{name_of(self._source)} is damaged after {float(held):.2f} of {float(declared):.2f} s: "
                "get the whole file, or export it again"
            )
        if early or short:
            whole = f" of {float(declared):.2f}" if short else ""
            raise AudioError(
                f"{name_of(self._source)} breaks off: it holds {float(held):.2f}{whole} s; get the whole file, or "
                "export it again"
            )

    def _mp3_seconds(self) -> Fraction | None:
        """How long an MP3 is by its own count of frames; FFmpeg guesses where it has none, or where others follow."""
        with open_bytes(self._source) as file:
            head, tag = file.read(10), 0
            if head.startswith(b"ID3"):  # its size is in four bytes of seven bits
                tag = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
            file.seek(tag)
            start = file.read(2048)
        mark = max(start.find(b"Xing"), start.find(b"Info"))
        if mark < 0 or not start[mark + 7] & MP3_HAS_COUNT:
            return None
        samples = 1152 if self.sample_rate >= MPEG1_SAMPLE_RATE else 576
        return Fraction(samples * int.from_bytes(start[mark + 8 : mark + 12], "big"), self.sample_rate)


@dataclass(frozen=True)
class UndecodableAudio:
    """A sound that nobody can decode, as an `AudioSource`: who reads it is told so."""

    reason: str
    sample_rate: ClassVar = 48_000
    channels: ClassVar = 1
    announced_seconds: ClassVar = 0.0
    notes: ClassVar[list[str]] = []

    def blocks(self) -> Iterator[np.ndarray]:
        """Nothing.

        Raises:
            AudioError: always.
        """
        raise AudioError(self.reason)


def sound_of(source: Source, start_seconds: float = 0.0, duration_seconds: float = 0.0) -> AudioSource | None:
    """The sound of a part of a video (see `FileAudio`); None if it has none."""
    tracks = choose_tracks(source)
    if tracks.sound is not None:
        return FileAudio(source, start_seconds, duration_seconds)
    if not tracks.undecodable_sounds:
        return None
    codecs = ", ".join(tracks.undecodable_sounds)
    return UndecodableAudio(f"the sound of {name_of(source)} cannot be decoded ({codecs})")
