"""Frames and samples stand at their own time stamps; zero is where the picture or the sound begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from infinitetalk.audio.decode import decode_file
from infinitetalk.video_io.read.video_file import FileAudio, FileFrames

from ....support import files, media

LEVELS = 0.05  # seconds of `files.counter` that coding may be off: two levels of gray


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """Four seconds of a picture that tells the time, and of a voice."""
    picture, sound = tmp_path / "picture.mkv", files.voice(tmp_path, 4)
    files.ffmpeg(*files.counter(4), "-c:v", "libx264", "-crf", "1", "-g", "20", picture)
    return picture, sound


def merged(path: Path, sources: tuple[Path, Path], *, picture_late: float = 0.0, sound_late: float = 0.0) -> Path:
    """Picture and sound in one file, either of them late."""
    both = path.with_name(f"both{path.suffix}")
    codec = ("mpeg4", "-q:v", "1", "-g", "20") if path.suffix == ".avi" else ("copy",)
    files.ffmpeg("-i", sources[0], "-i", sources[1], "-c:v", *codec, "-c:a", "aac", both)
    late = ["-itsoffset", picture_late, "-i", both, "-itsoffset", sound_late, "-i", both]
    files.ffmpeg(*late, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    return path


def heard_late(path: Path, sound: Path) -> float:
    """By how many seconds the file's sound is late."""
    source = FileAudio(path)
    heard = np.concatenate(list(source.blocks()))
    return media.samples_late(heard[:, 0], files.samples_of(sound)[:, 0]) / source.sample_rate


def times(path: Path) -> np.ndarray:
    """The time that each frame shows."""
    return np.array([files.shown_seconds(frame) for frame in FileFrames(path).frames()])


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
@pytest.mark.parametrize("late", [0.5, 1.5])
def test_sound_that_begins_late_is_silence_first(tmp_path: Path, sources, suffix: str, late: float):
    path = merged(tmp_path / f"late{suffix}", sources, sound_late=late)
    priming = 1024 / 48_000  # a transport stream cannot mark it
    assert heard_late(path, sources[1]) == pytest.approx(late, abs=priming + 0.002)
    assert decode_file(path).length == sum(len(block) for block in FileAudio(path).blocks())


@pytest.mark.parametrize("suffix", [".ts", ".mp4", ".mkv"])
def test_a_picture_that_begins_late_stands_still_first(tmp_path: Path, sources, suffix: str):
    path = merged(tmp_path / f"late{suffix}", sources, picture_late=1.0)
    shown = times(path)
    assert len(shown) == pytest.approx(125, abs=1)
    assert np.abs(shown[:25]).max() < LEVELS
    assert np.abs(shown[26:] - np.arange(1, 100)[: len(shown) - 26] / 25).max() < LEVELS + 0.04
    assert abs(heard_late(path, sources[1])) <= 0.022


@pytest.mark.parametrize(
    "options", [("-use_editlist", "0"), ("-movflags", "frag_keyframe+empty_moov"), ("-movflags", "faststart")]
)
def test_sound_that_begins_before_the_picture_is_all_kept(tmp_path: Path, sources, options: tuple[str, ...]):
    both = merged(tmp_path / "early.mkv", sources, picture_late=0.5)
    path = tmp_path / "early.mp4"
    files.ffmpeg("-i", both, "-c", "copy", *options, path)
    length = sum(len(block) for block in FileAudio(path).blocks()) / 48_000
    assert length >= 4 - 0.001
    assert all(len(block) for block in FileAudio(path).blocks())


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mov"])
def test_a_part_that_begins_after_many_pieces_of_sound_is_not_taken_for_the_end(tmp_path: Path, sources, suffix: str):
    """What lies before it are empty pieces to whoever wants the part."""
    path = merged(tmp_path / f"x{suffix}", sources)
    for begins, lasts in ((2.5, 0.5), (3.5, 0.0), (0.02, 0.1)):
        part = FileAudio(path, begins, lasts)
        blocks = list(part.blocks())
        assert all(len(block) for block in blocks)
        assert sum(map(len, blocks)) / part.sample_rate == pytest.approx(lasts or 4 - begins, abs=0.05)
        assert np.abs(np.concatenate(blocks)).max() > 0.05


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".flv"])
def test_a_video_whose_sound_begins_before_its_picture_is_saved_with_all_of_it(tmp_path: Path, sources, save, suffix):
    early = merged(tmp_path / f"early{suffix}", sources, picture_late=0.5)
    saved = save(FileFrames(early), FileAudio(early), stop_without_sound=True)
    assert saved.warning is None
    assert heard_late(saved.path, sources[1]) == pytest.approx(0, abs=0.022)
    assert np.abs(times(saved.path)[:12]).max() < LEVELS  # the picture stands still first


