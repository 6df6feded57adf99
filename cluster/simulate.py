"""A cluster that is too large to try: ten thousand GPUs and a million jobs, simulated event by event.

    python cluster/simulate.py [--workers 10000] [--jobs 1000000] [--life-hours 4] [--storage-gb 200] ...

Jobs are taken in the order of the file, as `run.py` does. A machine lives for an exponentially distributed time, then
another stands in for it some minutes later; its job goes on after its last finished window on whoever is free, so that
a death costs the window in the making, the pause and the start of a server. Some machines are slow. All write their
frames to one storage and read their models from it; when together they ask for more than it gives, everybody waits.
That factor is taken at the begin of each try and each start, by who is at work then.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "demo"))

import environment

HOUR = 3600.0
LOOKS = 200  # at the queue, over the ideal time


@dataclass(frozen=True)
class Scenario:
    """What is simulated; times in seconds.

    Attributes:
        workers: GPUs.
        jobs: all queued at the start.
        shortest, longest: of the videos; their logarithm is uniformly distributed.
        window_video: video that a window adds: 72 frames at 25 fps.
        window: to make one, 6 steps at 480p on an H200 with the VAE.
        job_overhead: from the end of a job to the first window of the next one.
        start: of a server, without reading the models.
        life: of a machine, mean; infinite for one that does not die.
        replacement: until another machine stands in.
        pause: before a job of a dead machine is tried again.
        slow_share, slow_factor: machines that are slower, and how much.
        model_bytes: that a start reads.
        video_bytes: that one second of video writes, as raw frames at 832 × 480, and its file.
        storage: bytes per second.
        seed: of all chances.
    """

    workers: int = 10_000
    jobs: int = 1_000_000
    shortest: float = 5.0
    longest: float = HOUR
    window_video: float = 2.88
    window: float = 22.0
    job_overhead: float = 2.0
    start: float = 60.0
    life: float = 4 * HOUR
    replacement: float = 300.0
    pause: float = 2.0
    slow_share: float = 0.05
    slow_factor: float = 2.0
    model_bytes: float = 30e9
    video_bytes: float = 33e6
    storage: float = 200e9
    seed: int = 0


@dataclass
class Tally:
    """What came of it; `queue` has the length of the queue at times."""

    done: int = 0
    ends: list[float] = field(default_factory=list)
    deaths: int = 0
    useful: float = 0.0  # worker seconds in windows that were kept, at full speed
    lost: float = 0.0  # worker seconds in windows that were cut off
    queue_was_empty_at: float = math.inf
    useful_until_then: float = 0.0
    queue: list[tuple[float, int]] = field(default_factory=list)


class Cluster:
    """The simulated cluster; `run` gives the tally."""

    def __init__(self, scenario: Scenario, videos: list[float] | None = None) -> None:
        import simpy

        self.scenario = scenario
        self.chance = random.Random(scenario.seed)
        self.env = simpy.Environment()
        self.tally = Tally()
        videos = self._videos() if videos is None else videos
        self._waiting = deque(max(1, math.ceil(seconds / scenario.window_video)) for seconds in videos)
        self._count = len(self._waiting)
        self._retried = 0  # jobs that pause
        self._working = self._starting = 0
        self._idle: deque[simpy.Event] = deque()
        self.ideal = sum(self._waiting) * scenario.window / scenario.workers

    def run(self) -> Tally:
        """Until every job is done."""
        for _ in range(self.scenario.workers):
            self.env.process(self._worker())
        self.env.process(self._watch())
        self.env.run()
        return self.tally

    def _videos(self) -> list[float]:
        low, high = math.log(self.scenario.shortest), math.log(self.scenario.longest)
        return [math.exp(self.chance.uniform(low, high)) for _ in range(self.scenario.jobs)]

    def _worker(self):  # noqa: ANN202  (a generator of simpy's events)
        """A place in the cluster: one machine after another."""
        scenario = self.scenario
        while self.tally.done < self._count:
            slow = scenario.slow_factor if self.chance.random() < scenario.slow_share else 1.0
            self._starting += 1
            reading = self._starting * scenario.model_bytes / scenario.storage
            yield self.env.timeout(scenario.start + reading)
            self._starting -= 1
            dies_at = self.env.now + self._life()
            while self.tally.done < self._count:
                if not self._waiting:
                    if not self._has_unfinished():
                        return
                    called = self.env.event()  # for a job of a machine that has died, or as there are none any more
                    self._idle.append(called)
                    yield called
                    continue
                windows = self._waiting.popleft()
                self._working += 1
                window = scenario.window * slow * self._storage_factor(slow)
                end = self.env.now + scenario.job_overhead + windows * window
                if end <= dies_at:
                    yield self.env.timeout(end - self.env.now)
                    self._working -= 1
                    self._finish(windows)
                    continue
                begun = self.env.now + scenario.job_overhead
                yield self.env.timeout(max(0.0, dies_at - self.env.now))
                self._working -= 1
                self._die(windows, max(0.0, dies_at - begun) / window, window)
                break
            else:
                return
            yield self.env.timeout(scenario.replacement)

    def _life(self) -> float:
        life = self.scenario.life
        return life if math.isinf(life) else self.chance.expovariate(1 / life)

    def _has_unfinished(self) -> bool:
        return self._retried > 0 or self._working > 0

    def _storage_factor(self, slow: float) -> float:
        """How much longer a window takes because the storage does."""
        scenario = self.scenario
        asked = self._working * scenario.video_bytes * scenario.window_video / (scenario.window * slow)
        return max(1.0, asked / scenario.storage)

    def _finish(self, windows: int) -> None:
        self.tally.done += 1
        self.tally.useful += windows * self.scenario.window
        self.tally.ends.append(self.env.now)
        if self.tally.done == self._count:
            for called in self._idle:
                called.succeed()

    def _die(self, windows: int, progress: float, window: float) -> None:
        finished = min(int(progress), windows - 1)
        self.tally.deaths += 1
        self.tally.useful += finished * self.scenario.window
        self.tally.lost += (progress - finished) * window
        self._retried += 1
        self.env.process(self._queue_again(windows - finished))

    def _queue_again(self, windows: int):  # noqa: ANN202
        yield self.env.timeout(self.scenario.pause)
        self._retried -= 1
        self._waiting.appendleft(windows)
        if self._idle:
            self._idle.popleft().succeed()

    def _watch(self):  # noqa: ANN202
        """The length of the queue over time."""
        while self.tally.done < self._count:
            self.tally.queue.append((self.env.now, len(self._waiting)))
            if not self._waiting and math.isinf(self.tally.queue_was_empty_at):
                self.tally.queue_was_empty_at, self.tally.useful_until_then = self.env.now, self.tally.useful
            yield self.env.timeout(self.ideal / LOOKS)


def figures(cluster: Cluster, tally: Tally) -> dict[str, object]:
    """What is told of a simulation."""
    scenario, end = cluster.scenario, max(tally.ends)
    busy = min(tally.queue_was_empty_at, end)
    kept = tally.useful_until_then if tally.queue_was_empty_at < end else tally.useful
    quarters = [tally.queue[len(tally.queue) * n // 4][1] for n in range(4)]
    return {
        "jobs_done": tally.done,
        "hours": round(end / HOUR, 2),
        "ideal_hours": round(cluster.ideal / HOUR, 2),
        "throughput_over_ideal_while_jobs_wait": round(kept / (scenario.workers * busy), 4),
        "throughput_over_ideal_to_the_last_job": round(cluster.ideal / end, 4),
        "deaths": tally.deaths,
        "lost_share_of_work": round(tally.lost / tally.useful, 5),
        "lost_windows_per_death": round(tally.lost / max(1, tally.deaths) / scenario.window, 3),
        "queue_at_quarters": quarters,
    }


def seconds_per_job(jobs: int, workers: int, job_seconds: float) -> float:
    """Of jobs that all take the same time, from the end of the first round to the last end.

    For the comparison with a real cluster.
    """
    scenario = Scenario(workers=workers, jobs=jobs, window=job_seconds, window_video=1.0, job_overhead=0, start=0,
                        life=math.inf, slow_share=0, storage=math.inf)  # fmt: skip
    ends = sorted(Cluster(scenario, [1.0] * jobs).run().ends)
    return (ends[-1] - ends[workers - 1]) / (jobs - workers)


def above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    """A reader of numbers for the command line."""

    def number(text: str) -> float:
        value = kind(text)
        if not value > 0:  # NaN too
            raise argparse.ArgumentTypeError(f"{text} is given, and a number above 0 is needed")
        return value

    return number


def main() -> int:
    """Simulate what the command line says."""
    usual = Scenario()
    parser = argparse.ArgumentParser(description="Simulate many GPUs and many jobs.")
    parser.add_argument("--workers", type=above_zero(int), default=usual.workers)
    parser.add_argument("--jobs", type=above_zero(int), default=usual.jobs)
    parser.add_argument("--window", type=above_zero(float), default=usual.window, help="seconds to make one window")
    parser.add_argument(
        "--life-hours", type=above_zero(float), default=usual.life / HOUR, help="of a machine; inf: it never dies"
    )
    parser.add_argument("--slow-share", type=float, default=usual.slow_share)
    parser.add_argument("--storage-gb", type=above_zero(float), default=usual.storage / 1e9, help="per second")
    parser.add_argument("--seed", type=int, default=usual.seed)
    options = parser.parse_args()
    environment.rerun_inside(
        environment.prepare_client(HERE.parent / "demo" / "requirements.txt", HERE / "requirements.txt")
    )
    scenario = Scenario(
        workers=options.workers, jobs=options.jobs, window=options.window, life=options.life_hours * HOUR,
        slow_share=options.slow_share, storage=options.storage_gb * 1e9, seed=options.seed,
    )  # fmt: skip
    cluster = Cluster(scenario)
    print(json.dumps({"scenario": asdict(scenario), **figures(cluster, cluster.run())}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
