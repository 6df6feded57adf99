"""What a person sees of the work: jobs, windows, time left, who works on what."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from dispatch import Task

if TYPE_CHECKING:
    from ray_workers import Slot

LOG_SECONDS = 10.0
SCREEN_SECONDS = 1.0


class Board:
    """Lines on stderr, drawn anew in a terminal and written now and then into a log."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._shown = 0.0
        self._lines = 0
        self._is_screen = sys.stderr.isatty()

    def show(self, tasks: list[Task], slots: list[Slot], failed: int) -> None:
        """Draw it, if it is time."""
        now = time.monotonic()
        if now - self._shown < (SCREEN_SECONDS if self._is_screen else LOG_SECONDS):
            return
        self._shown = now
        lines = [summary(tasks, failed, now - self._started), *(f"  {about(slot)}" for slot in slots)]
        if self._is_screen:
            self.clear()
            self._lines = len(lines)
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """Write a sentence that stays."""
        self.clear()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the drawn lines away."""
        if self._lines:
            sys.stderr.write(f"\x1b[{self._lines}F\x1b[J")
            self._lines = 0


def summary(tasks: list[Task], failed: int, seconds: float) -> str:
    """Where the whole work stands after so many seconds."""
    over = [task for task in tasks if task.is_over]
    windows = sum(task.made for task in tasks) + sum(_running_windows(task) for task in tasks if not task.is_over)
    text = f"{len(over)} of {len(tasks)} over, {failed} failed, {windows} windows made"
    fresh = [task for task in over if task.tries]
    if fresh and len(over) < len(tasks):
        text += f", about {_clock(seconds / len(fresh) * (len(tasks) - len(over)))} left"
    return text


def about(slot: Slot) -> str:
    """What a worker does."""
    place = slot.url or slot.machine
    name = f"{slot.name} ({place})" if place else slot.name
    if slot.task is None:
        return f"{name}: {slot.state}{f' ({slot.error})' if slot.error and slot.state != 'idle' else ''}"
    windows = slot.task.windows
    at = f", window {windows['begun']} of {windows['total']}" if windows.get("total") else ""
    return f"{name}: {slot.task.job.id}{at}"


def _running_windows(task: Task) -> int:
    return max(0, task.windows.get("begun", 0) - task.windows.get("taken_over", 0)) if task.tries else 0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
