"""Is nothing lost on a cluster whose machines die, and what does the cluster cost? Real processes on this machine.

1. *Dying machines*: 24 videos of 2 to 12 s by the small models that talk, on three Ray nodes. Meanwhile actors and
   servers are killed, one node is removed and another added, the driver is killed once and started again. The files are
   compared with those of one server alone, byte by byte.
2. *Speed*: two given servers against one, with jobs whose time is waiting: a node that sleeps stands in for the
   sampler, for two cores cannot sample twice as fast.
3. *Overhead*: a job of 10 s of such waiting, through driver and actor and on the bare server.
4. *Simulation*: what `cluster/simulate.py` says of (2), fed with the figures of the one worker.

    python benchmarks/cluster.py [--json FILE] [--jobs 24] [--kills 6] [--only dying speed overhead]
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import support

support.enter_environment()

import cluster_trial
from cluster_trial import KILL, Driver, keepers, kill_one, long_speech, small_graph, talk_job, write_jobs
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from environment import Environment, find_core
from talking_picture import PICTURE, find_node

SHORTEST, LONGEST = 2.0, 12.0  # seconds of video
WAIT_SECONDS, WAITING_JOBS = 3.0, 12
LONG_WAIT_SECONDS, LONG_JOBS = 10.0, 4
KILL_EVERY = (12.0, 25.0)  # seconds
WAITING_NODE = """
import time


class WaitInstead:
    CATEGORY, FUNCTION, RETURN_TYPES = "benchmark", "wait", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "seconds": ("FLOAT", {"default": 1.0}), "name": ("STRING", {})}}

    def wait(self, image, seconds, name):
        time.sleep(seconds)
        return (image,)


