"""Processes that stand in for machines: each works on a run under a shared folder, whose locks do not reach the others.

A real file system without locks cannot be had everywhere, so `flock` is exchanged before the pack is loaded:
`none` fails as it does on Lustre without the mount option `flock`, `local` succeeds for everybody as on NFS mounted
with `local_lock` (each process is a machine of its own). The lease's writes reach the others with a delay, as over a
network, and its times are shorter; nothing else is changed.

Every line on stdin is a JSON object with the fields of `Order`. A fork of this process carries it out; its number is
the answer. What it does is told in `ROOT/NAME.log`, a JSON list on each line.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).resolve().parent
BEAT, LOOK, LOOKS, SETTLE, DELAY = 0.1, 0.05, 12, 0.3, 0.1
SILENCE = LOOK * LOOKS


@dataclasses.dataclass(frozen=True)
class Order:
    """What a machine shall do: open the run (at a given time), and append windows until all or `windows` are there."""

    root: str
    name: str
    locks: str = "none"
    machine: str = ""  # its name; else the order's own
    at: float = 0.0  # time.time() at which it opens the run
    pause: float = 0.0  # seconds before each window
    windows: int = 1000


@dataclasses.dataclass(frozen=True)
class Machine:
    """One process at work."""

    pid: int
    log: Path

    def told(self, what: str) -> list:
        """The last thing of this kind that it told, empty if there is none."""
        lines = self.log.read_text().splitlines(keepends=True) if self.log.exists() else []
        said = [json.loads(line) for line in lines if line.endswith("\n")]
        return next((rest for kind, *rest in reversed(said) if kind == what), [])


class Machines:
    """The process that makes the others; a context manager."""

    def __enter__(self) -> Machines:
        command = [sys.executable, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()

    def start(self, order: Order) -> Machine:
        self._process.stdin.write(json.dumps(dataclasses.asdict(order)) + "\n")
        self._process.stdin.flush()
        return Machine(int(self._process.stdout.readline()), Path(order.root) / f"{order.name}.log")


def without_locks(kind: str) -> None:
    """Exchange `flock` and shorten the times."""
    import fcntl

    def flock(descriptor: int, operation: int) -> None:
        if kind == "none":
            raise OSError(errno.ENOSYS, "Function not implemented")

    fcntl.flock = flock
    from infinitetalk.video_io.store import file_lock, lease

    file_lock.is_shared = lambda folder: True
    write = lease.Lease._write

    def write_late(self) -> None:
        time.sleep(random.uniform(0, DELAY))
        write(self)

    lease.Lease._write = write_late
    lease.BEAT_SECONDS, lease.LOOK_SECONDS, lease.SILENT_LOOKS, lease.SETTLE_SECONDS = BEAT, LOOK, LOOKS, SETTLE


def work(order: Order, log: int) -> None:
    import known_frames
    from infinitetalk.errors import UserError
    from infinitetalk.video_io.store import lease

    def tell(*what: object) -> None:
        os.write(log, (json.dumps(what) + "\n").encode())

    without_locks(order.locks)
    lease.this_machine = lambda: order.machine or order.name
    time.sleep(max(0.0, order.at - time.time()))
    started = time.monotonic()
    with known_frames.open_store(Path(order.root)) as store:
        tell("opened", store.folder.name, store.windows_done, time.monotonic() - started)
        while not store.complete and store.windows_done < order.windows:
            time.sleep(order.pause)
            try:
                known_frames.add_windows(store, store.windows_done + 1)
            except UserError as error:
                tell("refused", str(error))
                return
            tell("appended", store.windows_done)
        if not store.complete:
            time.sleep(1000)  # until it is killed
    tell("complete", True)


def main() -> None:
    sys.path += [str(HERE.parents[1] / "tools"), str(HERE)]
    import in_process

    in_process.load_pack()
    import known_frames  # noqa: F401  (loaded once here instead of in every fork)
    import torch
    from safetensors.torch import save  # noqa: F401  (as is this)

    torch.set_num_threads(1)
    children = []
    for line in sys.stdin:
        order = Order(**json.loads(line))
        log = os.open(Path(order.root) / f"{order.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        child = os.fork()
        if child == 0:
            os.close(0)
            work(order, log)
            os._exit(0)
        os.close(log)
        children.append(child)
        print(child, flush=True)  # noqa: T201
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
