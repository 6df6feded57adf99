"""Saving from a video file: frames and sound are streamed out of it, cut parts and late sound included."""

from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
import pytest
import torch
from evaluation.finished import decode
from infinitetalk.errors import UserError
from infinitetalk.video_io.read.audio_source import AudioError
from infinitetalk.video_io.read.video_file import FileAudio, FileFrames, sound_of
from infinitetalk.video_io.save.ffmpeg_process import find_ffmpeg
from infinitetalk.video_io.save.formats import FORMATS

from ...support import media


@pytest.fixture
def clip(save):
    """Two seconds with sound, losslessly: its path, its frames and its sound."""
    pictures, sound = media.make_pictures(50, 30, 46), media.make_sound(2.0)
    path = save(pictures, sound, format="mkv ffv1", prefix="clip").path
    return path, (pictures.numpy() * 255 + 0.5).astype(np.uint8), sound["waveform"][0].numpy().T


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_video_file_gives_its_frames_and_its_sound(clip, in_memory):
    path, pictures, sound = clip
    source = io.BytesIO(path.read_bytes()) if in_memory else str(path)
    frames, heard = FileFrames(source), FileAudio(source)
    assert (frames.count, frames.height, frames.width, frames.channels, frames.frame_rate) == (50, 30, 46, 3, 25)
    for _ in range(2):  # a source can be read more than once
        assert np.array_equal(np.stack(list(frames.frames())), pictures)
        assert np.allclose(np.concatenate(list(heard.blocks())), sound, atol=2**-23)


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_saved_format_can_be_saved_again(save, name):
    first = save(media.make_pictures(12, 48, 64), media.make_sound(0.48), format=name)
    again = save(FileFrames(str(first.path)), FileAudio(str(first.path)), format="mkv ffv1")
    once, twice = decode(first.path), decode(again.path)
    assert np.abs(once.frames.astype(int) - twice.frames).mean() < 1
    assert len(twice.sound) == round(0.48 * twice.sample_rate)
    assert abs(media.samples_late(twice.sound[:, 0], once.sound[:, 0])) <= twice.sample_rate / 1000


@pytest.mark.parametrize(("start", "duration", "first", "count"), [(0.4, 0.8, 10, 20), (1.0, 0.0, 25, 25)])
def test_a_part_of_a_video_has_the_frames_and_the_sound_of_that_part(clip, start, duration, first, count):
    path, pictures, sound = clip
    frames, heard = FileFrames(str(path), start, duration), FileAudio(str(path), start, duration)
    assert frames.count == count
    assert np.array_equal(np.stack(list(frames.frames())), pictures[first : first + count])
    begin, length = round(start * 48000), round(count / 25 * 48000)
    part = np.concatenate(list(heard.blocks()))[:, 0]
    # Matroska's clock ticks in milliseconds, so a part begins within half of one.
    assert abs(len(part) - length) <= 24
    assert abs(media.samples_late(part, sound[begin : begin + length, 0])) <= 24


def test_transparency_and_depth_of_a_file_are_kept(save):
    images = media.make_pictures(2, 32, 32, channels=4).clone()
    images[:, :16, :, 3] = 0.5
    clear = FileFrames(str(save(images, format="mkv ffv1").path))
    assert clear.channels == 4
    assert np.array_equal(next(clear.frames())[..., 3], (images[0, ..., 3] * 255 + 0.5).byte().numpy())
    deep = next(FileFrames(str(save(images[..., :3], format="mov prores").path)).frames())
    assert deep.dtype == np.uint16
    assert np.abs(deep / 65535 - images[0, ..., :3].numpy()).mean() < 0.01


def test_sound_that_begins_later_than_the_picture_stays_in_its_place(clip, tmp_path):
    path, _, sound = clip
    late = tmp_path / "late.mkv"
    command = [find_ffmpeg(), "-v", "error", "-i", path, "-itsoffset", "0.5", "-i", path, "-map", "0:v", "-map", "1:a"]
    subprocess.run([*command, "-c", "copy", late], check=True)
    heard = np.concatenate(list(FileAudio(str(late)).blocks()))
    assert (heard[:24000] == 0).all()
    assert np.allclose(heard[24000:], sound, atol=2**-23)