NODE_CLASS_MAPPINGS = {"WaitInstead": WaitInstead}
"""


def dying_machines(folder: Path, count: int, kills: int) -> dict[str, Any]:
    """Part 1; the figures."""
    from ray.cluster_utils import Cluster

    chance = random.Random(7)
    sound = long_speech(folder / "speech.wav", LONGEST)
    lengths = [round(SHORTEST + (LONGEST - SHORTEST) * n / max(1, count - 1), 2) for n in range(count)]
    jobs = write_jobs(folder / "jobs", [talk_job(f"talk-{n:02}", sound, s, n) for n, s in enumerate(lengths)])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
        options = ("--address", cluster.address, "--workers", 3)
        driver, happened = Driver(jobs, *options), []
        start = time.monotonic()
        events = ["server", "actor"] * ((kills + 1) // 2)
        events = events[:kills]
        events.insert(2, "node")
        events.insert(4, "driver")
        last = len(driver.done())
        while driver.process.poll() is None:
            time.sleep(chance.uniform(*KILL_EVERY))
            if not events or driver.process.poll() is not None or not any_working(jobs):
                continue
            what = events.pop(0)
            happened.append(what)
            last = len(driver.done())
            print(f"{time.monotonic() - start:5.0f} s: {last} of {count} done, killing: {what}", flush=True)
            if what == "node":
                cluster.remove_node(nodes.pop(0), allow_graceful=False)
                nodes.append(cluster.add_node(num_cpus=1))
            elif what == "driver":
                os.kill(driver.process.pid, KILL)
                driver.process.wait()
                driver = Driver(jobs, *options)
            else:
                kill_one(chance.choice(keepers(jobs.with_suffix(".results.logs"))), what)
        seconds = time.monotonic() - start
    finally:
        cluster.shutdown()
    return judged(folder, driver, lengths, sound, happened, seconds)


def any_working(jobs: Path) -> bool:
    """Whether there is a server to kill."""
    return bool(keepers(jobs.with_suffix(".results.logs")))


def judged(
    folder: Path, driver: Driver, lengths: list[float], sound: Path, happened: list[str], seconds: float
) -> dict[str, Any]:
    """What was lost, what was done twice, and whether the bytes are those of one server."""
    lines = driver.results()
    done = driver.done()
    times_done = [sum(line["id"] == name and line["status"] == "done" for line in lines) for name in done]
    windows = sum(line["windows"]["total"] for line in done.values())
    lost = sum(
        line["windows"]["made"] + line["windows"]["taken_over"] - line["windows"]["total"] for line in done.values()
    )
    alone = one_server_alone(folder / "alone", lengths, sound)
    equal = [name for name, line in done.items() if Path(line["output"]).read_bytes() == alone[name].read_bytes()]
    kills = [what for what in happened if what in ("server", "actor", "node")]
    found = {
        "jobs": len(lengths),
        "lost": len(lengths) - len(done),
        "done_twice": sum(times - 1 for times in times_done),
        "bytes_equal": len(equal),
        "happened": happened,
        "windows": windows,
        "windows_finished_twice": max(0, driver.windows_finished() - windows),
        "windows_lost_per_kill": round(lost / max(1, len(kills)), 3),
        "tries": sum(line["tries"] for line in done.values()),
        "seconds": round(seconds, 1),
    }
    print(json.dumps(found, indent=2), flush=True)
    return found


def one_server_alone(base: Path, lengths: list[float], sound: Path) -> dict[str, Path]:
    """The videos of the same graphs, from one server, by job."""
    import job_file

    jobs, _ = job_file.read_jobs(
        write_jobs(base / "jobs", [talk_job(f"talk-{n:02}", sound, s, n) for n, s in enumerate(lengths)]),
        base / "videos",
        base / "jobs" / "graph.json",
    )
    shutil.copytree(cluster_trial.ROOT / "demo" / "models", base / "models")
    with support.server(base) as server:
        client = ComfyClient(server.url)
        return {job.id: bare_job(client, job) for job in jobs}


def bare_job(client: ComfyClient, job: Any) -> Path:
    """A job as any client would do it."""
    import render

    graph = render._with_media(job, render.Server(client.url), client)
    result = client.run(graph)
    if result.error:
        raise SystemExit(f"The job failed: {result.error_message}")
    (saved,) = result.outputs[find_node(graph, "SaveVideoWithAudio")]["gifs"]
    target = job.target.with_suffix(".mp4")
    client.view(saved, target)
    return target


def waiting_graph() -> dict[str, Any]:
    """A picture, time, a video."""
    save = small_graph()[find_node(small_graph(), "SaveVideoWithAudio")]["inputs"]
    save = {name: value for name, value in save.items() if not isinstance(value, list)}
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "face.png"}, "_meta": {"title": "Picture"}},
        "2": {"class_type": "WaitInstead", "inputs": {"image": ["1", 0], "seconds": 1.0, "name": ""}},
        "3": {"class_type": "SaveVideoWithAudio", "inputs": {**save, "images": ["2", 0]}},
    }


def waiting_jobs(folder: Path, count: int, seconds: float) -> Path:
    """Jobs that only wait."""
    file = write_jobs(folder, [
        {"id": f"wait-{n}", "picture": str(PICTURE),
         "changes": {"WaitInstead.seconds": seconds, "WaitInstead.name": str(n)}}
        for n in range(count)
    ])  # fmt: skip
    (folder / "graph.json").write_text(json.dumps(waiting_graph()), encoding="utf-8")
    return file


def waiting_server(base: Path) -> ComfyServer:
    """A server with the node that waits."""
    node = base / "custom_nodes" / "wait_instead.py"
    node.parent.mkdir(parents=True)
    node.write_text(WAITING_NODE, encoding="utf-8")
    import sys

    return ComfyServer(Environment(Path(sys.prefix), find_core()), base)


def seconds_of(jobs: Path, urls: list[str], skip: int) -> float:
    """From the end of the first `skip` jobs to the end of the last one."""
    driver = Driver(jobs, "--servers", *urls)
    ends: list[float] = []
    while driver.process.poll() is None or len(ends) < len(driver.results()):
        ends += [time.monotonic()] * (len(driver.results()) - len(ends))
        time.sleep(0.02)
    if driver.process.returncode:
        raise SystemExit(driver.stderr_file.read_text(encoding="utf-8"))
    return ends[-1] - ends[skip - 1]


def waiting(folder: Path, parts: set[str]) -> dict[str, Any]:
    """Parts 2 to 4; the figures."""
    found: dict[str, Any] = {}
    with waiting_server(folder / "server 1") as first, waiting_server(folder / "server 2") as second:
        for server in (first, second):  # the first job of a server loads what the others find there
            seconds_of(waiting_jobs(folder / f"warm {server.pid}", 1, 0.1), [server.url], 1)
        if "speed" in parts:
            found |= speed(folder, [first.url, second.url])
        if "overhead" in parts:
            found |= overhead(folder, first.url)
    print(json.dumps(found, indent=2), flush=True)
    return found


def speed(folder: Path, urls: list[str]) -> dict[str, Any]:
    """Two workers against one, and the simulation of that."""
    import simulate

    one = seconds_of(waiting_jobs(folder / "one", WAITING_JOBS, WAIT_SECONDS), urls[:1], 1) / (WAITING_JOBS - 1)
    two = seconds_of(waiting_jobs(folder / "two", WAITING_JOBS, WAIT_SECONDS), urls, 2) / (WAITING_JOBS - 2)
    simulated = simulate.seconds_per_job(WAITING_JOBS, workers=2, job_seconds=one)
    return {
        "jobs_per_hour_over_one_worker": round(one / two, 3),
        "simulated_over_measured_seconds": round(simulated / two, 3),
    }


def overhead(folder: Path, url: str) -> dict[str, Any]:
    """Driver and actor over the bare server, each job timed from one end to the next."""
    import job_file

    path = waiting_jobs(folder / "bare", LONG_JOBS, LONG_WAIT_SECONDS + 0.01)  # not what the server has in its cache
    jobs, _ = job_file.read_jobs(path, folder / "bare videos", path.parent / "graph.json")
    client = ComfyClient(url)
    bare_job(client, jobs[0])
    start = time.monotonic()
    for job in jobs[1:]:
        bare_job(client, job)
    bare = (time.monotonic() - start) / (LONG_JOBS - 1)
    ours = seconds_of(waiting_jobs(folder / "ours", LONG_JOBS, LONG_WAIT_SECONDS), [url], 1) / (LONG_JOBS - 1)
    return {
        "overhead_over_bare_server": round(ours / bare - 1, 4),
        "bare_seconds": round(bare, 3),
        "cluster_seconds": round(ours, 3),
    }


def main() -> None:
    """Measure, print, write."""
    parser = support.arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--only", nargs="+", default=["dying", "speed", "overhead"])
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        if {"speed", "overhead"} & set(options.only):
            found |= waiting(Path(name) / "waiting", set(options.only))
        if "dying" in options.only:
            found |= dying_machines(Path(name), options.jobs, options.kills)
    support.write_json(options.json, found)


if __name__ == "__main__":
    main()
