"""Jobs that were stopped, changed or finished before: what is made again, and what is not."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_client import ComfyClient, JobResult, Prompt
from evaluation import finished
from talking_picture import find_node, inputs_of

from ..support import jobs, media, more_models
from ..support.restarts import KilledServer, frames_in, windows_in

SECONDS, FRAMES, WINDOWS = 1.4, 35, 3


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KilledServer]:
    """A server that the tests of this file stop and start."""
    one = KilledServer(tmp_path_factory.mktemp("resumed") / "Comfy UI")
    yield one
    one.server.stop()


@pytest.fixture
def running(base: KilledServer) -> ComfyClient:
    """A client of the server as the test before left it."""
    if not base.server.is_running():
        base.server.stop()
        base.server.start()
    return ComfyClient(base.server.url)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.write_speech(tmp_path_factory.mktemp("sound"), SECONDS)


def texts(prompt: Prompt, result: JobResult) -> list[str]:
    """What the sampler wrote on itself."""
    sampler = find_node(prompt, "InfiniteTalkSampler")
    return [e.data["text"] for e in result.events if e.kind == "progress_text" and e.data["node"] == sampler]


def windows_made(prompt: Prompt, result: JobResult) -> set[int]:
    """Numbers of the windows that were sampled."""
    numbers = (re.match(r"Window (\d+) of", text) for text in texts(prompt, result))
    return {int(number.group(1)) for number in numbers if number}


def without_metadata(prompt: Prompt) -> Prompt:
    inputs_of(prompt, "SaveVideoWithAudio")["save_metadata"] = False
    return prompt


def restart(base: KilledServer) -> ComfyClient:
    base.server.stop()
    base.server.start()
    return ComfyClient(base.server.url)


def test_a_finished_job_is_not_sampled_again_after_a_restart(base, running, picture, sound):
    prompt = without_metadata(jobs.small_prompt(running, picture, sound))
    first, result = finished.run(running, prompt)
    assert windows_made(prompt, result) == set(range(1, WINDOWS + 1))

    again, result = finished.run(restart(base), prompt)

    assert texts(prompt, result) == ["Resumed at window 3 of 3: all done"]
    assert "Resumed at window 3 of 3: all done" in base.server.log()
    assert not jobs.sampler_progress(prompt, result.events)
    assert again != first
    assert again.read_bytes() == first.read_bytes()


def test_a_damaged_window_is_made_again_after_a_restart(base, running, picture, sound):
    prompt = without_metadata(jobs.small_prompt(running, picture, sound, seed=3))
    first, _ = finished.run(running, prompt)
    base.server.stop()
    file = newest(base) / "window-00002.rgb"
    damaged = bytearray(file.read_bytes())
    damaged[100] ^= 1
    file.write_bytes(damaged)

    again, result = finished.run(restart(base), prompt)

    assert windows_made(prompt, result) == {3}
    assert "window-00002.rgb is damaged" in base.server.log()
    assert again.read_bytes() == first.read_bytes()


def newest(base: KilledServer) -> Path:
    return max(base.run_folders(), key=lambda folder: (folder / "manifest.json").stat().st_mtime_ns)


def test_an_interrupted_job_goes_on_and_says_so(base, running, picture, sound):
    prompt = without_metadata(jobs.small_prompt(running, picture, sound, seed=4, growing_video=True))
    with running.connect() as connection:
        stopped = JobResult(running.submit(prompt))
        for event in connection.events_of(stopped.prompt_id):
            stopped.events.append(event)
            if event.kind == "progress_text" and event.data["text"].startswith("Window 2 of 3, step 1"):
                running.interrupt()
    assert stopped.interrupted
    said = texts(prompt, stopped)[-1]
    assert said.startswith("Stopped: the finished window of 3 is kept, queue the same graph again to go on; ")
    left = Path(re.search("; (.+) has them$", said).group(1))
    assert left.parent.name == "InfiniteTalk"
    seen = finished.decode(left)
    assert len(seen.frames) == jobs.SMALL["window_frames"]
    assert abs(len(seen.sound) / seen.sample_rate - len(seen.frames) / 25) < 0.03

    file, result = finished.run(running, prompt)

    assert texts(prompt, result)[0] == "Resumed at window 2 of 3"
    assert windows_made(prompt, result) == {2, 3}
    assert len(finished.decode(file).frames) == FRAMES
    assert not left.exists()
    inputs_of(prompt, "InfiniteTalkSampler")["growing_video"] = False
    assert finished.run(running, prompt)[0].read_bytes() == file.read_bytes()


def with_images(prompt: Prompt) -> Prompt:
    """The prompt with a node of core's that wants the sampler's IMAGE."""
    one_more = {**prompt, "images": {"class_type": "PreviewImage", "inputs": {}}}
    one_more["images"]["inputs"]["images"] = [find_node(prompt, "InfiniteTalkSampler"), 1]
    return one_more


def pictures(result: JobResult) -> int:
    return len(result.outputs["images"]["images"])


def test_images_that_are_connected_later_come_from_the_disk(running, picture, sound):
    prompt = jobs.small_prompt(running, picture, sound, seed=5)
    finished.run(running, prompt)

    _, result = finished.run(running, with_images(prompt))

    assert pictures(result) == FRAMES
    assert windows_made(prompt, result) == set()


def test_a_job_whose_images_were_connected_first_is_not_sampled_again_without_them(running, picture, sound):
    prompt = jobs.small_prompt(running, picture, sound, seed=6)
    _, result = finished.run(running, with_images(prompt))
    assert pictures(result) == FRAMES

    _, result = finished.run(running, prompt)

    assert windows_made(prompt, result) == set()


def test_images_that_would_fill_the_ram_are_memory_mapped(base, picture, sound, monkeypatch):
    monkeypatch.setenv("INFINITETALK_IMAGE_RAM_SHARE", "0")
    client = restart(base)
    prompt = jobs.small_prompt(client, picture, sound, seed=5)

    _, result = finished.run(client, with_images(prompt))

    assert pictures(result) == FRAMES
    assert windows_made(prompt, result) == set()
    assert "is memory-mapped" in base.server.log()
    base.server.stop()  # the next test shall have a server without this setting


def with_lora(prompt: Prompt, strength: float) -> Prompt:
    loader = find_node(prompt, "UNETLoader")
    inputs = {"model": [loader, 0], "lora_name": more_models.LORA, "strength_model": strength}
    changed = {**prompt, "lora": {"class_type": "LoraLoaderModelOnly", "inputs": inputs}}
    inputs_of(changed, "InfiniteTalkSampler")["model"] = ["lora", 0]
    return changed


def test_a_changed_lora_strength_is_another_job_and_the_former_one_goes_on_after_a_restart(
    base, running, picture, sound
):
    prompt = without_metadata(jobs.small_prompt(running, picture, sound, seed=7))
    full, _ = finished.run(running, with_lora(prompt, 1.0))
    other, result = finished.run(running, with_lora(prompt, 0.5))
    assert windows_made(prompt, result) == {1, 2, 3}
    assert other.read_bytes() != full.read_bytes()

    again, result = finished.run(restart(base), with_lora(prompt, 1.0))

    assert windows_made(prompt, result) == set()
    assert again.read_bytes() == full.read_bytes()


def test_two_servers_on_one_folder_make_the_same_video_without_disturbing_each_other(
    base, picture, sound, tmp_path, monkeypatch
):
    monkeypatch.setenv("INFINITETALK_RUNS_FOLDER", str(tmp_path / "shared runs"))
    other = KilledServer(tmp_path / "other server")
    files: dict[str, Path] = {}

    def job(one: KilledServer) -> None:
        client = ComfyClient(one.server.url)
        prompt = without_metadata(jobs.small_prompt(client, picture, sound, seed=8))
        files[one.server.url], _ = finished.run(client, prompt)

    try:
        for one in (base, other):
            one.server.stop()
            one.server.start()
        threads = [threading.Thread(target=job, args=(one,)) for one in (base, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        other.server.stop()
        base.server.stop()
    first, second = (file.read_bytes() for file in files.values())
    assert first == second
    runs = sorted((tmp_path / "shared runs").glob("run-*"))
    assert all(windows_in(run) == WINDOWS for run in runs)
    assert len({frames_in(run) for run in runs}) == 1


def test_a_full_disk_in_the_middle_is_named_and_the_job_goes_on_when_there_is_room(
    base, picture, tmp_path, monkeypatch
):
    disk = tmp_path / "small disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets the tests mount nothing")
    try:
        monkeypatch.setenv("INFINITETALK_RUNS_FOLDER", str(disk / "runs"))
        client = restart(base)
        sound = media.write_speech(tmp_path, 4.0)  # 100 frames of 48 × 32: 0.46 MB, eight windows
        prompt = jobs.small_prompt(client, picture, sound, seed=9)
        with client.connect() as connection:
            failed = JobResult(client.submit(prompt))
            for event in connection.events_of(failed.prompt_id):
                failed.events.append(event)
                if event.kind == "progress_text" and event.data["text"].startswith("Window 3 of"):
                    fill(disk / "ballast")
        sentence = client.finish(failed).error_message
        assert re.search(r"Window 3 could not be written .*No space left.* the 2 finished windows are kept", sentence)
        assert failed.error["exception_type"].endswith("UserError")

        (disk / "ballast").unlink()
        file, result = finished.run(client, prompt)

        assert texts(prompt, result)[0].startswith("Resumed at window 3 of")
        assert len(finished.decode(file).frames) == 100
    finally:
        base.server.stop()
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(ballast: Path) -> None:
    """Write until the disk is full."""
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
