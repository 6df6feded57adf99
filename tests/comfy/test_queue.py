"""How a job behaves in ComfyUI's queue: progress, interrupt, history, cache, several jobs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from comfy_client import ComfyClient, JobResult
from evaluation import finished
from talking_picture import find_node, inputs_of

from ..support import jobs, media


def test_progress_counts_every_step_of_every_window(client: ComfyClient, picture: Path, tmp_path: Path):
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 1.0), steps=3)

    _, result = finished.run(client, prompt)

    # 25 frames: window 0 has 17, window 1 brings 8 of its 12 new ones.
    counted = [event.data["value"] for event in jobs.sampler_progress(prompt, result.events)]
    assert counted == sorted(set(counted))  # newer cores leave out a step that follows the last one within a blink
    assert (counted[0], counted[-1]) == (1, 6)
    assert {event.data["max"] for event in jobs.sampler_progress(prompt, result.events)} == {6}
    sampler = find_node(prompt, "InfiniteTalkSampler")
    texts = [e.data["text"] for e in result.events if e.kind == "progress_text" and e.data["node"] == sampler]
    steps = [f"Window {window} of 2, step {step} of 3" for window in (1, 2) for step in (1, 2, 3)]
    assert [text.rpartition(",")[0] for text in texts if text.startswith("Window")] == steps


def test_only_the_client_that_has_queued_a_job_is_told_what_its_nodes_do(
    client: ComfyClient, picture: Path, tmp_path: Path
):
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 1.0), steps=1, growing_video=True)
    somebody_else = ComfyClient(client.url)

    with somebody_else.connect() as connection:
        result = client.run(prompt)
        inputs_of(prompt, "InfiniteTalkSampler")["seed"] = 1
        nobodys = client.post("/prompt", {"prompt": prompt})["prompt_id"]
        heard = [""]
        while heard[-1] != "status" or not client.get(f"/history/{nobodys}"):  # the last is that the queue is empty
            event = connection.next_event()
            heard.append(event.kind if event else "")

    told = {"progress_text", "infinitetalk.growing_video"}
    assert told <= {event.kind for event in result.events}
    assert told.isdisjoint(heard)


def test_an_interrupt_stops_within_one_step_and_the_next_job_runs(client: ComfyClient, picture: Path, tmp_path: Path):
    long_sound, short_sound = media.write_speech(tmp_path, 20), media.write_speech(tmp_path, 0.3)
    long_job = jobs.small_prompt(client, picture, long_sound, steps=20)
    next_job = jobs.small_prompt(client, picture, short_sound)

    with client.connect() as connection:
        stopped, waiting, after = (JobResult(client.submit(job)) for job in (long_job, next_job, next_job))
        for event in connection.events_of(stopped.prompt_id):
            stopped.events.append(event)
            steps = len(jobs.sampler_progress(long_job, stopped.events))
            if event.kind == "progress" and steps == 3:
                client.stop(waiting.prompt_id)  # which leaves the one that runs alone
            if event.kind == "progress" and steps == 6:
                client.stop(stopped.prompt_id)
                asked = time.monotonic()
        after.events = list(connection.events_of(after.prompt_id))

    late = [e for e in jobs.sampler_progress(long_job, stopped.events) if e.seconds > asked]
    assert stopped.interrupted
    assert len(late) <= 1
    assert client.get(f"/history/{waiting.prompt_id}") == {}
    assert len(finished.decode(finished.saved_file(next_job, client.finish(after).history)).frames) == 8


def test_a_proxy_of_the_environment_is_not_asked_for_a_server_of_this_machine(
    client: ComfyClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("no_proxy", "")
    behind = ComfyClient(client.url)
    with behind.connect():
        assert "queue_running" in behind.get("/queue")


def test_history_names_the_file_for_the_graph_editor_and_for_api_clients(
    client: ComfyClient, picture: Path, tmp_path: Path, folders
):
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.3))

    file, result = finished.run(client, prompt)

    saved = result.outputs[find_node(prompt, "SaveVideoWithAudio")]
    (entry,) = saved["images"]
    assert entry["type"] == "output"
    assert saved["animated"] == [True]
    assert folders.output / entry["subfolder"] / entry["filename"] == file
    (gif,) = saved["gifs"]
    assert gif["fullpath"] == str(file)
    assert {key: gif[key] for key in entry} == entry
    fetched = tmp_path / "fetched.mp4"
    client.view(entry, fetched)
    assert fetched.read_bytes() == file.read_bytes()


def test_an_unchanged_job_is_served_from_the_cache(client: ComfyClient, picture: Path, tmp_path: Path):
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.3))
    first, _ = finished.run(client, prompt)

    second, result = finished.run(client, prompt)

    assert result.cached_nodes == set(prompt)
    assert not result.executed_nodes
    assert second == first


def test_images_of_a_second_sampler_that_are_connected_later_are_made_too(
    client: ComfyClient, picture: Path, tmp_path: Path
):
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.3))
    sampler = find_node(prompt, "InfiniteTalkSampler")
    prompt["second"] = {**prompt[sampler], "inputs": {**inputs_of(prompt, "InfiniteTalkSampler"), "seed": 1}}
    for name, output in {"images": [sampler, 1], "length of the second": ["second", 2]}.items():
        prompt[name] = {"class_type": "AnySink", "inputs": {"value": output}}
    finished.run(client, prompt)
    prompt["its images"] = {"class_type": "PreviewImage", "inputs": {"images": ["second", 1]}}

    result = client.run(prompt)

    assert not result.error, result.error_message
    assert len(result.outputs["its images"]["images"]) == 8


def test_two_jobs_in_the_queue_make_two_files(client: ComfyClient, picture: Path, tmp_path: Path):
    first = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.3), seed=1)
    second = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.5, seed=1), seed=2)
    inputs_of(second, "SaveVideoWithAudio").update(inputs_of(first, "SaveVideoWithAudio"))  # the same file name too

    with client.connect() as connection:
        results = [JobResult(client.submit(first)), JobResult(client.submit(second))]
        for job in results:
            job.events = list(connection.events_of(job.prompt_id))

    files = [
        finished.saved_file(prompt, client.finish(job).history)
        for prompt, job in zip((first, second), results, strict=True)
    ]
    assert files[0] != files[1]
    assert [len(finished.decode(file).frames) for file in files] == [8, 13]
