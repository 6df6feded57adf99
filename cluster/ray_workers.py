"""The workers as actors of a Ray cluster: one per GPU, each anew when it or its machine dies."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from dispatch import Task
from own_server import ServerRecipe
from ray.exceptions import RayActorError, RayError
from worker import Outcome, Worker

HERE = Path(__file__).resolve().parent
MODULES = (HERE, HERE.parent / "demo")
THREADS = 4  # of an actor: it tells of its work while it works
START_TRIES = 5
"""After so many failed starts of a server in a row its worker is given up; a URL that never answered, after two."""
PAUSE_SECONDS = 2.0
STOP_SECONDS = 15.0


@dataclass
class Slot:
    """One worker as the driver sees it.

    Attributes:
        handle: of the actor.
        url: of its server where that is given, else empty.
        state: `starting`, `idle`, `working` or `gone`.
        pending: what the actor is doing.
        asked: where its job stands, if that was asked.
        failures: starts in a row that failed.
        has_served: whether its server ever answered.
        not_before: when it may be started again.
        machine: where it is.
    """

    name: str
    handle: Any
    url: str = ""
    state: str = "starting"
    task: Task | None = None
    pending: Any = None
    asked: Any = None
    failures: int = 0
    has_served: bool = False
    not_before: float = 0.0
    machine: str = ""
    error: str = ""


def connect(address: str | None, cpus: int) -> None:
    """Join a Ray cluster, or make one of this machine alone."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    paths = os.pathsep.join([*map(str, MODULES), *filter(None, [os.environ.get("PYTHONPATH")])])
    options: dict[str, Any] = (
        {"address": address} if address else {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    )
    environment = {"env_vars": {"PYTHONPATH": paths}}
    ray.init(**options, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR)


class RayWorkers:
    """All workers of a command.

    Args:
        recipe: of the servers that workers start.
        servers: URLs of servers to use in place of own ones.
        count: of workers with own servers; None: one per GPU of the cluster, or per machine where it has none.
        silent_seconds: see `render`.
    """

    def __init__(
        self, recipe: ServerRecipe | None, servers: list[str], count: int | None, silent_seconds: float
    ) -> None:
        self._recipe, self._count, self._silent_seconds = recipe, count, silent_seconds
        self.slots: list[Slot] = []
        for url in servers:
            self._add(url)
        self.grow()

    def grow(self) -> None:
        """Add workers where the cluster has become larger."""
        if self._recipe is not None:
            while len(self.slots) < self._wanted():
                self._add("")

    def idle(self) -> list[Slot]:
        """Workers that wait for a job."""
        return [slot for slot in self.slots if slot.state == "idle"]

    @property
    def all_gone(self) -> bool:
        """Whether nobody is left."""
        return all(slot.state == "gone" for slot in self.slots)

    def give(self, slot: Slot, task: Task) -> None:
        """Have a worker do a job."""
        slot.state, slot.task = "working", task
        slot.pending = slot.handle.work.remote(task.job)

    def events(self, seconds: float) -> Iterator[tuple[Slot, Task | None, Outcome | None]]:
        """What happens within `seconds`: ends of jobs, and workers that are given up (without a job)."""
        self._start_again()
        pending = {slot.pending: slot for slot in self.slots if slot.pending is not None}
        if not pending:
            time.sleep(seconds)
            return
        finished, _ = ray.wait(list(pending), num_returns=1, timeout=seconds)
        if finished:  # and whoever else has finished
            finished, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0)
        for reference in finished:
            slot = pending[reference]
            slot.pending = None
            if slot.state == "working":
                yield slot, *self._take_outcome(slot, reference)
            elif self._is_given_up(slot, reference):
                yield slot, None, None

    def ask(self) -> None:
        """Take in where the running jobs stand, and ask again."""
        for slot in self.slots:
            if slot.state != "working" or slot.task is None:
                slot.asked = None
                continue
            if slot.asked is not None and ray.wait([slot.asked], timeout=0)[0]:
                with contextlib.suppress(RayError):
                    slot.task.windows = ray.get(slot.asked)
                slot.asked = None
            if slot.asked is None:
                slot.asked = slot.handle.windows.remote()

    def stop(self) -> None:
        """End all work, and leave the cluster."""
        asked = [slot.handle.stop.remote() for slot in self.slots if slot.state != "gone"]
        if asked:
            with contextlib.suppress(RayError):
                ray.wait(asked, num_returns=len(asked), timeout=STOP_SECONDS)
            # A job on a given server is told by its own thread.
            working = [slot.pending for slot in self.slots if slot.url and slot.state == "working"]
            if working:
                ray.wait(working, num_returns=len(working), timeout=STOP_SECONDS)
        ray.shutdown()

    def _wanted(self) -> int:
        if self._count is not None:
            return self._count
        gpus = int(ray.cluster_resources().get("GPU", 0))
        return gpus or sum(node["Alive"] for node in ray.nodes())

    def _add(self, url: str) -> None:
        name = f"worker-{len(self.slots) + 1}"
        how = url or self._recipe
        on_gpu = not url and self._recipe is not None and not self._recipe.on_cpu
        actor = ray.remote(Worker).options(
            num_cpus=0 if url else 1, num_gpus=1 if on_gpu else 0, max_restarts=-1, max_task_retries=0,
            max_concurrency=THREADS, scheduling_strategy="SPREAD",
        )  # fmt: skip
        slot = Slot(name, actor.remote(name, how, self._silent_seconds), url)
        slot.pending = slot.handle.prepare.remote()
        self.slots.append(slot)

    def _start_again(self) -> None:
        for slot in self.slots:
            if slot.state == "starting" and slot.pending is None and time.monotonic() >= slot.not_before:
                slot.pending = slot.handle.prepare.remote()

    def _take_outcome(self, slot: Slot, reference: Any) -> tuple[Task | None, Outcome]:
        """The end of a job; a worker that has lost its server or itself prepares again."""
        task, slot.task = slot.task, None
        try:
            outcome: Outcome = ray.get(reference)
        except RayActorError as error:
            outcome = Outcome("lost", f"{slot.name} died ({_first_line(error)}).")
        except RayError as error:
            outcome = Outcome("trouble", f"{slot.name} could not do it ({_first_line(error)}).")
        slot.state = "starting" if outcome.kind == "lost" else "idle"
        return task, outcome

    def _is_given_up(self, slot: Slot, reference: Any) -> bool:
        """Take in how the start of a server went; whether the worker is given up."""
        try:
            told = ray.get(reference)
        except RayActorError as error:  # its machine went; it is placed elsewhere, which is no fault of a server
            slot.error, slot.not_before = _first_line(error), time.monotonic() + PAUSE_SECONDS
            return False
        except RayError as error:
            told = {"error": f"{slot.name} cannot start ({_first_line(error)})."}
        if "error" not in told:
            slot.state, slot.failures, slot.has_served, slot.machine = "idle", 0, True, told["machine"]
            return False
        slot.failures += 1
        slot.error = told["error"]
        slot.not_before = time.monotonic() + PAUSE_SECONDS * 2 ** (slot.failures - 1)
        if slot.failures < (START_TRIES if slot.has_served or not slot.url else 2):
            return False
        slot.state = "gone"
        return True


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def put_modules_on_path() -> None:
    """Have the modules of the cluster and of the demo found in this process as in the actors."""
    sys.path += [str(folder) for folder in MODULES if str(folder) not in sys.path]
