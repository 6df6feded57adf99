"""What is left when saving goes wrong: a clear reason, no broken file, no litter, no process."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.video_io.save.audio_fit import AudioFit
from infinitetalk.video_io.save.ffmpeg_process import FfmpegError, find_ffmpeg
from infinitetalk.video_io.save.formats import FORMATS, X264
from infinitetalk.video_io.save.writer import VideoError

from ...support import media

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def nothing_survives():
    """After every test: no child process and no thread that was not there before."""
    threads = set(threading.enumerate())
    yield
    assert running_ffmpegs() == []
    assert set(threading.enumerate()) <= threads


def running_ffmpegs() -> list[psutil.Process]:
    """ffmpeg processes below this one; its other children (browser driver, ComfyUI) belong to other tests."""
    return [child for child in psutil.Process().children(recursive=True) if child.name().startswith("ffmpeg")]


class Interrupted(BaseException):
    """As newer cores' interrupt: not an Exception."""


def interrupt_after(calls: int):
    left = iter(range(calls))

    def check() -> None:
        if next(left, None) is None:
            raise Interrupted

    return check


@pytest.mark.parametrize("calls", [0, 5, 19])
def test_an_interrupt_leaves_nothing(save, output, calls):
    with pytest.raises(Interrupted):
        save(media.make_pictures(20, 32, 32), media.make_sound(1.0), check=interrupt_after(calls))
    assert list(output.iterdir()) == []


def test_a_video_without_the_frames_that_it_announces_is_refused(save, output):
    class Empty:
        count, height, width, channels, frame_rate, notes = 10, 16, 16, 3, 25, ()

        def frames(self):
            return iter(())

    with pytest.raises(UserError, match="announces 10 frames and gives none"):
        save(Empty())
    assert list(output.iterdir()) == []


HANGS = {
    "stopped": "os.kill(os.getpid(), 19)",  # SIGSTOP
    "reads nothing": "import time; time.sleep(60)",
    "never ends": "sys.stdin.buffer.read(); import time; time.sleep(60)",
    "closes its input": "sys.stdin.buffer.close(); os.close(0); import time; time.sleep(60)",
}


@pytest.mark.skipif(os.name == "nt", reason="a batch file there is another process than the one that is ended")
@pytest.mark.parametrize("kind", HANGS)
def test_an_interrupt_comes_through_while_ffmpeg_hangs(save, output, fake_ffmpeg, kind):
    before = set(psutil.Process().children(recursive=True))
    fake_ffmpeg("if '-encoders' in arguments: sys.exit(subprocess.run([real, *arguments]).returncode)\n" + HANGS[kind])
    began = time.monotonic()

    def check() -> None:
        if time.monotonic() > began + 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        save(media.make_pictures(60, 256, 256), media.make_sound(1.0), check=check)
    assert time.monotonic() - began < 4
    assert list(output.iterdir()) == []
    assert not set(psutil.Process().children(recursive=True)) - before


def test_an_interrupt_comes_through_while_the_sound_is_read(save, output):
    class Endless:
        sample_rate, channels, notes = 48_000, 1, ()

        def blocks(self):
            while True:
                yield np.zeros((1000, 1), np.float32)

    with pytest.raises(Interrupted):
        save(media.make_pictures(2, 32, 32), Endless(), check=interrupt_after(20), fit=AudioFit.KEEP_ALL)
    assert list(output.iterdir()) == []


