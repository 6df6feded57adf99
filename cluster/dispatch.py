"""Which job is next, and what becomes of it: tries, pauses and ends. Knows neither Ray nor a clock of its own."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from job_file import Job, parts_of
from worker import Outcome

MAX_TRIES = 3
"""Tries that may go wrong, or workers that may die, without a new window in between."""
FIRST_PAUSE_SECONDS = 2.0
"""Before a second try, so that a dead server has let go of its run; each further pause is twice as long."""
LONGEST_PAUSE_SECONDS = 120.0


@dataclass
class Task:
    """A job on its way.

    Attributes:
        after: parts that come first.
        tries: that were begun.
        fruitless: tries in a row that ended badly without having begun a window that no try before had.
        not_before: seconds on the caller's clock.
        windows: of the running or last try.
        furthest: the furthest window of all tries.
        taken_over: windows that the first try found.
        made: windows that all tries have begun.
    """

    job: Job
    after: list[Task] = field(default_factory=list)
    tries: int = 0
    fruitless: int = 0
    not_before: float = 0.0
    windows: dict[str, int] = field(default_factory=dict)
    furthest: int = 0
    taken_over: int | None = None
    made: int = 0
    is_over: bool = False

    def count_windows(self) -> bool:
        """Add those of the try that has ended; whether it got further than any before."""
        begun, taken_over = self.windows.get("begun", 0), self.windows.get("taken_over", 0)
        if self.windows.get("total"):
            self.taken_over = taken_over if self.taken_over is None else self.taken_over
            self.made += begun - taken_over
        got_further = begun > self.furthest
        self.furthest = max(self.furthest, begun)
        return got_further


class Dispatcher:
    """All jobs of one command.

    Args:
        jobs: in the order in which they shall begin.
        split: into so many parts each job is split.
    """

    def __init__(self, jobs: list[Job], split: int = 1) -> None:
        self.tasks: list[Task] = []
        for job in jobs:
            parts = [Task(part) for part in parts_of(job, split)]
            self.tasks += [*parts, Task(job, after=parts)]
        self._waiting = deque(self.tasks)

    @property
    def is_over(self) -> bool:
        """Whether every job is done or failed."""
        return all(task.is_over for task in self.tasks)

    def next(self, now: float) -> Task | None:
        """A job that may begin now; it has begun then."""
        for task in self._waiting:
            if task.not_before <= now and all(part.is_over for part in task.after):
                self._waiting.remove(task)
                task.tries += 1
                task.windows = {}
                return task
        return None

    def ended(self, task: Task, outcome: Outcome, now: float) -> dict[str, Any] | None:
        """Take in how a try ended; the line for the results if the job is over and no part."""
        task.windows = outcome.windows or task.windows
        got_further = task.count_windows()
        if outcome.kind in ("trouble", "lost"):
            task.fruitless = 1 if got_further else task.fruitless + 1
            if task.fruitless < MAX_TRIES:
                task.not_before = now + min(FIRST_PAUSE_SECONDS * 2 ** (task.fruitless - 1), LONGEST_PAUSE_SECONDS)
                self._waiting.appendleft(task)
                return None
        return self._over(task, outcome)

    def give_up(self, sentence: str) -> list[dict[str, Any]]:
        """Fail all that is not over, as nobody is left to do it; the lines for the results."""
        lines = [self._over(task, Outcome("failed", sentence)) for task in self.tasks if not task.is_over]
        return [line for line in lines if line is not None]

    @staticmethod
    def _over(task: Task, outcome: Outcome) -> dict[str, Any] | None:
        task.is_over = True
        if task.job.part:
            return None
        made = task.made + sum(part.made for part in task.after)
        counts = {"total": task.windows.get("total", 0), "made": made, "taken_over": task.taken_over or 0}
        line: dict[str, Any] = {"id": task.job.id, "tries": task.tries, "windows": counts, "digest": task.job.digest}
        if outcome.kind == "done":
            return {**line, "status": "done", "output": outcome.output, "facts": outcome.facts,
                    "seconds": round(outcome.seconds, 2)}  # fmt: skip
        return {**line, "status": "failed", "error": _sentence(task, outcome)}


def _sentence(task: Task, outcome: Outcome) -> str:
    if outcome.kind == "lost":
        return f"{task.fruitless} workers in a row died or hung at this job, at last so: {outcome.sentence}"
    if outcome.kind == "trouble":
        return f"It went wrong {task.fruitless} times in a row, at last so: {outcome.sentence}"
    return outcome.sentence
