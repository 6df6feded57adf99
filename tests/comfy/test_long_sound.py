"""A small file with much sound in it, on the real server: what is written to the disk is what a job needs of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from comfy_client import ComfyClient, JobResult, Prompt
from comfy_server import ComfyServer
from evaluation import finished
from infinitetalk.audio.decode import KEPT_BYTES
from talking_picture import find_node, inputs_of

from ..support import jobs

RATE, SILENCE_SECONDS, TONE_SECONDS = 48_000, 1000, 2
WHOLE_BYTES = (SILENCE_SECONDS + TONE_SECONDS) * RATE * 2 * 4
OTHER_BYTES = 16 << 20  # the log, frames, and all else that a server writes meanwhile


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """17 minutes of stereo silence and a tone in the end: 1 MB, 385 MB when it is decoded."""
    import imageio_ffmpeg

    file = tmp_path_factory.mktemp("sounds") / "bomb.flac"
    inputs = [
        f"anullsrc=r={RATE}:cl=stereo:d={SILENCE_SECONDS}",
        f"sine=r={RATE}:f=480:d={TONE_SECONDS},pan=stereo|c0=c0|c1=c0",
    ]
    graph = "[0:a][1:a]concat=v=0:a=1"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *(w for i in inputs for w in ("-f", "lavfi", "-i", i))]
    subprocess.run([*command, "-filter_complex", graph, str(file)], check=True)
    return file


class Disk:
    """Counts what a server's process writes, to files with and without a name."""

    def __init__(self, server: ComfyServer) -> None:
        self._counters = Path(f"/proc/{server.pid}/io")
        if not self._counters.is_file():
            pytest.skip("only Linux counts what a process writes")
        self._before = self._total()

    def _total(self) -> int:
        counters = dict(line.split(": ") for line in self._counters.read_text().splitlines())
        return int(counters["wchar"])

    def written(self) -> int:
        """Bytes since the last call."""
        before, self._before = self._before, self._total()
        return self._before - before


def run(client: ComfyClient, prompt: Prompt) -> JobResult:
    result = client.run(prompt)
    assert not result.error, result.error_message
    return result


def test_ten_frames_of_it_write_no_more_than_is_kept_and_core_gets_all_of_it(
    client: ComfyClient, server: ComfyServer, picture: Path, bomb: Path
):
    prompt = jobs.small_prompt(client, picture, bomb)
    load = find_node(prompt, "InfiniteTalkLoadAudio")
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")["max_frames"] = 10
    inputs_of(prompt, "SaveVideoWithAudio")["audio"] = [load, 0]  # not what Audio Embeds has cut
    prompt["seconds"] = {"class_type": "PreviewAny", "inputs": {"source": [load, 1]}}
    disk = Disk(server)
    file, result = finished.run(client, prompt)
    assert disk.written() < KEPT_BYTES + OTHER_BYTES < WHOLE_BYTES
    assert result.outputs["seconds"]["text"] == [f"{SILENCE_SECONDS + TONE_SECONDS:.1f}"]
    assert finished.decode(file).sound.shape[0] == 10 * RATE // 25

    # The same bytes under another date are the same sound, which the server has loaded.
    uploaded = server.base / "input" / inputs_of(prompt, "InfiniteTalkLoadAudio")["audio"]
    uploaded.touch()
    core = {
        load: prompt[load],
        "same": {"class_type": "AudioAdjustVolume", "inputs": {"audio": [load, 0], "volume": 0}},  # hands it on
        "end": {
            "class_type": "TrimAudioDuration",
            "inputs": {"audio": ["same", 0], "start_index": -2.5, "duration": 2.5},
        },
        "save": {"class_type": "SaveAudio", "inputs": {"audio": ["end", 0], "filename_prefix": "tests/end_of_bomb"}},
    }
    result = run(client, core)
    assert load in result.cached_nodes
    saved = result.outputs["save"]["audio"][0]
    found, rate = soundfile.read(server.base / "output" / saved["subfolder"] / saved["filename"])
    wanted, _ = soundfile.read(bomb, start=-round(2.5 * RATE))
    assert rate == RATE
    assert np.abs(wanted).max() > 0.1
    assert np.array_equal(found, wanted)