def test_an_error_of_the_frames_own_leaves_nothing_and_is_passed_on(save, output):
    class Breaking:
        count, height, width, channels, frame_rate, notes = 10, 16, 16, 3, 25, ()

        def frames(self):
            yield torch.zeros(16, 16, 3)
            raise OSError("the disk with the frames is gone")

    with pytest.raises(OSError, match="the disk with the frames is gone"):
        save(Breaking())
    assert list(output.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals to kill a process with")
@pytest.mark.parametrize("with_sound", [True, False])
def test_ffmpeg_killed_at_a_third_leaves_no_file_and_says_so(save, output, with_sound):
    class Killing(ImageFrames):
        def frames(self):
            for index, frame in enumerate(self.images):
                if index == 20:
                    for ffmpeg in running_ffmpegs():
                        ffmpeg.send_signal(signal.SIGKILL)
                yield frame

    images = torch.rand(1, 128, 128, 3).expand(60, -1, -1, -1)
    with pytest.raises(VideoError, match=r"killed \(signal 9\)"):
        save(Killing(images, 25), media.make_sound(2.4) if with_sound else None)
    assert list(output.iterdir()) == []


def test_an_encoder_that_fails_gives_ffmpegs_reason_and_no_file(save, output, monkeypatch):
    broken = dataclasses.replace(X264, arguments=lambda crf: ("-preset", "no-such-preset"))
    monkeypatch.setitem(FORMATS, "mp4 h264", dataclasses.replace(FORMATS["mp4 h264"], encoders=(broken,)))
    with pytest.raises(VideoError, match="no-such-preset"):
        save(media.make_pictures(5, 32, 32), media.make_sound(0.2))
    assert list(output.iterdir()) == []


def test_a_killed_save_leaves_no_video_and_its_litter_goes_with_a_later_save(save, output, tmp_path):
    code = f"""
import sys, torch
from pathlib import Path
sys.path.append({str(ROOT / "tools")!r})
import in_process
in_process.load_pack()
from infinitetalk.video_io.save.formats import FORMATS
from infinitetalk.video_io.save.file_name import make_target
from infinitetalk.video_io.save.audio_fit import AudioFit
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.video_io.save.writer import SaveSettings, save_video
frames = ImageFrames(torch.rand(1, 256, 256, 3).expand(100000, -1, -1, -1), 25)
target = make_target("video", Path({str(output)!r}), ".mp4")
save_video(frames, None, target, SaveSettings(FORMATS["mp4 h264"]),
           progress=lambda count: print("frame", flush=True) if count == 20 else None)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"frame" + os.linesep.encode()
        children = psutil.Process(process.pid).children()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    psutil.wait_procs(children, timeout=20)
    assert not any(child.is_running() for child in children)
    assert [path.suffix for path in output.iterdir()] == [""]
    saved = save(media.make_pictures(2, 16, 16))
    assert len(list(output.iterdir())) == 2, "a fresh workspace may be another server's: it stays"
    long_ago = time.time() - 7 * 3600
    leftover = next(path for path in output.iterdir() if path.is_dir())
    for path in (*leftover.iterdir(), leftover):
        os.utime(path, (long_ago, long_ago))
    second = save(media.make_pictures(2, 16, 16))
    assert sorted(output.iterdir()) == [saved.path, second.path]


@pytest.fixture
def small_disk(output: Path):
    """The output folder as a file system of 1 MiB."""
    output.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(output)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode().strip()}")
    yield output
    subprocess.run(["umount", str(output)], check=True)


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_full_disk_is_named_and_nothing_is_left_on_it(save, small_disk, name):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(800_000))
    with pytest.raises(UserError, match=r"disk .* is full"):
        save(torch.rand(8, 256, 256, 3), format=name, crf=1)
    assert list(small_disk.iterdir()) == [ballast]


def test_a_disk_too_full_for_the_sound_still_gets_the_silent_video(save, small_disk):
    saved = save(media.make_pictures(25, 32, 32), media.make_sound(60.0), fit=AudioFit.KEEP_ALL)
    assert saved.sound is None
    assert "No space left" in saved.warning
    assert list(small_disk.iterdir()) == [saved.path]


def test_a_folder_that_cannot_be_written_is_named(save, output):
    output.mkdir()
    blocked = output / "blocked"
    blocked.write_text("a file where a folder is wanted")
    with pytest.raises(UserError, match="blocked"):
        save(media.make_pictures(2, 16, 16), prefix="blocked/video")
    if os.name != "nt" and os.geteuid() != 0:
        output.chmod(0o500)
        with pytest.raises(UserError, match="cannot be written"):
            save(media.make_pictures(2, 16, 16))
        output.chmod(0o700)


def test_a_read_only_file_system_is_named(save, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match="cannot be written"):
        save(media.make_pictures(2, 16, 16))


@pytest.mark.parametrize("kind", ["missing", "text", "not executable", "another program", "a help text", "a folder"])
def test_a_binary_that_is_no_ffmpeg_is_named_with_the_remedy(save, tmp_path, monkeypatch, kind):
    path = tmp_path / "rubbish"
    if kind == "another program":
        path = Path(sys.executable)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a help text":  # as Python 3.10 answers: a line that looks like an encoder's, but for its flags
        path.write_text("#!/bin/sh\necho '  memory blocks when the program ends'\n")
        path.chmod(0o755)
    elif kind != "missing":
        path.write_text("this is not a program")
        path.chmod(0o755 if kind == "text" else 0o644)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
    with pytest.raises(UserError, match="IMAGEIO_FFMPEG_EXE"):
        save(media.make_pictures(2, 16, 16))


def test_no_binary_at_all_is_told_with_the_remedy(monkeypatch):
    import imageio_ffmpeg

    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", none)
    with pytest.raises(UserError, match="reinstall imageio-ffmpeg"):
        find_ffmpeg()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)  # as where it is not installed
    with pytest.raises(UserError, match="reinstall imageio-ffmpeg"):
        find_ffmpeg()


def test_a_missing_encoder_gets_a_sentence_with_the_formats_there_are(save, fake_ffmpeg):
    fake_ffmpeg(
        "answer = subprocess.run([real, *arguments], capture_output=True)\n"
        "sys.stdout.buffer.write(b'\\n'.join(l for l in answer.stdout.splitlines() if b'libx26' not in l))\n"
    )
    with pytest.raises(UserError, match=r"no libx264.*mp4 av1, webm vp9, mkv ffv1, mov prores"):
        save(media.make_pictures(2, 16, 16))


def test_av1_falls_back_to_the_encoder_that_is_there(save, fake_ffmpeg):
    fake_ffmpeg(
        "if '-encoders' in arguments:\n"
        "    answer = subprocess.run([real, *arguments], capture_output=True).stdout\n"
        "    sys.stdout.buffer.write(b'\\n'.join(l for l in answer.splitlines() if b'libsvtav1' not in l))\n"
        "else:\n"
        "    assert 'libaom-av1' in arguments\n"
        "    sys.exit(subprocess.run([real, *arguments]).returncode)\n"
    )
    assert save(torch.rand(2, 64, 64, 3), format="mp4 av1").frames == 2


def test_a_rate_that_no_encoder_takes_gets_a_sentence(save, output, fake_ffmpeg):
    fake_ffmpeg(
        "answer = subprocess.run([real, *arguments], capture_output=True)\n"
        "sys.stdout.buffer.write(b'\\n'.join(l for l in answer.stdout.splitlines() if b'libaom-av1' not in l))\n"
    )
    with pytest.raises(UserError, match=r"has 250 frames per second, and mp4 av1 takes at most 240 here: choose"):
        save(media.make_pictures(2, 64, 64), format="mp4 av1", fps=250)
    assert not [*output.glob("*.mp4")]


def test_a_binary_that_dies_at_once_is_reported_with_its_words(save, output, fake_ffmpeg):
    fake_ffmpeg(
        "if '-encoders' in arguments:\n"
        "    sys.exit(subprocess.run([real, *arguments]).returncode)\n"
        "print('the licence has expired', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    with pytest.raises(VideoError, match="code 3: the licence has expired"):
        save(torch.rand(30, 256, 256, 3))
    assert list(output.iterdir()) == []


def test_much_talk_on_the_error_output_does_not_block(save, fake_ffmpeg):
    fake_ffmpeg(
        "if '-encoders' not in arguments:\n"
        "    for _ in range(20000): print('warning ' * 10, file=sys.stderr)\n"
        "sys.exit(subprocess.run([real, *arguments]).returncode)\n"
    )
    assert save(media.make_pictures(3, 16, 16)).frames == 3


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((0, 16, 16, 3), "no frames"),
        ((2, 0, 16, 3), "at least 1×1"),
        ((2, 16, 16, 2), "1, 3 or 4 channels"),
        ((2, 16, 16, 5), "1, 3 or 4 channels"),
        ((16, 16, 3), "shape"),
    ],
)
def test_images_of_a_wrong_shape_are_refused_with_it(save, shape, words):
    with pytest.raises(UserError, match=words):
        save(torch.zeros(shape))


def test_integer_images_are_refused(save):
    with pytest.raises(UserError, match="uint8"):
        save(torch.zeros(2, 16, 16, 3, dtype=torch.uint8))


@pytest.mark.parametrize(("name", "crf"), [("mp4 h264", 52), ("mp4 h265", 63), ("webm vp9", 64), ("mp4 h264", -1)])
def test_a_crf_that_the_format_has_not_is_refused(save, name, crf):
    with pytest.raises(UserError, match="set crf"):
        save(media.make_pictures(2, 16, 16), format=name, crf=crf)


def test_ffmpegs_reason_leaves_out_what_only_follows_from_it():
    error = FfmpegError(1, ["the cause", "[vost#0] Terminating thread with return code -22"])
    assert str(error) == "ffmpeg ended with code 1: the cause"


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's peak of memory")
def test_memory_does_not_grow_with_the_length_or_the_size(save):
    frames = torch.rand(1, 1080, 1920, 3)
    save(frames.expand(2, -1, -1, -1), format="mkv ffv1")  # loads what is loaded once
    clear, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    before = psutil.Process().memory_info().rss
    clear.write_text("5")
    save(frames.expand(80, -1, -1, -1), format="mp4 h264", crf=51)
    peak = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    assert peak - before < 32 * 2**20