def test_a_gap_in_the_sound_is_silence(tmp_path: Path):
    sound = files.voice(tmp_path, 4)
    gap = "aselect='not(between(t,1,2.5))'"
    files.ffmpeg("-i", sound, "-af", gap, "-c:a", "libopus", "-f", "matroska", tmp_path / "gap.mka")
    heard = np.concatenate(list(FileAudio(tmp_path / "gap.mka").blocks()))[:, 0]
    assert len(heard) / 48_000 == pytest.approx(4, abs=0.05)
    assert np.abs(heard[int(1.2 * 48_000) : int(2.3 * 48_000)]).max() == 0


@pytest.mark.parametrize("kept", ["not(between(t,0.5,3.0))", "lt(t,1)+gt(t,3.9)", "not(mod(n,3))", "lt(mod(n,10),4)"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_of_variable_timing_are_shown_at_their_times(tmp_path: Path, kept: str, suffix: str):
    path = tmp_path / f"variable{suffix}"
    files.ffmpeg(*files.counter(4), "-vf", f"select='{kept}'", "-fps_mode", "vfr", "-c:v", "libx264", "-crf", "1", path)
    frames = FileFrames(path)
    shown, now = times(path), np.arange(frames.count) / float(frames.frame_rate)
    written = np.array([t for t in np.arange(100) / 25 if _keeps(kept, t)])
    wanted = written[np.maximum(np.searchsorted(written, now + 1e-3, side="right") - 1, 0)]
    assert np.abs(shown - wanted).max() < LEVELS
    assert frames.count / frames.frame_rate == pytest.approx(written[-1] + 0.04, abs=0.13)


def _keeps(expression: str, seconds: float) -> bool:
    number = round(seconds * 25)
    return {
        "not(between(t,0.5,3.0))": not 0.5 <= seconds <= 3.0,
        "lt(t,1)+gt(t,3.9)": seconds < 1 or seconds > 3.9,
        "not(mod(n,3))": number % 3 == 0,
        "lt(mod(n,10),4)": number % 10 < 4,
    }[expression]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".avi", ".mov", ".flv"])
def test_any_frame_can_be_asked_for(tmp_path: Path, sources, suffix: str):
    path = merged(tmp_path / f"x{suffix}", sources)
    frames = FileFrames(path)
    whole = list(frames.frames())
    assert len(whole) == frames.count
    for first in (0, 1, 24, 26, 60, 99):
        rest = frames.frames(first)
        for wanted in whole[first : first + 3]:
            assert np.array_equal(next(rest), wanted)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".webm", "libvpx-vp9"), (".mov", "libx265")])
def test_the_last_pictures_are_those_of_the_file_whichever_track_is_first(tmp_path, suffix: str, codec: str):
    sound = files.voice(tmp_path, 1)
    both, first = tmp_path / f"both{suffix}", tmp_path / f"first{suffix}"
    files.ffmpeg(*files.counter(1), "-i", sound, "-map", "0:v", "-map", "1:a", "-c:v", codec, both)
    files.ffmpeg("-i", both, "-map", "0:a", "-map", "0:v", "-c", "copy", first)
    assert np.array_equal([*FileFrames(first).frames()], [*FileFrames(both).frames()])
    assert times(first)[-1] == pytest.approx(24 / 25, abs=LEVELS)


def test_the_last_samples_are_heard_whichever_track_is_first(tmp_path: Path):
    """WMA keeps some of them back."""
    sound, alone, both = files.voice(tmp_path, 1), tmp_path / "alone.wma", tmp_path / "both.wmv"
    files.ffmpeg("-i", sound, "-c:a", "wmav2", alone)
    files.ffmpeg(*files.counter(1), "-i", alone, "-c:v", "wmv2", "-c:a", "copy", both)
    heard, whole = (np.concatenate(list(FileAudio(path).blocks())) for path in (both, alone))
    assert np.array_equal(heard[-len(whole) :], whole)


def test_only_what_is_asked_for_is_decoded(tmp_path: Path, sources, monkeypatch: pytest.MonkeyPatch):
    from infinitetalk.video_io.read.container import Packets

    frames = FileFrames(merged(tmp_path / "x.mp4", sources))
    seen: list[int] = []
    plain = Packets.decode

    def counted(self: Packets, packet):
        seen.append(packet.stream.index)
        return plain(self, packet)

    monkeypatch.setattr(Packets, "decode", counted)
    next(frames.frames(90))
    assert len(seen) < 40  # key pictures are 20 apart, and cores work ahead