def test_a_phones_rotation_is_applied(save, tmp_path):
    upright = save(media.make_pictures(3, 32, 64), crf=1).path
    turned = tmp_path / "turned.mp4"
    command = [find_ffmpeg(), "-v", "error", "-display_rotation", "90", "-i", upright, "-c", "copy", turned]
    subprocess.run(command, check=True)
    wanted = subprocess.run(
        [find_ffmpeg(), "-v", "error", "-i", turned, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        check=True,
        capture_output=True,
    ).stdout
    frames = FileFrames(str(turned))
    assert (frames.width, frames.height) == (32, 64)
    expected = np.frombuffer(wanted, np.uint8).reshape(3, 64, 32, 3).astype(int)
    assert np.abs(np.stack(list(frames.frames())) - expected).max() <= 8  # a wrong turn is some hundred off


def test_a_silent_video_has_no_sound_and_a_sound_file_no_picture(save, clip, tmp_path):
    assert sound_of(str(save(media.make_pictures(2, 16, 16)).path)) is None
    assert sound_of(str(clip[0])) is not None
    only_sound = tmp_path / "sound.mka"
    subprocess.run([find_ffmpeg(), "-v", "error", "-i", clip[0], "-vn", "-c", "copy", only_sound], check=True)
    with pytest.raises(UserError, match="no picture"):
        FileFrames(str(only_sound))


def test_a_sound_that_nobody_can_decode_is_not_left_out_in_silence(save, clip, tmp_path):
    path = tmp_path / "apac.mov"
    subprocess.run([find_ffmpeg(), "-v", "error", "-i", clip[0], "-c:a", "pcm_s16le", path], check=True)
    content = path.read_bytes()
    assert content.count(b"sowt") == 1
    path.write_bytes(content.replace(b"sowt", b"apac"))
    saved = save(FileFrames(path), sound_of(path))
    assert saved.sound is None
    assert saved.frames == 50
    assert saved.warning == ("The video was saved without sound: the sound of apac.mov cannot be decoded (track 1)")
    with pytest.raises(AudioError, match=r"the sound of apac.mov cannot be decoded"):
        save(FileFrames(path), sound_of(path), stop_without_sound=True)


def test_a_playlist_is_refused_because_it_names_other_files(clip, tmp_path):
    segment = tmp_path / "clip.mkv"
    shutil.copy(clip[0], segment)
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{segment}\n#EXT-X-ENDLIST\n"
    concat = f"ffconcat version 1.0\nfile {segment.name}\n"
    for name, text in (("list.m3u8", hls), ("list.mp4", hls), ("list.ffconcat", concat)):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(UserError, match=r"cannot be read|playlist"):
            FileFrames(str(path))


def test_a_file_that_is_no_video_is_refused(tmp_path):
    path = tmp_path / "text.mp4"
    path.write_text("not a video")
    with pytest.raises(UserError, match="cannot be read"):
        FileFrames(str(path))


def test_deep_frames_are_packed_on_their_whole_range(save):
    class Deep:
        count, height, width, channels, frame_rate, notes = 1, 16, 16, 3, 25, ()

        def frames(self):
            yield np.full((16, 16, 3), 32896, np.uint16)

    assert torch.from_numpy(decode(save(Deep(), format="mkv ffv1").path).frames.copy()).unique().tolist() == [128]


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67", "bt709"])
def test_hdr_is_said_where_the_video_is_saved(save, tmp_path, transfer):
    path = tmp_path / "x.mkv"
    marks = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    picture = ["-f", "lavfi", "-i", "color=gray:size=32x32:duration=0.2,format=yuv420p10le"]
    subprocess.run([find_ffmpeg(), "-v", "error", *picture, "-vf", marks, "-c:v", "ffv1", path], check=True)
    notes = save(FileFrames(path)).notes
    assert [note for note in notes if "HDR" in note] == (
        [] if transfer == "bt709" else ["x.mkv is HDR: it was brought to SDR."]
    )


@pytest.mark.parametrize("interlaced", [True, False])
def test_combs_of_an_interlaced_video_are_told_where_it_is_saved(save, tmp_path, interlaced):
    path = tmp_path / "x.mkv"
    picture = ["-f", "lavfi", "-i", "testsrc2=size=64x64:duration=0.4", "-c:v", "mpeg2video"]
    fields = ["-vf", "setfield=tff", "-flags", "+ilme+ildct"] if interlaced else []
    subprocess.run([find_ffmpeg(), "-v", "error", *picture, *fields, path], check=True)
    told = "x.mkv is interlaced, and combs stay in it: deinterlace it first."
    assert [note for note in save(FileFrames(path)).notes if "interlaced" in note] == [told] * interlaced
