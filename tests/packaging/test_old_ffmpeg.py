"""`IMAGEIO_FFMPEG_EXE` may name the FFmpeg of an old system: that writes every format, too, in its colors."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.video_io.save.file_name import make_target
from infinitetalk.video_io.save.formats import FORMATS
from infinitetalk.video_io.save.writer import SaveSettings, save_video

from ..support.conditions import unavailable

WITH_FFMPEG_4_2 = "imageio-ffmpeg==0.5.1"
BT709 = 1  # matrix, as ITU-T H.273 counts them
FRAMES = 3


@pytest.fixture
def old_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has videos written by an FFmpeg of 2019."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--target", tmp_path / "packages", WITH_FFMPEG_4_2]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        unavailable(f"{WITH_FFMPEG_4_2} for this Python cannot be had: {done.stderr.strip()}")
    (program,) = (tmp_path / "packages" / "imageio_ffmpeg" / "binaries").glob("ffmpeg*")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(program))


def test_every_format_is_written_and_tagged_by_an_old_ffmpeg(old_ffmpeg: None, tmp_path: Path):
    sound = {"waveform": torch.rand(1, 2, 8000) * 0.1, "sample_rate": 44100}
    for video_format in FORMATS.values():
        target = make_target("talk", tmp_path, video_format.suffix)
        source = ImageFrames(torch.rand(FRAMES, 48, 64, 3), Fraction(25))
        saved = save_video(source, sound, target, SaveSettings(video_format))
        assert saved.warning is None, video_format.name
        with av.open(str(saved.path)) as container:
            frames = list(container.decode(video=0))
        assert len(frames) == FRAMES, video_format.name
        if "yuv" in frames[0].format.name:
            assert frames[0].colorspace == BT709, video_format.name
