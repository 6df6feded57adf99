"""Many talking videos on many machines: `python cluster/run.py JOBS.jsonl`.

Makes its environment as the demo does, joins a Ray cluster or makes one of this machine, and has one ComfyUI per GPU
(or those of `--servers`) do the jobs. `docs/scale.md` tells the rest; what a job is stands in `job_file.py`.

stdout has one JSON object for each job, the same as in the file of the results. After Ctrl-C, a crash or a lost machine
the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "demo"))

import environment
from environment import ROOT, SetupError

if TYPE_CHECKING:
    from board import Board
    from dispatch import Dispatcher
    from job_file import Job
    from own_server import ServerRecipe
    from ray_workers import RayWorkers
    from results_file import ResultsFile

POLL_SECONDS = 0.5
GROW_SECONDS = 10.0


def main() -> int:
    """Do all jobs; 0 when each is done, 1 when some failed, 130 when stopped."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    options = parse_arguments()
    end_cleanly_on_signals()
    try:
        prepared = prepare(options)
        environment.rerun_inside(prepared)
        return run(options, prepared)
    except KeyboardInterrupt:
        environment.say("\nStopped. The same command goes on.")
        return 130
    except SetupError as error:
        environment.say(str(error))
        return 1


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make many talking videos on many machines.")
    parser.add_argument("jobs", type=Path, metavar="JOBS.jsonl", help="one job a line, see docs/scale.md")
    parser.add_argument("--workflow", type=Path, help="graph in the API format, for jobs that name none")
    parser.add_argument("--address", help="a Ray cluster, `auto` or HOST:PORT (default: one of this machine)")
    parser.add_argument("--workers", type=_count, metavar="N", help="how many (default: one per GPU, else per machine)")
    parser.add_argument("--servers", nargs="+", default=[], metavar="URL", help="use these ComfyUIs, start none")
    parser.add_argument("--split", type=_count, default=1, metavar="K", help="split each video into K parts")
    parser.add_argument("--results", type=Path, metavar="FILE", help="default: JOBS.results.jsonl beside the jobs")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="for the videos (default: videos beside the jobs)"
    )
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="default: that of COMFYUI_PATH, else the demo's")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="finished windows (default: runs beside the jobs)")
    parser.add_argument(
        "--silent", type=_seconds, default=900, metavar="SECONDS", help="a job without any sign hangs (900)"
    )
    options = parser.parse_args()
    for name in ("workers", "models", "runs"):
        if options.servers and getattr(options, name) is not None:
            parser.error(f"--{name} is for servers of its own, and --servers names others: leave one of them out")
    return options


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is given, and a number from 1 on is needed")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 1:  # NaN too
        raise argparse.ArgumentTypeError(f"{text} is given, and a number of seconds from 1 on is needed")
    return seconds


def end_cleanly_on_signals() -> None:
    """Being ended is like Ctrl-C: the servers go too, and the results are whole."""
    import signal

    for name in ("SIGINT", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.default_int_handler)


def prepare(options: argparse.Namespace) -> environment.Environment:
    """The environment of the driver and its workers; ComfyUI is in it unless one with a Python of its own is named."""
    requirements = (ROOT / "demo" / "requirements.txt", HERE / "requirements.txt")
    if options.servers or os.environ.get("COMFYUI_PYTHON"):
        return environment.prepare_client(*requirements)
    return environment.prepare(*requirements)


def recipe_of(options: argparse.Namespace, prepared: environment.Environment, results: Path) -> ServerRecipe:
    """How the workers start their servers."""
    from own_server import ServerRecipe

    python = os.environ.get("COMFYUI_PYTHON")
    core = environment.find_core()
    chosen = os.environ.get("COMFYUI_PATH")
    models = options.models or (core / "models" if chosen else ROOT / "demo" / "models")
    if not models.is_dir():
        raise SetupError(f"The models {models} are not a folder: give the shared folder of the models as --models.")
    return ServerRecipe(
        python=python or str(prepared.python),
        core=str(core),
        models=str(models.resolve()),
        runs=str((options.runs or options.jobs.parent / "runs").resolve()),
        log=str(results.with_suffix(".logs").resolve()),
        custom_nodes=str(core / "custom_nodes") if chosen else "",
        on_cpu=not python,
        threads=os.environ.get("OMP_NUM_THREADS", ""),
    )


