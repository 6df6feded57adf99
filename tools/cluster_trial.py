"""A real cluster on one machine, for tests and benchmarks: the driver as a process, and what is killed of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import talking_picture
from environment import ROOT
from talking_picture import inputs_of

sys.path.append(str(ROOT / "cluster"))

RUN, KEEPER = ROOT / "cluster" / "run.py", ROOT / "cluster" / "keep_server.py"
SMALL = {"width": 48, "height": 32, "steps": 2, "window_frames": 17}
WINDOW_DONE = re.compile(r"window \d+ of \d+ is done")
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def small_graph() -> dict[str, Any]:
    """The shipped graph with the small models that talk, with windows of half a second."""
    graph = talking_picture.with_cartoon_models(talking_picture.load_workflow())
    inputs_of(graph, "InfiniteTalkSampler").update(SMALL)
    return graph


def with_cuts(graph: dict[str, Any], *starts: float) -> dict[str, Any]:
    """The graph with scenes that begin with a cut to the same picture at these seconds."""
    sampler = inputs_of(graph, "InfiniteTalkSampler")
    for number, start in enumerate(starts, 2):
        inputs = {"image": sampler["image"], "start": start, "snap_to_pause": False, "transition": "cut"}
        before = {"scenes": sampler["scenes"]} if "scenes" in sampler else {}
        graph[f"scene {number}"] = {"class_type": "InfiniteTalkScene", "inputs": {**inputs, **before}}
        sampler["scenes"] = [f"scene {number}", 0]
    return graph


def long_speech(file: Path, seconds: float) -> Path:
    """The demo's speech again and again."""
    import numpy as np
    import soundfile

    samples, rate = soundfile.read(talking_picture.SPEECH, dtype="int16")
    wanted = round(seconds * rate)
    soundfile.write(file, np.tile(samples, wanted // len(samples) + 1)[:wanted], rate)
    return file


def talk_job(name: str, sound: Path, seconds: float, seed: int, **more: Any) -> dict[str, Any]:
    """A line for the file of the jobs."""
    changes = {"Speech.duration": seconds, "InfiniteTalk Sampler.seed": seed}
    return {"id": name, "picture": str(talking_picture.PICTURE), "sound": str(sound), "changes": changes, **more}


def write_jobs(folder: Path, jobs: list[dict[str, Any]], *more_lines: str) -> Path:
    """The file of the jobs, and the graph beside it as `graph.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "graph.json").write_text(json.dumps(small_graph()), encoding="utf-8")
    file = folder / "jobs.jsonl"
    file.write_text("".join(f"{line}\n" for line in (*map(json.dumps, jobs), *more_lines)), encoding="utf-8")
    return file


class Driver:
    """`cluster/run.py` as a process; its results are read from the file.

    Clusters often have a proxy for the rest of the world, which leads to none of their machines; this one is not there.
    """

    def __init__(self, jobs: Path, *options: object) -> None:
        self.jobs = jobs
        self.results_file = jobs.with_suffix(".results.jsonl")
        self.stderr_file = jobs.with_suffix(".stderr.txt")
        workflow = ["--workflow", str(jobs.parent / "graph.json")]
        command = [sys.executable, str(RUN), str(jobs), *workflow, *map(str, options)]
        env = {**os.environ, "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
        with self.stderr_file.open("a", encoding="utf-8") as stderr:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env=env
            )

    def results(self) -> list[dict[str, Any]]:
        """All whole lines so far."""
        if not self.results_file.exists():
            return []
        lines = self.results_file.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def done(self) -> dict[str, dict[str, Any]]:
        """The results of the jobs that are done, by id."""
        return {line["id"]: line for line in self.results() if line["status"] == "done"}

    def windows_finished(self) -> int:
        """By the logs of all servers."""
        logs = self.jobs.with_suffix(".results.logs").glob("*.log")
        return sum(len(WINDOW_DONE.findall(log.read_text(encoding="utf-8", errors="replace"))) for log in logs)

    def stop(self) -> None:
        """End it, if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def keepers(log_folder: Path) -> list[Any]:
    """The processes that keep the servers whose logs lie in a folder; the last argument is the number of the worker."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if str(KEEPER) in command and any(f"{log_folder}{os.sep}" in str(file.path) for file in server_files(process)):
            found.append(process)
    return found


def server_files(keeper: Any) -> list[Any]:
    """Files that the server of a keeper has open; its log is one of them."""
    import psutil

    try:
        return [file for child in keeper.children() for file in child.open_files()]
    except psutil.Error:
        return []


def kill_one(keeper: Any, what: str) -> None:
    """Kill the `server` of a keeper, its `actor`, or have the server `hang`."""
    import psutil

    try:
        (server,) = keeper.children()
        victim = psutil.Process(int(keeper.cmdline()[-1])) if what == "actor" else server
        victim.send_signal(signal.SIGSTOP if what == "hang" else KILL)
    except (psutil.Error, ValueError):  # it is just going
        return
