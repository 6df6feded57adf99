"""Pictures as they are meant to be seen, the tracks that players choose, and files that are refused."""

from __future__ import annotations

import builtins
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from infinitetalk.audio.decode import decode_file
from infinitetalk.errors import UserError
from infinitetalk.video_io.read.audio_source import AudioError
from infinitetalk.video_io.read.container import open_container
from infinitetalk.video_io.read.tracks import choose_tracks
from infinitetalk.video_io.read.video_file import FileAudio, FileFrames
from infinitetalk.video_io.save.ffmpeg_process import find_ffmpeg

from ....support import files

PATTERN = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=0.4"]


@pytest.fixture
def pattern(tmp_path: Path) -> Path:
    """A picture that no turn and no mirror leaves as it is."""
    path = tmp_path / "pattern.mp4"
    files.ffmpeg(*PATTERN, "-c:v", "libx264", "-crf", "1", path)
    return path


def as_ffmpeg_shows(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The first frame as ffmpeg's program turns it."""
    command = [find_ffmpeg(), "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    raw = subprocess.run([*command, "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(shape).astype(int)


@pytest.mark.parametrize(
    "options",
    [
        ("-display_hflip",),
        ("-display_vflip",),
        ("-display_rotation", "90"),
        ("-display_rotation", "180"),
        ("-display_rotation", "270", "-display_hflip"),
        ("-display_rotation", "90", "-display_vflip"),
    ],
    ids=" ".join,
)
def test_a_picture_is_turned_and_mirrored_as_its_display_matrix_says(tmp_path, pattern, options):
    turned = tmp_path / "turned.mp4"
    files.ffmpeg(*options, "-i", pattern, "-c", "copy", turned)
    frame = next(FileFrames(turned).frames())
    assert np.abs(frame - as_ffmpeg_shows(turned, frame.shape)).max() <= 8


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_the_transparency_of_webm_is_kept(tmp_path: Path, codec: str):
    half = "format=yuva420p,geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)':a='if(lt(X,32),255,51)'"
    path = tmp_path / "x.webm"
    files.ffmpeg(*PATTERN, *files.counter(0.4), "-vf", half, "-c:v", codec, "-auto-alt-ref", "0", "-b:v", "1M", path)
    shown = FileFrames(path)
    assert (shown.channels, shown.count) == (4, 10)
    for frame in shown.frames():
        assert np.abs(frame[:, :28, 3].astype(int) - 255).max() <= 4
        assert np.abs(frame[:, 36:, 3].astype(int) - 51).max() <= 4


@pytest.mark.parametrize(("aspect", "width"), [("64/45", 91), ("8/9", 57), ("2/1", 128), ("1/1", 64)])
def test_pixels_are_square(tmp_path: Path, pattern: Path, aspect: str, width: int):
    files.ffmpeg("-i", pattern, "-vf", f"setsar={aspect}", tmp_path / "wide.mp4")
    frames = FileFrames(tmp_path / "wide.mp4")
    assert (frames.width, frames.height) == (width, 48)
    assert next(frames.frames()).shape == (48, width, 3)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
@pytest.mark.parametrize("color_range", ["tv", "pc"])
def test_colors_are_those_of_the_files_matrix_and_range(tmp_path: Path, matrix: str, color_range: str):
    path = tmp_path / "red.mkv"
    scale = f"scale=out_color_matrix={matrix}:out_range={color_range},format=yuv444p"
    red = ["-f", "lavfi", "-i", "color=0xC83214:size=32x32:duration=0.1"]
    files.ffmpeg(*red, "-vf", scale, "-c:v", "ffv1", "-colorspace", matrix, "-color_range", color_range, path)
    assert np.abs(next(FileFrames(path).frames()) - np.array([200, 50, 20])).max() <= 2


@pytest.mark.parametrize(
    ("layout", "color_range", "black", "white"),
    [
        ("yuv444p10le", "tv", 64, 940),
        ("yuv444p10le", "pc", 0, 1023),
        ("yuva444p10le", "tv", 64, 940),
        ("yuv444p16le", "tv", 16 << 8, 235 << 8),
        ("gray", "tv", 16, 235),
        ("gray", "pc", 0, 255),
        ("gray10le", "tv", 64, 940),
        ("gray10le", "pc", 0, 1023),
    ],
)
def test_black_and_white_of_any_depth_are_the_ends_of_the_scale(
    tmp_path: Path, layout: str, color_range: str, black: int, white: int
):
    kind = np.dtype(np.uint8 if layout == "gray" else "<u2")
    luma = np.repeat(np.linspace(black, white, 5).round(), 16).astype(kind)  # five bars
    bits = 8 if layout == "gray" else int(layout.removesuffix("le")[-2:])
    chroma = [] if layout.startswith("gray") else [np.full((2, 32, 80), 1 << (bits - 1), kind)]
    alpha = [np.full((32, 80), (1 << bits) - 1, kind)] if layout.startswith("yuva") else []
    planes = (np.tile(luma, (32, 1)), *chroma, *alpha)
    (tmp_path / "raw").write_bytes(b"".join(plane.tobytes() for plane in planes))
    raw = ["-f", "rawvideo", "-pixel_format", layout, "-video_size", "80x32", "-i", tmp_path / "raw"]
    marks = f"setparams=range={color_range}:colorspace=bt709"
    files.ffmpeg(*raw, "-vf", marks, "-color_range", color_range, "-c:v", "ffv1", tmp_path / "bars.mkv")
    frame = next(FileFrames(tmp_path / "bars.mkv").frames())
    full = np.iinfo(frame.dtype).max
    shown = frame[16, 8::16].astype(float) / full
    assert np.abs(shown[:, :3] - np.linspace(0, 1, 5)[:, None]).max() <= 1 / (white - black) + 1e-4
    assert np.all(shown[:, 3:] == 1)


def hdr(path: Path, transfer: str, gray: int) -> Path:
    """A gray HDR picture of this 10-bit level."""
    picture = ["-f", "lavfi", "-i", f"color=black:size=32x32:duration=0.1,format=yuv420p10le,geq={gray}:512:512"]
    marks = f"setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc:range=tv"
    files.ffmpeg(*picture, "-vf", marks, "-c:v", "ffv1", path)
    return path


@pytest.mark.parametrize(("transfer", "white"), [("smpte2084", 572), ("arib-std-b67", 721)])
def test_hdr_is_brought_to_sdr(tmp_path: Path, transfer: str, white: int):
    levels = [next(FileFrames(hdr(tmp_path / "x.mkv", transfer, gray)).frames()).mean() / 65535 for gray in (64, white)]
    assert levels[0] < 0.01
    assert 0.8 < levels[1] < 0.95  # paper is bright, and lights have room above it
    brighter = next(FileFrames(hdr(tmp_path / "y.mkv", transfer, 900)).frames()).mean() / 65535
    assert levels[1] < brighter <= 1


def test_the_default_track_is_read_wherever_it_stands(tmp_path: Path):
    path = tmp_path / "x.mka"
    sounds = [files.voice(tmp_path, 1, channels=1), files.voice(tmp_path, 2)]
    inputs = ["-i", sounds[0], "-i", sounds[1], "-map", "0", "-map", "1", "-c:a", "flac"]
    files.ffmpeg(*inputs, "-disposition:a:0", "0", "-disposition:a:1", "default", path)
    assert decode_file(path).seconds == 2
    files.ffmpeg(*inputs, "-disposition:a:0", "default", "-disposition:a:1", "0", path)
    assert decode_file(path).channels == 1
    files.ffmpeg(*inputs, "-disposition:a:0", "0", "-disposition:a:1", "0", path)
    assert decode_file(path).channels == 1


@pytest.mark.parametrize("codec", ["A_UNKNOWN", "A_QUICKTIME"])
def test_a_track_that_cannot_be_decoded_is_passed_over(tmp_path: Path, codec: str):
    path = tmp_path / "x.mka"
    sounds = [files.voice(tmp_path, 1, channels=1), files.voice(tmp_path, 2)]
    files.ffmpeg("-i", sounds[0], "-i", sounds[1], "-map", "0", "-map", "1", "-c:a:0", "flac", "-c:a:1", "aac", path)
    content = path.read_bytes()
    name = b"A_FLAC".ljust(len(codec))  # in the header the name has its length before it
    at = content.index(name.strip())
    path.write_bytes(content[:at] + b"A_NONE" + content[at + 6 :])
    assert decode_file(path).seconds == pytest.approx(2, abs=0.05)


def two_pictures(path: Path, *options: str) -> Path:
    """A black picture, then a white one."""
    inputs = [part for color in ("black", "white") for part in ("-f", "lavfi", "-i", f"color={color}:size=32x32:d=0.2")]
    files.ffmpeg(*inputs, "-map", "0", "-map", "1", "-c:v", "mpeg4", *options, path)
    return path


@pytest.mark.parametrize("name", ["x.mkv", "x.mp4"])
@pytest.mark.parametrize(("first", "second", "level"), [("0", "default", 255), ("default", "0", 0), ("0", "0", 0)])
def test_the_default_picture_is_shown_wherever_it_stands(
    tmp_path: Path, name: str, first: str, second: str, level: int
):
    path = two_pictures(tmp_path / name, "-disposition:v:0", first, "-disposition:v:1", second)
    assert abs(next(FileFrames(path).frames()).mean() - level) < 4


def test_a_picture_that_cannot_be_decoded_is_passed_over(tmp_path: Path):
    path = two_pictures(tmp_path / "x.mkv", "-c:v:0", "mjpeg")
    path.write_bytes(path.read_bytes().replace(b"V_MJPEG", b"V_NOTHG", 1))
    assert next(FileFrames(path).frames()).mean() > 250


def test_a_cover_image_is_no_picture(tmp_path: Path):
    files.ffmpeg(*PATTERN, "-frames:v", "1", tmp_path / "cover.png")
    sound = files.voice(tmp_path, 1)
    for name in ("x.mp3", "x.m4a", "x.flac"):
        inputs = ["-i", sound, "-i", tmp_path / "cover.png", "-map", "0:a", "-map", "1:v"]
        files.ffmpeg(*inputs, "-c:v", "copy", "-disposition:v:0", "attached_pic", tmp_path / name)
        assert choose_tracks(tmp_path / name).picture is None
        assert decode_file(tmp_path / name).seconds == 1
        with pytest.raises(UserError, match="no picture, only sound"):
            FileFrames(tmp_path / name)


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{file}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile {file}\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" profiles="isoff" '
    'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="audio/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{file}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
    "pls": "[playlist]\nFile1={file}\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["m3u8", "mp3", "mp4", "mpd", "wav"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, kind: str, suffix: str, monkeypatch: pytest.MonkeyPatch):
    secret = files.voice(tmp_path, 1)
    path = tmp_path / f"list.{suffix}"
    path.write_text(PLAYLISTS[kind].format(file=secret), encoding="utf-8")
    for read in (decode_file, FileFrames, FileAudio):
        with pytest.raises((UserError, AudioError)) as caught:
            read(path)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_no_text_is_read(tmp_path: Path):
    sound = files.voice(tmp_path, 1)
    for suffix in (b".wav", b".m4a"):
        plain = tmp_path / f"plain{suffix.decode()}"
        files.ffmpeg("-i", sound, plain)
        path = plain.rename(Path(os.fsdecode(bytes(tmp_path) + b"/\xcb\xb5\xbb\xb0" + suffix)))
        assert decode_file(path).length >= 48_000


@pytest.mark.parametrize("title", [b"\xe9t\xe9\xff", b"\x83e\x83X\x83g"])
@pytest.mark.parametrize("name", ["x.avi", "x.mp3", "x.mp4"])
def test_titles_in_old_code_pages_do_not_matter(tmp_path: Path, title: bytes, name: str):
    path = files.titled(tmp_path / name, title, *PATTERN, "-i", files.voice(tmp_path, 0.4))
    assert decode_file(path).length > 0
    with open_container(path) as container:
        assert isinstance(container.metadata, dict)


@pytest.mark.parametrize("missing", ["soundfile", "av"])
def test_a_missing_library_is_blamed_or_not_needed(tmp_path: Path, missing: str, monkeypatch: pytest.MonkeyPatch):
    sound, plain = files.voice(tmp_path, 1), builtins.__import__

    def importing(name: str, *arguments, **options):
        if name == missing:
            raise OSError(f"cannot load library '{missing}'")
        return plain(name, *arguments, **options)

    files.ffmpeg("-i", sound, tmp_path / "x.m4a")
    monkeypatch.setattr(builtins, "__import__", importing)
    assert decode_file(sound).seconds == 1  # either of them reads a WAV
    if missing == "av":
        with pytest.raises(UserError, match=r"PyAV, which reads sound and video, cannot be loaded.*reinstall it"):
            decode_file(tmp_path / "x.m4a")


def test_no_ffmpeg_program_is_needed_for_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sound = files.voice(tmp_path, 1)
    files.ffmpeg("-i", sound, tmp_path / "x.m4a")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "nothing"))
    assert decode_file(tmp_path / "x.m4a").seconds == 1
