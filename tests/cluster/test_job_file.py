"""What a line of the jobs says, and what is wrong with another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import talking_picture
from job_file import Job, JobError, parts_of, read_jobs
from results_file import ResultsFile
from talking_picture import find_node, inputs_of

GRAPH = talking_picture.load_workflow()


TITLED = {"1": {"class_type": "A", "inputs": {}, "_meta": {"title": ["no text"]}}}
DEEP = "[" * 700 + "]" * 700


def read(folder: Path, *lines: dict[str, Any] | str) -> tuple[list[Job], list[str]]:
    """The jobs of these lines, and the sentences about the others."""
    (folder / "graph.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    file = folder / "jobs.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines), encoding="utf-8")
    jobs, faults = read_jobs(file, folder / "videos", folder / "graph.json")
    return jobs, [fault.sentence for fault in faults]


def test_a_job_is_the_graph_with_its_files_and_changes(tmp_path: Path):
    ours = {"id": "a", "picture": "p.png", "sound": "s.wav", "changes": {"InfiniteTalk Sampler.seed": 7}}
    (job,), faults = read(tmp_path, ours)

    assert faults == []
    assert inputs_of(job.graph, "InfiniteTalkSampler")["seed"] == 7
    assert {(one.input_name, one.file.name) for one in job.media} == {("image", "p.png"), ("audio", "s.wav")}
    assert {one.file.parent for one in job.media} == {tmp_path}
    assert job.target == tmp_path / "videos" / "a"


def test_a_change_may_name_a_node_by_its_id_and_bring_a_file(tmp_path: Path):
    loader = find_node(GRAPH, "LoadImage")
    (job,), faults = read(
        tmp_path, {"id": "a", "changes": {f"{loader}.image": {"file": "other.png"}}, "output": "b/c.mp4"}
    )

    assert faults == []
    assert [(one.node, one.file) for one in job.media] == [(loader, tmp_path / "other.png")]
    assert job.target == tmp_path / "videos" / "b" / "c.mp4"


def test_a_graph_of_its_own_leaves_the_others_alone(tmp_path: Path):
    other = {"1": {"class_type": "SaveVideo", "inputs": {"crf": 1}}}
    (first, second), faults = read(tmp_path, {"id": "a", "workflow": other, "changes": {"1.crf": 2}}, {"id": "b"})

    assert faults == []
    assert first.graph == {"1": {"class_type": "SaveVideo", "inputs": {"crf": 2}}}
    assert second.graph == GRAPH


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{broken", "it is not JSON"),
        ("[1]", "it is no JSON object"),
        ({"picture": "x"}, "its id is None"),
        ({"id": "b", "sond": "x"}, "it has sond, which no job has"),
        ({"id": "b", "changes": {"Nobody.x": 1}}, "the graph has 0 nodes 'Nobody'"),
        ({"id": "b", "changes": {"InfiniteTalk Sampler.sed": 1}}, "has no input 'sed'"),
        ({"id": "b", "changes": {"InfiniteTalk Sampler.model": 1}}, "is fed by another node"),
        ({"id": "b", "changes": {"InfiniteTalk Sampler.seed": [1]}}, "give a text, a number"),
        ({"id": "b", "workflow": "nowhere.json"}, "the workflow nowhere.json cannot be read"),
        ({"id": "b", "workflow": {"nodes": []}}, "no graph in the API format"),
        ({"id": "b", "picture": 5}, "its picture is 5"),
        ({"id": "b", "output": "../b.mp4"}, "cannot be the name of a file"),
        ({"id": "b", "output": "/b.mp4"}, "cannot be the name of a file"),
        ({"id": "b", "output": "//b/c.mp4"}, "cannot be the name of a file"),
        ({"id": "what?"}, "cannot be the name of a file"),
        (
            {"id": "b", "workflow": TITLED, "changes": {"No.x": 1}},
            "the graph has 0 nodes 'No' for 'No.x': one is needed",
        ),
        (f'{{"id": "b", "workflow": {{"1": {{"class_type": "A", "inputs": {{"x": {DEEP}}}}}}}}}', "it is nested"),
        ({"id": "half \ud83d"}, "cannot be the name of a file"),
        ({"id": "\u4efb\u52a1" * 40}, "has a name of more than 230 bytes"),
        ({"id": "a"}, "its id is that of line 1"),
        ({"id": "b", "output": "A"}, "its output is that of line 1"),
        ({"id": "b", "output": "a.mp4"}, "its output is that of line 1"),
        ({"id": "b", "output": "b.webm"}, "its output is b.webm, and its graph saves mp4 files"),
    ],
)
def test_a_line_in_error_is_named_by_its_number_and_the_others_are_read(
    tmp_path: Path, line: dict[str, Any] | str, words: str
):
    jobs, (sentence,) = read(tmp_path, {"id": "a"}, "", line, {"id": "last"})

    assert [job.id for job in jobs] == ["a", "last"]
    assert sentence.startswith("Line 3 of jobs.jsonl: ")
    assert words in sentence
    assert sentence.count("\n") == 0


def test_a_text_may_hold_other_line_breaks_than_those_of_files(tmp_path: Path):
    line = json.dumps({"id": "a", "changes": {"Prompt.text": "one\u2028two\u0085"}}, ensure_ascii=False)
    (job,), faults = read(tmp_path, f"{line}\r")

    assert faults == []
    texts = {node["inputs"].get("text") for node in job.graph.values()}
    assert "one\u2028two\u0085" in texts


def test_results_with_other_line_breaks_are_read_again(tmp_path: Path):
    (job,), _ = read(tmp_path, {"id": "a\u2028b"})
    (tmp_path / "made.mp4").touch()
    first = ResultsFile(tmp_path / "results.jsonl")
    first.add({"id": job.id, "status": "done", "output": str(tmp_path / "made.mp4"), "digest": job.digest})
    first.close()

    again = ResultsFile(tmp_path / "results.jsonl")
    assert again.is_done(job)
    again.add({"id": "half \ud83d", "status": "failed"})
    again.close()


def test_results_that_were_edited_are_read_again_and_half_a_line_is_dropped(tmp_path: Path):
    first, second = read(tmp_path, {"id": "a"}, {"id": "b"})[0]
    (tmp_path / "made.mp4").touch()
    lines = [
        json.dumps({"id": job.id, "status": "done", "output": str(tmp_path / "made.mp4"), "digest": job.digest})
        for job in (first, second)
    ]
    file = tmp_path / "results.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())  # no line break at the end
    results = ResultsFile(file)
    assert results.is_done(first)
    assert results.is_done(second)
    results.add({"id": "c", "status": "failed"})
    results.close()
    assert [json.loads(line)["id"] for line in file.read_text(encoding="utf-8-sig").splitlines()] == ["a", "b", "c"]

    file.write_text(f"{lines[0]}\n{lines[1][:-5]}", encoding="utf-8")
    results = ResultsFile(file)
    assert (results.is_done(first), results.is_done(second)) == (True, False)
    results.close()
    assert file.read_text(encoding="utf-8") == f"{lines[0]}\n"


def test_without_any_workflow_a_job_says_so(tmp_path: Path):
    file = tmp_path / "jobs.jsonl"
    file.write_text('{"id": "a"}')
    _, (fault,) = read_jobs(file, tmp_path, None)
    assert "--workflow" in fault.sentence


def test_a_file_of_jobs_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(JobError, match=r"nothing\.jsonl cannot be read"):
        read_jobs(tmp_path / "nothing.jsonl", tmp_path, None)


def test_the_parts_of_a_job_are_its_graph_with_the_sampler_s_part(tmp_path: Path):
    (job,), _ = read(tmp_path, {"id": "a", "picture": "p.png"})

    parts = parts_of(job, 3)

    assert [inputs_of(part.graph, "InfiniteTalkSampler")["part"] for part in parts] == ["1/3", "2/3", "3/3"]
    for part in parts:
        inputs_of(part.graph, "InfiniteTalkSampler")["part"] = ""
        assert part.graph == job.graph
        assert (part.media, part.target) == (job.media, None)
    assert inputs_of(job.graph, "InfiniteTalkSampler")["part"] == ""
    assert parts_of(job, 1) == []


def test_a_job_without_a_sampler_has_no_parts():
    assert parts_of(Job("a", {"1": {"class_type": "LoadImage", "inputs": {}}}), 3) == []


def test_a_job_is_another_one_when_its_graph_files_or_output_are(tmp_path: Path):
    lines = [{"id": "a"}, {"id": "b", "changes": {"InfiniteTalk Sampler.seed": 9}}, {"id": "c", "picture": "x.png"}]
    jobs, _ = read(tmp_path, *lines)
    assert len({job.digest for job in jobs}) == 3
    assert read(tmp_path, lines[0])[0][0].digest == jobs[0].digest
