"""Whatever a header says: all of the sound that the bytes hold, in one rate and layout; what breaks off is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.decode import decode_file
from infinitetalk.errors import UserError
from infinitetalk.video_io.read.completeness import ends_early
from infinitetalk.video_io.read.sound_file import SampleFile, open_sound
from infinitetalk.video_io.read.video_file import FileFrames

from ....support import files

CODECS = {"mp3": (), "ogg": ("-c:a", "libvorbis"), "opus": (), "flac": (), "aac": (), "ac3": ()}
SECONDS_OF_A_JOIN = 0.1  # a codec's own delay, once more per part


def encoded(folder: Path, name: str, seconds: float, rate: int = 48_000, channels: int = 2, *options: str) -> Path:
    path = folder / name
    files.ffmpeg("-i", files.voice(folder, seconds, rate, channels), *options, path)
    return path


def length(sound: AudioClip) -> float:
    return float(sound.seconds)


@pytest.mark.parametrize("suffix", CODECS)
def test_all_of_joined_files_is_read(tmp_path: Path, suffix: str):
    parts = [
        encoded(tmp_path, f"{n}.{suffix}", seconds, 48_000, 2, *CODECS[suffix]) for n, seconds in enumerate((4, 3))
    ]
    sound = decode_file(files.joined(tmp_path / f"both.{suffix}", *parts))
    assert length(sound) == pytest.approx(7, abs=SECONDS_OF_A_JOIN)
    assert np.abs(sound.samples[:, -48_000:].numpy()).max() > 0.1  # the second part is heard, not silence


@pytest.mark.parametrize("name", ["x.wav", "x.aiff", "x.au", "x.caf", "x.w64", "x.tta"])
def test_whole_files_behind_each_other_are_all_read_to_the_sample(tmp_path: Path, name: str):
    """Each counts its own samples, and a reader that believes the first count stops there."""
    sources = [files.voice(tmp_path, seconds, seed=seed) for seed, seconds in enumerate((0.3, 0.2, 0.4))]
    parts = [tmp_path / f"{number}-{name}" for number in range(3)]
    for source, part in zip(sources, parts, strict=True):
        codec = {"x.tta": "tta", "x.aiff": "pcm_s16be", "x.au": "pcm_s16be"}.get(name, "pcm_s16le")
        files.ffmpeg("-i", source, "-c:a", codec, part)
    sound = decode_file(files.joined(tmp_path / name, *parts))
    assert np.array_equal(sound.samples.numpy().T, np.concatenate([files.samples_of(source) for source in sources]))


@pytest.mark.parametrize("name", ["x.m4a", "x.wma", "frag.mp4", "x.flv", "short.mp3"])
def test_the_sound_of_containers_behind_each_other_is_all_read(tmp_path: Path, name: str):
    options = ("-movflags", "frag_keyframe+empty_moov") if name == "frag.mp4" else ()
    parts = [encoded(tmp_path, f"{n}-{name}", seconds, 44_100, 1 + n, *options) for n, seconds in enumerate((0.6, 0.9))]
    sound = decode_file(files.joined(tmp_path / name, *parts))
    assert (sound.sample_rate, sound.channels) == (44_100, 1)
    assert length(sound) == pytest.approx(1.5, abs=SECONDS_OF_A_JOIN)
    assert np.abs(sound.samples[:, -10_000:].numpy()).max() > 0.05


@pytest.mark.parametrize("name", ["x.mp4", "x.mov", "x.flv", "frag.mp4"])
def test_video_files_behind_each_other_are_refused_where_only_the_first_would_be_shown(tmp_path: Path, name: str):
    options = ("-movflags", "frag_keyframe+empty_moov") if name == "frag.mp4" else ()
    part = tmp_path / f"part-{name}"
    files.ffmpeg(*files.counter(0.4), *options, part)
    assert FileFrames(part).count == 10
    with pytest.raises(UserError, match="is 3 video files behind each other, and only the first would be shown"):
        FileFrames(files.joined(tmp_path / name, part, part, part))


def test_a_stream_without_any_time_stamps_has_all_of_its_pictures(tmp_path: Path):
    path = tmp_path / "x.h264"
    files.ffmpeg(*files.counter(0.8), path)
    frames = FileFrames(path)
    shown = np.array([files.shown_seconds(frame) for frame in frames.frames()])
    assert frames.count == 20
    assert np.abs(shown - np.arange(20) / 25).max() < 0.05


@pytest.mark.parametrize(("rate", "channels"), [(22_050, 1), (44_100, 1), (48_000, 1), (16_000, 2)])
def test_joined_mp3s_of_another_kind_go_on_in_the_first_ones_rate_and_channels(
    tmp_path: Path, rate: int, channels: int
):
    parts = [encoded(tmp_path, "a.mp3", 4), encoded(tmp_path, "b.mp3", 3, rate, channels)]
    sound = decode_file(files.joined(tmp_path / "both.mp3", *parts))
    assert (sound.sample_rate, sound.channels) == (48_000, 2)
    assert length(sound) == pytest.approx(7, abs=SECONDS_OF_A_JOIN)


@pytest.mark.parametrize("codec", ["libvorbis", "libopus", "flac"])
def test_joined_oggs_of_any_rate_are_read_to_the_sample(tmp_path: Path, codec: str):
    parts = [encoded(tmp_path, f"{n}.ogg", n, 48_000 // n, min(n, 2), "-c:a", codec) for n in (1, 2, 3)]
    sound = decode_file(files.joined(tmp_path / "all.ogg", *parts))
    assert (sound.sample_rate, sound.channels) == (48_000, 1)
    assert sound.length == pytest.approx(6 * 48_000, abs=4)
    assert np.abs(sound.samples[:, -4_800:].numpy()).max() > 0.05


def test_an_mp3_without_a_count_is_read_to_its_end(tmp_path: Path):
    path = encoded(tmp_path, "x.mp3", 4, 48_000, 2, "-q:a", "2", "-write_xing", "0")
    assert length(decode_file(path)) == pytest.approx(4, abs=SECONDS_OF_A_JOIN)


@pytest.mark.parametrize("channels", [(2, 6), (6, 2), (1, 6)])
def test_channels_that_change_on_the_way_become_those_of_the_start(tmp_path: Path, channels: tuple[int, int]):
    parts = [encoded(tmp_path, f"{count}.ac3", 2, 48_000, count) for count in channels]
    sound = decode_file(files.joined(tmp_path / "both.ac3", *parts))
    assert sound.channels == channels[0]
    assert length(sound) == pytest.approx(4, abs=0.04)


@pytest.mark.parametrize(
    ("suffix", "codec", "first", "second"),
    [
        ("ts", "ac3", (48_000, 2), (48_000, 6)),
        ("ts", "aac", (48_000, 1), (48_000, 2)),
        ("aac", "aac", (44_100, 2), (48_000, 1)),
    ],
)
def test_rate_and_channels_that_change_in_a_stream_become_those_of_the_start(tmp_path, suffix, codec, first, second):
    parts = [encoded(tmp_path, f"{n}.{suffix}", 0.6, *kind, "-c:a", codec) for n, kind in enumerate((first, second))]
    sound = decode_file(files.joined(tmp_path / f"both.{suffix}", *parts))
    assert (sound.sample_rate, sound.channels) == first
    assert length(sound) == pytest.approx(1.2, abs=SECONDS_OF_A_JOIN)
    assert np.abs(sound.samples[:, -8000:].numpy()).max() > 0.05


@pytest.mark.parametrize("channels", [9, 16, 24])
@pytest.mark.parametrize("name", ["x.mov", "x.mka"])
def test_more_than_eight_channels_come_back_to_the_sample(tmp_path: Path, channels: int, name: str):
    source = files.voice(tmp_path, 0.5, channels=channels)
    files.ffmpeg("-i", source, "-c:a", "pcm_s16le", tmp_path / name)
    assert np.array_equal(decode_file(tmp_path / name).samples.numpy().T, files.samples_of(source))


def test_a_part_that_cannot_be_brought_to_the_first_ones_channels_gets_a_sentence(tmp_path: Path):
    parts = [encoded(tmp_path, f"{n}.ogg", 1, 48_000, n, "-c:a", "libvorbis") for n in (6, 9)]
    with pytest.raises(UserError, match=r"goes on in 9 channels at 48000 Hz, which cannot become 5\.1"):
        decode_file(files.joined(tmp_path / "all.ogg", *parts))


@pytest.mark.parametrize("kind", ["flac", "wav", "aiff", "au", "w64", "caf"])
def test_a_file_from_a_pipe_is_read_to_the_sample(tmp_path: Path, kind: str):
    source = files.voice(tmp_path, 4, 24_000)
    sound = decode_file(files.ffmpeg_to_pipe(tmp_path / f"x.{kind}", "-i", source, "-f", kind))
    assert np.array_equal(sound.samples.numpy().T, files.samples_of(source))


@pytest.mark.parametrize(
    ("riff", "data"),
    [(0, 0), (36, 0), (2_000_000_036, 2_000_000_000), (0xFFFF_FFFF, 0xFFFF_FFFF), (0x7FFF_FFFF, 0x7FFF_FFDB), (2.0, 1)],
)
def test_a_wav_whose_sizes_were_never_filled_in_is_read_to_its_end(tmp_path: Path, riff: float, data: int):
    source = files.voice(tmp_path, 4)
    content = bytearray(source.read_bytes())
    at = content.index(b"data") + 4
    if isinstance(riff, float):  # times the file's own size
        riff, data = round(riff * len(content)), len(content) - at - 4
    content[4:8], content[at : at + 4] = int(riff).to_bytes(4, "little"), data.to_bytes(4, "little")
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    assert np.array_equal(decode_file(path).samples.numpy().T, files.samples_of(source))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.integers(1, 9000),
    rate=st.sampled_from([8000, 22_050, 44_100, 48_000]),
    channels=st.integers(1, 3),
    kind=st.sampled_from(["wav", "flac", "aiff", "w64", "caf"]),
)
def test_lossless_files_come_back_to_the_sample(tmp_path: Path, samples: int, rate: int, channels: int, kind: str):
    wanted = np.random.default_rng(samples).integers(-(2**15), 2**15, (samples, channels)).astype(np.int16)
    soundfile.write(tmp_path / f"x.{kind}", wanted, rate, subtype="PCM_16")
    sound = decode_file(tmp_path / f"x.{kind}")
    assert sound.sample_rate == rate
    assert np.array_equal(sound.samples.numpy().T, wanted / np.float32(2**15))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(samples=st.integers(2000, 60_000), kind=st.sampled_from(["m4a", "mp3", "ogg", "opus", "webm", "mka", "mov"]))
def test_what_a_codec_can_say_of_its_length_is_kept_to_the_sample(tmp_path: Path, samples: int, kind: str):
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(samples).uniform(-0.5, 0.5, samples), 48_000)
    options = {"mka": ("-c:a", "libopus"), "ogg": ("-c:a", "libvorbis")}.get(kind, ())
    files.ffmpeg("-i", tmp_path / "x.wav", *options, tmp_path / f"x.{kind}")
    # Matroska counts in milliseconds, Vorbis's own end in the last page of a short file in blocks; of the padding of an
    # MP3, ffmpeg writes down what is in the last frame.
    tolerance = {"webm": 48, "mka": 48, "mp3": 46}.get(kind, 0)
    assert abs(decode_file(tmp_path / f"x.{kind}").length - samples) <= tolerance


@pytest.mark.parametrize(
    "kind",
    ["m4a", "mp4", "webm", "mka", "ogg", "opus", "flac", "mp3", "wav", "rf64.wav", "aiff", "caf", "au", "w64"],
)
def test_a_file_that_breaks_off_is_refused_with_what_it_holds(tmp_path: Path, kind: str):
    options = {"m4a": ("-movflags", "+faststart"), "mp4": ("-movflags", "+faststart"), "rf64.wav": ("-rf64", "always")}
    whole = encoded(tmp_path, f"x.{kind}", 8, 48_000, 2, *options.get(kind, ()))
    content = whole.read_bytes()
    assert decode_file(whole).length
    for share in (0.3, 0.6, 0.97):
        whole.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=r"(breaks off: it holds|is damaged after) \d+\.\d\d"):
            decode_file(whole)


def test_a_part_that_is_there_is_read_from_a_file_that_breaks_off_later(tmp_path: Path):
    whole = encoded(tmp_path, "x.m4a", 8, 48_000, 2, "-movflags", "+faststart")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert length(decode_file(whole, 1.0, 1.0)) == 1


@pytest.mark.parametrize("content", [b"", b"OggS", b"\x1aE\xdf\xa3", b"RIFF", b"....ftyp"])
def test_nothing_is_known_of_a_stub(tmp_path: Path, content: bytes):
    path = tmp_path / "stub"
    path.write_bytes(content)
    with path.open("rb") as file:
        assert ends_early(file) in (True, False)


@pytest.mark.parametrize("millions", [1, 3])
def test_a_wav_of_a_round_size_that_breaks_off_is_refused(tmp_path: Path, millions: int):
    whole, path = tmp_path / "whole.wav", tmp_path / "x.wav"
    soundfile.write(whole, np.zeros(500_000 * millions, np.int16), 48_000)
    assert decode_file(whole).length == 500_000 * millions
    path.write_bytes(whole.read_bytes()[:-200_000])
    with pytest.raises(UserError, match="breaks off"):
        decode_file(path)


def with_size_of_samples(content: bytes, size: int) -> bytes:
    """A WAV whose header says that it has so many bytes of samples."""
    at = content.index(b"data") + 4
    return content[:at] + size.to_bytes(4, "little") + content[at + 4 :]


def test_sound_that_goes_on_behind_the_size_of_a_wav_is_all_read(tmp_path: Path):
    source, path = files.voice(tmp_path, 4), tmp_path / "x.wav"
    path.write_bytes(with_size_of_samples(source.read_bytes(), 1000))
    assert np.array_equal(decode_file(path).samples.numpy().T, files.samples_of(source))


@pytest.mark.skipif(os.name == "nt", reason="a file with a hole in it takes its whole size there")
@pytest.mark.parametrize("is_told", [True, False])
def test_a_wav_of_more_than_4_gib_is_read_to_its_end(tmp_path: Path, is_told: bool):
    path, size, end = tmp_path / "x.wav", 5 << 30, np.arange(500, dtype="<i2")
    soundfile.write(path, end, 48_000)
    head = path.read_bytes()[: -end.nbytes]
    with path.open("wb") as file:
        file.write(with_size_of_samples(head, size % 2**32 if is_told else 2**32 - 1))
        file.seek(len(head) + size - end.nbytes)
        file.write(end)
    sound = open_sound(path)
    assert isinstance(sound, SampleFile)
    assert sound.length == size // 2
    (block,) = sound.blocks(size // 2 - 500)
    assert np.array_equal(block[:, 0], end / np.float32(2**15))


@pytest.mark.parametrize(
    "behind",
    [b"LIST\x04\0\0\0INFO", b"id3 \xff\0\0\0cut", b"ID3\x03\0\0\0\0\0\x02ab", b"TAG" + bytes(125), bytes(5000)],
)
def test_what_stands_behind_the_samples_of_a_wav_is_not_heard(tmp_path: Path, behind: bytes):
    source, path = files.voice(tmp_path, 1), tmp_path / "x.wav"
    path.write_bytes(source.read_bytes() + behind)
    assert np.array_equal(decode_file(path).samples.numpy().T, files.samples_of(source))


def test_the_other_parts_of_a_w64_are_not_heard(tmp_path: Path):
    path, samples = tmp_path / "x.w64", np.arange(999, dtype=np.int16)
    soundfile.write(path, samples, 48_000)
    name = b"levl" + bytes.fromhex("f3acd3118cd100c04f8edb8a")
    path.write_bytes(path.read_bytes() + name + (64).to_bytes(8, "little") + bytes(range(40)))
    assert np.array_equal(decode_file(path).samples.numpy()[0], samples / np.float32(2**15))


def test_a_header_that_counts_itself_breaks_nothing(tmp_path: Path):
    source, path = files.voice(tmp_path, 1), tmp_path / "x.wav"
    content = source.read_bytes()
    path.write_bytes(with_size_of_samples(content, len(content)))
    assert np.array_equal(decode_file(path).samples.numpy().T, files.samples_of(source))


@pytest.mark.parametrize("kind", ["mp4", "mov", "avi"])
@pytest.mark.parametrize("behind", [b"TAG" + b"x" * 125, b"<!-- kept by a proxy -->", bytes(range(1, 256)) * 4])
def test_a_whole_video_with_something_behind_it_has_not_broken_off(tmp_path: Path, kind: str, behind: bytes):
    path = tmp_path / f"x.{kind}"
    files.ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=1", "-i", files.voice(tmp_path, 1), path)
    sound, frames = decode_file(path), FileFrames(path).count
    path.write_bytes(path.read_bytes() + behind)
    assert np.array_equal(decode_file(path).samples, sound.samples)
    assert FileFrames(path).count == frames
