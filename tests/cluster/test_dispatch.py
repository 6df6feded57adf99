"""Tries, pauses and ends of jobs; the clock is the test's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dispatch import FIRST_PAUSE_SECONDS, MAX_TRIES, Dispatcher, Task
from job_file import SAMPLER, Job, JobError
from results_file import ResultsFile
from worker import Outcome

GRAPH: dict[str, Any] = {"1": {"class_type": SAMPLER, "inputs": {}}}
SOON = 1000.0


def job(name: str) -> Job:
    return Job(name, GRAPH, target=Path(name))


def lost(begun: int = 0, taken_over: int = 0, total: int = 9) -> Outcome:
    return Outcome("lost", "gone.", windows={"begun": begun, "taken_over": taken_over, "total": total})


def begin(dispatcher: Dispatcher, now: float) -> Task:
    task = dispatcher.next(now)
    assert task is not None
    return task


def test_a_job_that_kills_three_workers_is_failed_and_the_rest_goes_on():
    dispatcher = Dispatcher([job("deadly"), job("good")])
    now, lines = 0.0, []
    for _ in range(MAX_TRIES):
        task = begin(dispatcher, now)
        assert task.job.id == "deadly"
        lines.append(dispatcher.ended(task, lost(), now))
        now += SOON
    assert lines[:-1] == [None] * (MAX_TRIES - 1)
    assert lines[-1]["status"] == "failed"
    assert lines[-1]["error"] == "3 workers in a row died or hung at this job, at last so: gone."
    assert lines[-1]["tries"] == MAX_TRIES
    good = dispatcher.ended(begin(dispatcher, now), Outcome("done", output="x"), now)
    assert good["status"] == "done"
    assert dispatcher.is_over


def test_a_job_whose_machines_die_but_that_gets_further_is_never_given_up():
    dispatcher = Dispatcher([job("long")])
    for window in range(1, 9):
        task = begin(dispatcher, window * SOON)
        assert dispatcher.ended(task, lost(begun=window, taken_over=window - 1), window * SOON) is None
    line = dispatcher.ended(
        begin(dispatcher, 10 * SOON), Outcome("done", windows={"begun": 9, "taken_over": 7, "total": 9}), 10 * SOON
    )
    assert line["windows"] == {"total": 9, "made": 10, "taken_over": 0}  # one was begun twice


def test_pauses_grow():
    dispatcher = Dispatcher([job("a")])
    now = 0.0
    for pause in (FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS):
        dispatcher.ended(begin(dispatcher, now), Outcome("trouble", "memory."), now)
        assert dispatcher.next(now + pause - 0.01) is None
        now += pause
    assert begin(dispatcher, now).tries == 3


def test_what_cannot_succeed_is_not_tried_again():
    dispatcher = Dispatcher([job("a")])
    line = dispatcher.ended(begin(dispatcher, 0), Outcome("failed", "The model is missing."), 0)
    assert (line["status"], line["error"], line["tries"]) == ("failed", "The model is missing.", 1)
    assert dispatcher.is_over


def test_the_whole_begins_when_its_parts_are_over_and_parts_have_no_line():
    dispatcher = Dispatcher([job("a")], split=2)
    first, second = begin(dispatcher, 0), begin(dispatcher, 0)
    assert [first.job.part, second.job.part] == ["1/2", "2/2"]
    assert dispatcher.next(0) is None
    assert dispatcher.ended(first, Outcome("done", windows={"begun": 4, "taken_over": 0, "total": 4}), 0) is None
    assert dispatcher.next(0) is None
    assert dispatcher.ended(second, Outcome("failed", "There is no second scene."), 0) is None
    whole = begin(dispatcher, 0)
    line = dispatcher.ended(whole, Outcome("done", windows={"begun": 4, "taken_over": 4, "total": 4}), 0)
    assert line["windows"]["made"] == 4


def test_without_a_server_all_that_is_left_is_failed_with_the_sentence():
    dispatcher = Dispatcher([job("a"), job("b")])
    dispatcher.ended(begin(dispatcher, 0), Outcome("done"), 0)
    lines = dispatcher.give_up("No server is left.")
    assert [(line["id"], line["error"]) for line in lines] == [("b", "No server is left.")]
    assert dispatcher.is_over


def result(folder: Path, name: str) -> dict[str, Any]:
    video = folder / f"{name}.mp4"
    video.write_bytes(b"video")
    return {"id": name, "status": "done", "output": str(video), "digest": job(name).digest}


def test_what_is_done_stays_done_though_the_last_line_was_cut_short(tmp_path: Path):
    file = tmp_path / "results.jsonl"
    results = ResultsFile(file)
    results.add(result(tmp_path, "a"))
    results.add({"id": "b", "status": "failed", "error": "x"})
    results.close()
    with file.open("ab") as opened:
        opened.write(b'{"id": "c", "sta')

    again = ResultsFile(file)
    assert again.is_done(job("a"))
    assert not again.is_done(job("b"))
    assert not again.is_done(job("c"))
    again.close()
    assert file.read_bytes().count(b"\n") == 2
    assert file.read_bytes().endswith(b"\n")


def test_a_job_whose_video_is_gone_is_done_again(tmp_path: Path):
    results = ResultsFile(tmp_path / "results.jsonl")
    results.add(result(tmp_path, "a"))
    results.close()
    (tmp_path / "a.mp4").unlink()
    assert not ResultsFile(tmp_path / "results.jsonl").is_done(job("a"))


def test_another_job_under_an_id_that_is_done_is_refused(tmp_path: Path):
    results = ResultsFile(tmp_path / "results.jsonl")
    results.add({**result(tmp_path, "a"), "digest": "another"})
    results.close()
    with pytest.raises(JobError, match="done already, with another graph"):
        ResultsFile(tmp_path / "results.jsonl").is_done(job("a"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("hello\n", "Expecting value"),
        ("a note without a line break", "Expecting value"),
        ('{"id": "a", "picture": "a.png"}\n', "is no result"),
        ('{"id": "a", "status": "done", "digest": "x"}\n', "has no output"),
        ('{"id": "a", "status": "done", "output": "a.mp4"}\n', "has no digest"),
        ("[1]\n", "is no result"),
    ],
)
def test_a_file_that_is_no_results_is_named_and_left_alone(tmp_path: Path, content: str, reason: str):
    (tmp_path / "results.jsonl").write_text(content)
    with pytest.raises(JobError, match=rf"results\.jsonl cannot be used \(.*{reason}"):
        ResultsFile(tmp_path / "results.jsonl")
    assert (tmp_path / "results.jsonl").read_text() == content


def test_two_commands_never_share_their_results(tmp_path: Path):
    first = ResultsFile(tmp_path / "results.jsonl")
    with pytest.raises(JobError, match=r"Another command is doing the jobs of .*results\.jsonl: wait for its end"):
        ResultsFile(tmp_path / "results.jsonl")
    first.close()

    ResultsFile(tmp_path / "results.jsonl").close()
