"""One file is one file: whatever it names, nothing else is opened, and nobody is called."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from infinitetalk.audio.decode import decode_file
from infinitetalk.errors import UserError
from infinitetalk.video_io.read.audio_source import AudioError
from infinitetalk.video_io.read.video_file import FileAudio, FileFrames, sound_of

from ....support import files, naming_files

READERS: tuple[Callable[[Path], object], ...] = (decode_file, FileFrames, FileAudio, sound_of)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sound and a video that anybody could play who is led there."""
    folder = tmp_path_factory.mktemp("secrets")
    sound = files.voice(tmp_path_factory.mktemp("sound"), 1)
    files.ffmpeg("-i", sound, folder / "secret.wav")
    files.ffmpeg(*files.counter(1), "-i", sound, "-c:v", "libx264", "-c:a", "aac", folder / "secret.ts")
    files.ffmpeg(*files.counter(1), "-c:v", "libx264", folder / "secret.mp4")
    return folder


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def refusals(path: Path) -> list[str]:
    """What each reader says; all of them must say something, or find no sound."""
    said = []
    for read in READERS:
        try:
            result = read(path)
        except (UserError, AudioError) as error:
            said.append(str(error))
        else:
            assert result is None, (read, path)  # sound_of
    assert len(said) >= 3
    assert all("\n" not in text for text in said)
    return said


@pytest.mark.parametrize("kind", naming_files.TEXTS)
def test_a_file_that_names_others_is_refused(secrets: Path, listener: socket.socket, kind: str):
    web = f"http://127.0.0.1:{listener.getsockname()[1]}/secret.ts"
    suffixes = (".mp3", ".wav", ".m3u8", ".mpd", ".mp4", ".idx", ".ts", ".flac")
    for number, secret in enumerate(sorted(secrets.glob("secret.*"))):
        text = naming_files.TEXTS[kind]
        for key, value in {"file": secret.as_posix(), "name": secret.name, "web": web}.items():
            text = text.replace(f"{{{key}}}", value)
        for suffix in suffixes[number::3]:
            path = secrets / f"list{suffix}"
            path.write_text(text, encoding="utf-8", newline="")
            with naming_files.opened_in(secrets) as opened:
                refusals(path)
            assert set(opened) <= {path.name}
            path.unlink()
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("kind", ["hls", "ffconcat", "dash", "sdp", "m3u", "pls"])
def test_a_playlist_in_memory_is_refused_as_one(secrets: Path, kind: str):
    text = naming_files.TEXTS[kind].replace("{file}", str(secrets / "secret.ts"))
    with naming_files.opened_in(secrets) as opened, pytest.raises(UserError, match="can name other files"):
        FileFrames(BytesIO(text.encode()))
    assert not opened


def test_a_movie_whose_samples_are_elsewhere_gets_none_of_them(secrets: Path, tmp_path: Path):
    secret = secrets / "secret.mp4"
    movie = naming_files.movie_with_samples_elsewhere(secret.read_bytes(), secret.as_posix())
    for number, content in enumerate((movie, naming_files.reference_movie(secret.as_posix()))):
        path = tmp_path / f"movie{number}.mp4"
        path.write_bytes(content)
        with naming_files.opened_in(secrets) as opened:
            refusals(path)
        assert not opened


def test_a_name_with_a_pattern_is_one_file(tmp_path: Path):
    """FFmpeg would read `voice%03d.wav` as a sequence and `concat:` or `http:` as ways to get at files."""
    folder = tmp_path / "names"
    folder.mkdir()
    sound = files.voice(tmp_path, 1)
    (folder / "voice001.wav").write_bytes(files.voice(tmp_path, 2).read_bytes())
    for name in ("voice%03d.wav", "concat-voice001.wav", "-i.wav", "pipe_1.wav"):
        for suffix, options in ((".wav", ()), (".m4a", ("-c:a", "aac"))):
            made = tmp_path / f"made{suffix}"
            files.ffmpeg("-i", sound, *options, made)
            path = made.rename(folder / Path(name).with_suffix(suffix).name)
            with naming_files.opened_in(folder) as opened:
                assert decode_file(path).seconds == pytest.approx(1, abs=0.03)
            assert set(opened) <= {path.name}


def test_the_watcher_sees_what_other_languages_open(secrets: Path):
    """What the tests above rest on."""
    import av

    path = secrets / "list.m3u8"
    path.write_text(naming_files.TEXTS["hls"].replace("{file}", str(secrets / "secret.ts")), encoding="utf-8")
    with naming_files.opened_in(secrets) as opened, av.open(str(path)):
        pass
    assert sys.platform != "linux" or "secret.ts" in opened
