"""`python demo/run.py` itself: on a running server, and with one of its own that it never leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from environment import ROOT

from ..support import media
from ..support.conditions import wait_until

IN_PROJECT_VENV = Path(sys.prefix).resolve().parent == ROOT and Path(sys.prefix).name.startswith(".venv")
needs_project_venv = pytest.mark.skipif(
    not IN_PROJECT_VENV, reason="would install a second environment: run by `python tests/run.py`"
)


def demo(*arguments: object) -> list[str]:
    return [sys.executable, str(ROOT / "demo" / "run.py"), *map(str, arguments)]


@needs_project_venv
def test_it_runs_on_a_server_that_is_there(server: ComfyServer, tmp_path: Path):
    sound = media.write_speech(tmp_path, 0.6, rate=32_000, channels=2)
    output = tmp_path / "\u89c6\u9891 folder" / "talk.mp4"

    made = subprocess.run(
        demo("--server", server.url, "--audio", sound, "--output", output, "--json"),
        capture_output=True, text=True, encoding="utf-8", timeout=300,
    )  # fmt: skip

    assert made.returncode == 0, made.stderr
    facts = json.loads(made.stdout.splitlines()[-1])
    assert Path(facts.pop("path")) == output.resolve()
    assert facts == {
        "width": 128, "height": 128, "fps": 25.0, "frames": 15, "seconds": 0.6, "video_codec": "h264",
        "audio_codec": "aac", "audio_rate": 32_000, "audio_channels": 2, "audio_seconds": 0.6,
    }  # fmt: skip


@needs_project_venv
def test_a_failed_job_ends_with_the_server_s_sentence(server: ComfyServer, tmp_path: Path):
    text = tmp_path / "notes.wav"
    text.write_text("This is not a sound.", encoding="utf-8")

    made = subprocess.run(
        demo("--server", server.url, "--audio", text), capture_output=True, text=True, encoding="utf-8", timeout=300
    )

    assert made.returncode == 1
    assert "Traceback" not in made.stderr
    assert made.stderr.splitlines()[-1].startswith("InfiniteTalkLoadAudio: ")


def test_a_missing_picture_is_refused_before_anything_is_installed(tmp_path: Path):
    made = subprocess.run(demo("--image", tmp_path / "none.png"), capture_output=True, text=True, timeout=60)

    assert made.returncode == 1
    assert made.stderr.strip().endswith("none.png, which is not a file: give the path of one.")


@pytest.mark.parametrize(
    ("output", "words"),
    [("file/talk.mp4", "give another --output."), ("talk.webm", "end with .mp4, or give a folder.")],
)
def test_an_output_that_cannot_be_is_refused_before_anything_is_installed(tmp_path: Path, output: str, words: str):
    (tmp_path / "file").touch()
    made = subprocess.run(demo("--output", tmp_path / output), capture_output=True, text=True, timeout=60)

    assert (made.returncode, made.stderr.count("\n")) == (1, 1), made.stderr
    assert made.stderr.strip().endswith(words)


@needs_project_venv
@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize(("number", "moment"), [("SIGTERM", "Starting ComfyUI"), ("SIGINT", "Window 1")])
def test_ending_it_leaves_no_process(tmp_path: Path, number: str, moment: str):
    import psutil

    log = tmp_path / "log.txt"
    with log.open("w") as stderr:
        picture = ROOT / "demo" / "media" / "face.png"
        process = subprocess.Popen(demo("--image", picture, "--output", tmp_path / "never.mp4"), stderr=stderr)
    wait_until(lambda: moment in log.read_text() and psutil.Process(process.pid).children(), 240)
    server = psutil.Process(process.pid).children(recursive=True)

    process.send_signal(getattr(signal, number))

    assert process.wait(30) == 130
    assert ("a photo needs the real ones" in log.read_text()) == (moment == "Window 1")
    assert server
    assert not psutil.wait_procs(server, timeout=5)[1]
    assert not (tmp_path / "never.mp4").exists()
