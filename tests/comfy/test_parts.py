"""One video made as parts by three processes on one storage, two of them killed: the same bytes as in one go.

`INFINITETALK_TEST_SCENES=30` has three servers at work at the same time; a quick run of the tests has one after the
other, each the heir of one that was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from comfy_client import ComfyClient, Prompt
from talking_picture import find_node, inputs_of

from ..support import jobs, media
from ..support.restarts import KilledServer, Life, frames_in, windows_in
from ..support.storyboard import other_picture, with_scenes

SIDE_BY_SIDE = "INFINITETALK_TEST_SCENES" in os.environ
SECONDS, STARTS = 3.0, (0.84, 2.0)
WINDOWS = {3: 2, 2: 2, 1: 2}
"""Of each part, in the order in which they are begun."""
DEADLY = {3: {"phase": "sampling", "count": 7}, 2: {"phase": "decoding", "count": 2}}
"""When the server of a part dies: in its second window."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage") / "shared runs"


@pytest.fixture(scope="module")
def servers(storage: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, KilledServer]]:
    """The server of each part; their runs lie on one storage."""
    patch = pytest.MonkeyPatch()
    patch.setenv("INFINITETALK_RUNS_FOLDER", str(storage))
    made = [KilledServer(tmp_path_factory.mktemp("server")) for _ in (WINDOWS if SIDE_BY_SIDE else "1")]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda one: one.server.start(), made))
    yield dict(zip(WINDOWS, made * len(WINDOWS), strict=False))
    for one in made:
        one.server.stop()
    patch.undo()


def storyboard(server: KilledServer, picture: Path, sound: Path, part: str) -> Prompt:
    """Two pictures that alternate over three scenes, with the kill point before the sampler."""
    prompt = jobs.small_prompt(ComfyClient(server.server.url), picture, sound, text_cfg=1.0)
    loaded = [find_node(prompt, "LoadImage"), 0]
    prompt = with_scenes(
        prompt, {"start": STARTS[0], "image": other_picture(prompt)}, {"start": STARTS[1], "image": loaded}
    )
    prompt["kill"] = {"class_type": "KillPoint", "inputs": {"image": loaded}}
    inputs_of(prompt, "InfiniteTalkSampler").update(image=["kill", 0], part=part, seed=11)
    return prompt


def live(server: KilledServer, prompt: Prompt, deadly: dict[str, Any] | None = None) -> tuple[bool, Life]:
    """Queue the prompt once; whether the server has lived, and what it did."""
    if deadly is not None:
        server.deadly.write_text(json.dumps(deadly))
    finished, life = server.live(prompt)
    assert finished is None or finished["status"]["status_str"] == "success", life.log[-3000:]
    return finished is not None, life


def test_parts_of_three_processes_make_the_video_that_one_makes(servers, storage, picture, tmp_path):
    sound = media.write_speech(tmp_path, SECONDS)
    prompts = {part: storyboard(server, picture, sound, f"{part}/3") for part, server in servers.items()}
    with ThreadPoolExecutor(len(WINDOWS) if SIDE_BY_SIDE else 1) as pool:
        lives = pool.map(lambda part: live(servers[part], prompts[part], DEADLY.get(part)), WINDOWS)
        first = dict(zip(WINDOWS, lives, strict=True))
    assert {part for part, (lived, _) in first.items() if not lived} == set(DEADLY)
    again = {part: live(servers[part], prompts[part]) for part in DEADLY}
    for part, windows in WINDOWS.items():
        lives = [first[part][1], *([again[part][1]] if part in again else [])]
        done = [window for life in lives for window in life.done]
        assert sorted(done) == list(range(1, windows + 1)), f"windows of part {part}: {done}"

    whole = storyboard(servers[1], picture, sound, "")
    before = set(storage.glob("run-*"))
    _, life = live(servers[1], whole)
    assert life.done == [], "a window was made twice"
    assert "all done" in life.log
    (folder,) = set(storage.glob("run-*")) - before
    assert windows_in(folder) == sum(WINDOWS.values())
    assert all(file.stat().st_nlink > 1 for file in folder.glob("window-*.rgb")), "frames were copied"
    together = frames_in(folder)

    inputs_of(whole, "InfiniteTalkSampler")["resume"] = False
    _, life = live(servers[1], whole)
    assert len(life.done) == sum(WINDOWS.values()), "the comparison was not made anew"
    newest = max(storage.glob("run-*"), key=lambda one: (one / "manifest.json").stat().st_mtime_ns)
    assert frames_in(newest) == together
