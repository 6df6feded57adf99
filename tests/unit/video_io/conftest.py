"""A save into the test's own folder, and a stand-in for ffmpeg."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.video_io.save.ffmpeg_process import find_ffmpeg
from infinitetalk.video_io.save.file_name import make_target
from infinitetalk.video_io.save.formats import FORMATS
from infinitetalk.video_io.save.writer import SavedVideo, SaveSettings, save_video


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., SavedVideo]:
    """Save images (and sound) into the test's folder: `save(images, audio, format="mp4 h264", fps=25, ...)`."""

    def run(
        images: Any,
        audio: Any = None,
        *,
        format: str = "mp4 h264",
        fps: Fraction | int = 25,
        prefix: str = "video",
        tags: dict[str, Any] | None = None,
        check: Callable[[], None] = lambda: None,
        **settings: Any,
    ) -> SavedVideo:
        source = ImageFrames(images, Fraction(fps)) if isinstance(images, torch.Tensor) else images
        target = make_target(prefix, tmp_path / "output", FORMATS[format].suffix)
        return save_video(source, audio, target, SaveSettings(FORMATS[format], **settings), tags, check=check)

    return run


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a Python program in front of the real ffmpeg: the code sees `arguments` and `real`, the real binary.

    A stand-in because a real ffmpeg cannot be made to fail at a chosen point.
    """

    def install(code: str) -> None:
        real = find_ffmpeg()
        script = tmp_path / "fake_ffmpeg.py"
        head = "import subprocess, sys, os\n"
        script.write_text(f"{head}real = {real!r}\narguments = sys.argv[1:]\n{code}\n", encoding="utf-8")
        if os.name == "nt":
            launcher = tmp_path / "fake_ffmpeg.bat"
            launcher.write_text(f'@"{sys.executable}" "{script}" %*\n', encoding="utf-8")
        else:
            launcher = tmp_path / "fake_ffmpeg"
            launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', encoding="utf-8")
            launcher.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(launcher))

    return install


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """The output folder that `save` writes to."""
    return tmp_path / "output"
