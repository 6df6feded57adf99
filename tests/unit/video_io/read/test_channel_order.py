"""Channels come in the order of WAV files, whatever order the file has them in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from infinitetalk.audio.decode import decode_file

from ....support import files, media

ROOT = Path(media.__file__).resolve().parents[2]
LAYOUTS = {3: "3.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
LOW = 0.02  # what an encoder leaves of a tone in the channel for low ones, at least


def steps(path: Path, channels: int, *options: str) -> Path:
    """A tone in each channel, 0.1 louder than in the one before it."""
    tones = "|".join(f"0.1*{channel + 1}*sin(2*PI*300*t)" for channel in range(channels))
    source = f"aevalsrc={tones}:s=48000:d=0.5:c={LAYOUTS[channels]}"
    files.ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def peaks(path: Path) -> list[float]:
    """Of each channel, from its root mean square."""
    return (decode_file(path).samples.numpy().std(axis=1) * 2**0.5).tolist()


@pytest.mark.parametrize("channels", list(LAYOUTS))
@pytest.mark.parametrize(
    ("name", "codec"),
    [("x.ogg", ("libvorbis",)), ("x.opus", ("libopus", "-mapping_family", "1")), ("x.flac", ("flac",))],
)
def test_a_center_is_no_right_in_any_codec(tmp_path: Path, channels: int, name: str, codec: tuple[str, ...]):
    found = peaks(steps(tmp_path / name, channels, "-c:a", *codec))
    low = 3 if channels in (6, 7, 8) else None
    wanted = [0.1 * (channel + 1) for channel in range(channels) if channel != low]
    assert [peak for channel, peak in enumerate(found) if channel != low] == pytest.approx(wanted, abs=0.03)
    assert low is None or found[low] > LOW


def test_a_quicktime_file_that_lists_its_channels_comes_in_wav_order(tmp_path: Path):
    """In a process of its own, since PyAV would end this one."""
    listed, mono = tmp_path / "listed.mov", tmp_path / "mono.mov"
    steps(tmp_path / "x.wav", 6)
    for path, channels, names in ((listed, "0|2|1|4|5|3", "FL+FC+FR+BL+BR+LFE"), (mono, "0|1", "FC+FC")):
        order = f"channelmap={channels}:{names}"
        files.ffmpeg("-i", tmp_path / "x.wav", "-af", order, "-c:a", "pcm_s16le", path)
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r})\n"
        "import in_process; in_process.load_pack()\n"
        "from pathlib import Path; from infinitetalk.audio.decode import decode_file\n"
        "for path in sys.argv[1:]:\n"
        "    sounds = [decode_file(Path(path)).samples.numpy() for _ in range(10)]\n"
        "    print(*(sounds[-1].std(axis=1) * 2**0.5))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, listed, mono], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-400:]
    first, second = (np.array(line.split(), float) for line in done.stdout.splitlines())
    assert first == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], abs=0.01)
    assert second == pytest.approx([0.1, 0.2], abs=0.01)