@pytest.mark.parametrize("sizes", [("64x48", "96x64"), ("96x64", "64x48"), ("64x48", "48x64")])
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("ts", ("libx264", "-crf", "1")), ("ts", ("mpeg2video", "-q:v", "1")), ("mpg", ("mpeg2video", "-q:v", "1"))],
)
def test_a_picture_that_changes_its_size_keeps_the_first_one(tmp_path: Path, sizes, suffix, codec):
    parts = []
    for size in sizes:
        parts.append(tmp_path / f"{size}.{suffix}")
        files.ffmpeg(*files.counter(2, size=size), "-c:v", *codec, parts[-1])
    frames = FileFrames(files.joined(tmp_path / f"both.{suffix}", *parts))
    shown = list(frames.frames())
    assert f"{frames.width}x{frames.height}" == sizes[0]
    assert len(shown) == frames.count == 100
    assert {frame.shape for frame in shown} == {(frames.height, frames.width, 3)}
    assert files.shown_seconds(shown[-1]) == pytest.approx(49 / 25, abs=LEVELS)  # fills the picture


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "libx264"), (".mp4", "libx264"), (".mkv", "libx265")])
@pytest.mark.parametrize("pause", [0, 90])
def test_pictures_that_stand_for_long_keep_their_order_and_their_times(tmp_path, suffix: str, codec: str, pause: int):
    """A slide every 15 s, or a recording of a screen on which nothing moves for a while; B-pictures are reordered."""
    path, rate = tmp_path / f"x{suffix}", 10 if pause else "1/15"
    source = f"color=black:size=64x48:rate={rate}:duration={6 if pause else 300}"
    filters = f"format=gray,geq=lum='10*mod(N,24)',setpts='PTS+floor(N/20)*{pause}/TB'"
    codecs = ["-fps_mode", "vfr", "-c:v", codec, "-bf", "3", "-crf", "1"]
    files.ffmpeg("-f", "lavfi", "-i", source, "-vf", filters, *codecs, path)
    frames = FileFrames(path)
    shown = [*frames.frames()]
    levels = [round(float(frame.mean()) / 10) for frame in shown]
    changes = [number for number in range(1, len(levels)) if levels[number] != levels[number - 1]]
    wanted = [number + number // 20 * pause * 10 for number in range(1, 60)] if pause else [*range(1, 20)]
    assert changes == wanted
    assert [levels[number] for number in changes] == [number % 24 for number in range(1, len(changes) + 1)]
    assert np.array_equal(next(frames.frames(wanted[-2])), shown[wanted[-2]])


def test_joined_broadcasts_are_one_after_the_other(tmp_path: Path, sources):
    part = merged(tmp_path / "part.ts", sources)
    both = files.joined(tmp_path / "both.ts", part, part)
    assert FileFrames(both).count == pytest.approx(200, abs=2)
    assert sum(len(block) for block in FileAudio(both).blocks()) / 48_000 == pytest.approx(8, abs=0.1)


def test_a_part_begins_where_it_is_told_in_both(tmp_path: Path, sources):
    path = merged(tmp_path / "x.mp4", sources)
    frames, sound = FileFrames(path, 2.0, 1.0), FileAudio(path, 2.0, 1.0)
    shown = [files.shown_seconds(frame) for frame in frames.frames()]
    assert np.abs(np.array(shown) - (2 + np.arange(25) / 25)).max() < LEVELS
    heard = np.concatenate(list(sound.blocks()))[:, 0]
    assert len(heard) == 48_000
    assert abs(media.samples_late(heard, files.samples_of(sources[1])[96_000:144_000, 0])) <= 1


@pytest.mark.parametrize("kept", ["lt(t,1)+gt(t,2.9)", "not(mod(n,3))"])
def test_a_video_as_browsers_record_it_is_read_by_its_time_stamps(tmp_path: Path, kept: str):
    """Without an index, without a duration, clusters of unknown size, pictures when there are new ones."""
    picture = [*files.counter(4), "-i", files.voice(tmp_path, 4), "-vf", f"select='{kept}'", "-fps_mode", "vfr"]
    codecs = ["-c:v", "libvpx", "-crf", "4", "-b:v", "2M", "-deadline", "realtime", "-c:a", "libopus"]
    path = files.ffmpeg_to_pipe(tmp_path / "x.webm", *picture, *codecs, "-f", "webm", "-live", "1")
    frames = FileFrames(path)
    shown, now = times(path), np.arange(frames.count) / float(frames.frame_rate)
    written = np.array([number / 25 for number in range(100) if _taken(kept, number)])
    wanted = written[np.maximum(np.searchsorted(written, now + 2e-3, side="right") - 1, 0)]
    assert np.abs(shown - wanted).max() < 2 * LEVELS
    assert frames.count / frames.frame_rate == pytest.approx(4, abs=0.13)
    assert np.array_equal(next(frames.frames(frames.count - 2)), list(frames.frames())[-2])
    assert decode_file(path).seconds == pytest.approx(4, abs=0.03)


def _taken(expression: str, number: int) -> bool:
    return not number % 3 if "mod" in expression else number < 25 or number > 72