def run(options: argparse.Namespace, prepared: environment.Environment) -> int:
    """Read the jobs, do those that are not done yet, and write what becomes of them."""
    from board import Board
    from dispatch import Dispatcher
    from job_file import JobError, read_jobs
    from results_file import ResultsFile, failed_line

    board = Board()
    workflow = options.workflow.absolute() if options.workflow else None
    output = (options.output or options.jobs.parent / "videos").absolute()
    try:
        jobs, faults = read_jobs(options.jobs, output, workflow)
        results_path = (options.results or options.jobs.with_suffix(".results.jsonl")).absolute()
        results = ResultsFile(results_path)
    except JobError as error:
        raise SetupError(str(error)) from error
    writer = Writer(results, board)
    for fault in faults:
        writer.write(failed_line(fault))
    ahead = [job for job in jobs if not is_done(job, results, writer)]
    board.say(f"{len(ahead)} jobs to do, {len(jobs) - len(ahead)} done before, {len(faults)} lines in error")
    if ahead:
        recipe = None if options.servers else recipe_of(options, prepared, results_path)
        work(options, recipe, Dispatcher(ahead, options.split), writer)
    results.close()
    board.say(f"{writer.done} done, {writer.failed} failed: {results_path}")
    return 1 if writer.failed else 0


class Writer:
    """Results go to the file and to stdout, and are counted."""

    def __init__(self, results: ResultsFile, board: Board) -> None:
        self.board = board
        self.done = self.failed = 0
        self._results = results

    def write(self, line: dict[str, Any]) -> None:
        """One line."""
        if "id" in line:
            self.done += line["status"] == "done"
            self.failed += line["status"] == "failed"
        try:
            self._results.add(line)
            self.board.clear()
            print(json.dumps(line, ensure_ascii=False), flush=True)
        except OSError as error:
            raise SetupError(
                f"The results cannot be written to {self._results.file} and to stdout any more "
                f"({error.strerror or error}): make room there. The same command goes on."
            ) from error


def is_done(job: Job, results: ResultsFile, writer: Writer) -> bool:
    """Whether nothing is to be done for a job: it was done before, or its id was another's."""
    from job_file import JobError

    try:
        return results.is_done(job)
    except JobError as error:
        writer.write({"id": job.id, "status": "failed", "error": str(error), "tries": 0})
        return True


def work(options: argparse.Namespace, recipe: ServerRecipe | None, dispatcher: Dispatcher, writer: Writer) -> None:
    """Have the workers do the jobs."""
    import ray_workers

    try:
        ray_workers.connect(options.address, max(options.workers or 1, os.cpu_count() or 1))
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SetupError(
            f"No Ray cluster answers at {options.address} ({reason}): give `auto` or HOST:PORT."
        ) from error
    workers = ray_workers.RayWorkers(recipe, options.servers, options.workers, options.silent)
    try:
        drive(workers, dispatcher, writer)
    finally:
        workers.stop()


def drive(workers: RayWorkers, dispatcher: Dispatcher, writer: Writer) -> None:
    """The loop: give jobs to who is idle, and write what has ended."""
    grown = time.monotonic()
    while not dispatcher.is_over:
        if time.monotonic() - grown > GROW_SECONDS:
            workers.grow()
            grown = time.monotonic()
        for slot in workers.idle():
            if (task := dispatcher.next(time.monotonic())) is not None:
                workers.give(slot, task)
        for slot, task, outcome in workers.events(POLL_SECONDS):
            if task is None or outcome is None:
                writer.write({"server": slot.url or slot.name, "status": "gone", "error": slot.error})
                continue
            if outcome.kind in ("lost", "trouble"):
                writer.board.say(f"{task.job.id}: {outcome.sentence}")
            line = dispatcher.ended(task, outcome, time.monotonic())
            if line is not None:
                writer.write({**line, "worker": slot.name, "machine": slot.machine} if task.tries else line)
        if workers.all_gone:
            errors = "; ".join(dict.fromkeys(slot.error for slot in workers.slots))
            for line in dispatcher.give_up(f"No server is left: {errors}"):
                writer.write(line)
        workers.ask()
        writer.board.show(dispatcher.tasks, workers.slots, writer.failed)


if __name__ == "__main__":
    sys.exit(main())
