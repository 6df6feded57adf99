"""A server that is killed again and again still ends with the very same video, and makes no window twice.

`INFINITETALK_TEST_KILLS=24` kills more often than a quick run of the tests has time for.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_client import ComfyClient, Prompt
from evaluation.finished import saved_file
from talking_picture import inputs_of

from ..support import jobs, media
from ..support.restarts import KilledServer, Life, frames_in

KILLS_PER_JOB = 6
KILLS = int(os.environ.get("INFINITETALK_TEST_KILLS", KILLS_PER_JOB))
SECONDS, WINDOWS = 4.2, 9  # 105 frames: 17, then eight times 12, the last of them cut
WORST_COUNT = {"sampling": 5, "encoding": 3, "decoding": 2, "writing": 5, "flushing": 12, "renaming": 4, "saving": 50}
"""Calls in about two windows: how far a killed job may get."""


@pytest.fixture
def killed_server(tmp_path: Path) -> Iterator[KilledServer]:
    one = KilledServer(tmp_path / "killed server")
    yield one
    one.server.stop()


def make_prompt(server: KilledServer, picture: Path, sound: Path, seed: int) -> Prompt:
    """The small graph with the kill point between picture and sampler, and a file that holds no metadata."""
    if not server.server.is_running():
        server.server.start()
    prompt = jobs.small_prompt(ComfyClient(server.server.url), picture, sound, seed=seed)
    sampler = inputs_of(prompt, "InfiniteTalkSampler")
    prompt["kill"] = {"class_type": "KillPoint", "inputs": {"image": sampler["image"]}}
    sampler["image"] = ["kill", 0]
    inputs_of(prompt, "SaveVideoWithAudio")["save_metadata"] = False
    return prompt


def kills_of_a_job(chance: random.Random) -> list[dict | float]:
    """Moments at which the lives of one job end: in phases of the work, and one after some seconds."""
    early = chance.sample([phase for phase in WORST_COUNT if phase != "saving"], KILLS_PER_JOB - 2)
    deadly: list[dict | float] = [{"phase": one, "count": chance.randint(1, WORST_COUNT[one])} for one in early]
    deadly.append(chance.uniform(0.5, 3))
    chance.shuffle(deadly)
    return [*deadly, {"phase": "saving", "count": chance.randint(1, WORST_COUNT["saving"])}]


def test_a_job_killed_again_and_again_ends_with_the_same_video(
    killed_server: KilledServer, picture: Path, tmp_path: Path
):
    chance = random.Random(5)
    sound = media.write_speech(tmp_path, SECONDS)
    kills = 0
    for seed in itertools.count():
        if kills >= KILLS:
            break
        prompt = make_prompt(killed_server, picture, sound, seed)
        lives = []
        for deadly in kills_of_a_job(chance)[: KILLS - kills]:
            if isinstance(deadly, dict):
                killed_server.deadly.write_text(json.dumps(deadly))
            finished, life = killed_server.live(prompt, deadly if isinstance(deadly, float) else None)
            killed_server.deadly.unlink(missing_ok=True)
            lives.append(life)
            print(f"job {seed}: {deadly}: {'lived' if finished else 'killed'}, did {life.done}")  # noqa: T201
            kills += finished is None
            if finished:
                assert finished["status"]["status_str"] == "success", life.log[-3000:]
                killed_server.server.stop()  # the chosen moment did not come any more: the next life starts afresh
        finished, life = killed_server.live(prompt)
        lives.append(life)
        assert finished["status"]["status_str"] == "success", life.log[-3000:]
        assert_no_window_made_twice(lives)
        (folder,) = killed_server.run_folders()
        stored, saved = frames_in(folder), saved_file(prompt, finished)
        killed_server.clear_runs()

        inputs_of(prompt, "InfiniteTalkSampler")["resume"] = False
        unbroken, life = killed_server.live(prompt)
        assert life.done == list(range(1, WINDOWS + 1)), "the comparison was not made anew"
        (folder,) = killed_server.run_folders()
        assert stored == frames_in(folder)
        assert saved.read_bytes() == saved_file(prompt, unbroken).read_bytes()
        killed_server.clear_runs()
        killed_server.server.stop()  # it has the kill point's result in its cache
        assert kills >= (seed + 1) * KILLS_PER_JOB // 2, "too many of the moments never came: the test tests too little"


def assert_no_window_made_twice(lives: list[Life]) -> None:
    """Every life goes on after the last window that is on disk, and together they finish each window once."""
    before = 0
    for life in lives:
        expected = min(before + 1, WINDOWS) if before else None
        assert life.resumed_at in (expected, None)  # None: killed before it got there
        assert all(window > before for window in life.done)
        if life.done:
            assert life.resumed_at == expected
            assert life.done == list(range(before + 1, before + 1 + len(life.done)))
        # The last window may be on disk without the line in the log that says so.
        assert len(life.done) <= life.windows_on_disk - before <= len(life.done) + 1
        before = life.windows_on_disk
    assert before == WINDOWS
