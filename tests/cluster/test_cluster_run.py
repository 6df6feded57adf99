"""`cluster/run.py` as a person starts it: a local Ray, servers of its own or given ones, and what goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import job_file
import pytest
from cluster_trial import (
    KILL,
    WINDOW_DONE,
    Driver,
    keepers,
    kill_one,
    small_graph,
    talk_job,
    with_cuts,
    write_jobs,
)
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from environment import ROOT
from render import Server, render
from talking_picture import inputs_of

from ..support import media
from ..support.conditions import wait_until

IN_PROJECT_VENV = Path(sys.prefix).resolve().parent == ROOT and Path(sys.prefix).name.startswith(".venv")
pytestmark = [
    pytest.mark.skipif(not IN_PROJECT_VENV, reason="would install another environment: run by `python tests/run.py`"),
    pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals"),
]
MODELS = ROOT / "demo" / "models"


@pytest.fixture
def drivers() -> Iterator[list[Driver]]:
    """Whatever a test starts is ended with it."""
    started: list[Driver] = []
    yield started
    for driver in started:
        driver.stop()


@pytest.fixture(scope="module")
def cartoon_url(comfy_server: ComfyServer) -> str:
    """The common server, with the small models that talk."""
    import cartoon_models

    cartoon_models.copy_models(comfy_server.base / "models")
    return comfy_server.url


@pytest.mark.parametrize("seconds", ["0", "nan"])
def test_no_job_can_show_a_sign_within_no_time(seconds: str):
    command = [sys.executable, ROOT / "cluster" / "run.py", "--silent", seconds, "jobs.jsonl"]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2
    assert f"{seconds} is given, and a number of seconds from 1 on is needed" in refused.stderr


def reference(jobs: Path, url: str, name: str, folder: Path) -> bytes:
    """The video of a job, made on one server alone."""
    found, _ = job_file.read_jobs(jobs, folder, jobs.parent / "graph.json")
    (job,) = [one for one in found if one.id == name]
    return render(job, Server(url)).file.read_bytes()


def test_killed_driver_killed_server_and_killed_actor_lose_nothing_and_mistakes_stop_nobody(
    tmp_path: Path, cartoon_url: str, drivers: list[Driver]
):
    sound = media.write_speech(tmp_path, 6.0)
    folder = tmp_path / "\u4efb\u52a1 jobs"
    missing_node = {**small_graph(), "99": {"class_type": "NobodyHasThisNode", "inputs": {}}}
    jobs = write_jobs(
        folder,
        [
            talk_job("long", sound, 6.0, 1),
            talk_job("short", sound, 2.0, 2, output="sub/short.mp4"),
            talk_job("third", sound, 4.0, 3),
            talk_job("lost picture", sound, 1.0, 4) | {"picture": "nowhere.png"},
            talk_job("short", sound, 1.0, 5),
            talk_job("no such node", sound, 1.0, 6, workflow=missing_node),
            {"id": "title", "changes": {"Nobody.x": 1}},
        ],
        "{broken",
    )
    logs = jobs.with_suffix(".results.logs")
    first = Driver(jobs, "--workers", 2, "--models", MODELS)
    drivers.append(first)
    wait_until(lambda: first.windows_finished() >= 3, 240)
    assert first.process.poll() is None
    first.process.send_signal(KILL)
    first.process.wait()
    wait_until(lambda: not keepers(logs), 20)
    before = first.windows_finished()

    second = Driver(jobs, "--workers", 2, "--models", MODELS)
    drivers.append(second)
    wait_until(lambda: second.windows_finished() > before, 240)
    kill_one(keepers(logs)[0], "server")
    after_kill = second.windows_finished()
    wait_until(lambda: second.windows_finished() > after_kill + 1 and len(keepers(logs)) == 2, 240)
    kill_one(keepers(logs)[-1], "actor")
    assert second.process.wait(240) == 1, second.stderr_file.read_text(encoding="utf-8")

    done = second.done()
    assert set(done) == {"long", "short", "third"}
    windows = sum(line["windows"]["total"] for line in done.values())
    finished = second.windows_finished()
    assert finished <= windows, "finished windows were made twice"
    assert finished >= windows - 3  # who is killed may have no time to say that a window is on the disk
    assert sum(line["windows"]["taken_over"] for line in done.values()) >= 2, "it did not go on"
    for name in done:
        assert Path(done[name]["output"]).read_bytes() == reference(jobs, cartoon_url, name, tmp_path / "alone"), name
    videos = {file.relative_to(folder / "videos").as_posix() for file in (folder / "videos").rglob("*.mp4")}
    assert videos == {"long.mp4", "sub/short.mp4", "third.mp4"}
    failed = {line["id"]: line["error"] for line in second.results() if line["status"] == "failed"}
    assert failed["lost picture"].endswith("nowhere.png, which is not a file: mend the path.")
    assert "NobodyHasThisNode" in failed["no such node"]
    assert failed["short"].startswith("Line 5 of jobs.jsonl: its id is that of line 2")
    assert failed["title"].startswith("Line 7 of jobs.jsonl: the graph has 0 nodes 'Nobody'")
    assert failed[None].startswith("Line 8 of jobs.jsonl: it is not JSON")
    assert not any("Traceback" in sentence for sentence in failed.values())
    assert not keepers(logs)


def test_given_servers_do_jobs_of_which_one_does_not_answer_and_ctrl_c_stops_all(
    tmp_path: Path, comfy_server: ComfyServer, cartoon_url: str, drivers: list[Driver]
):
    sound = media.write_speech(tmp_path, 25.0)
    jobs = write_jobs(tmp_path / "jobs", [talk_job("quick", sound, 1.0, 11), talk_job("slow", sound, 25.0, 12)])
    urls = (cartoon_url, "http://127.0.0.1:9")
    first = Driver(jobs, "--servers", *urls)
    drivers.append(first)
    wait_until(lambda: "quick" in first.done(), 120)
    wait_until(lambda: any(line["status"] == "gone" for line in first.results()), 60)
    wait_until(lambda: "window 3 of 52 is done" in comfy_server.log(), 60)
    first.process.send_signal(signal.SIGINT)

    assert first.process.wait(60) == 130
    assert "The same command goes on." in first.stderr_file.read_text(encoding="utf-8")
    assert "Traceback" not in first.stderr_file.read_text(encoding="utf-8")
    wait_until(lambda: not ComfyClient(cartoon_url).get("/queue")["queue_running"], 20)
    (gone,) = [line for line in first.results() if line["status"] == "gone"]
    assert gone["server"] == urls[1]
    assert gone["error"].startswith("No ComfyUI answers at http://127.0.0.1:9")

    again = Driver(jobs, "--servers", cartoon_url)
    drivers.append(again)
    assert again.process.wait(200) == 0
    assert [line["id"] for line in again.results() if line["status"] == "done"] == ["quick", "slow"]
    assert again.done()["slow"]["windows"]["taken_over"] >= 1


def test_a_split_video_is_that_of_one_go_and_no_window_is_made_twice(
    tmp_path: Path, comfy_server: ComfyServer, cartoon_url: str, drivers: list[Driver]
):
    sound = media.write_speech(tmp_path, 2.0)
    graph = with_cuts(small_graph(), 0.6, 1.4)
    inputs_of(graph, "SaveVideoWithAudio")["save_metadata"] = False  # it tells whether the sampler should resume
    job = talk_job("scenes", sound, 2.0, 21, workflow=graph)
    said_before = len(comfy_server.log())
    driver = Driver(write_jobs(tmp_path / "split", [job]), "--servers", cartoon_url, "--split", 4)
    drivers.append(driver)
    assert driver.process.wait(200) == 0, driver.stderr_file.read_text(encoding="utf-8")
    (line,) = driver.results()
    windows = line["windows"]
    said = comfy_server.log()[said_before:]
    assert windows["made"] == windows["total"] == len(WINDOW_DONE.findall(said))
    assert "Part 4 of 4 is empty" in said  # there are three scenes

    job["changes"]["InfiniteTalk Sampler.resume"] = False
    in_one_go = reference(write_jobs(tmp_path / "one go", [job]), cartoon_url, "scenes", tmp_path / "one go")
    assert Path(line["output"]).read_bytes() == in_one_go


def test_without_any_server_that_answers_each_job_is_failed_with_a_sentence(tmp_path: Path, drivers: list[Driver]):
    jobs = write_jobs(tmp_path, [talk_job("a", tmp_path / "x.wav", 1.0, 1)])
    driver = Driver(jobs, "--servers", "http://127.0.0.1:9")
    drivers.append(driver)
    assert driver.process.wait(90) == 1
    (line,) = [one for one in driver.results() if one.get("id") == "a"]
    assert line["error"].startswith("No server is left: No ComfyUI answers at http://127.0.0.1:9")
