"""One job on one server, without Ray: what comes back, and what each kind of mistake becomes."""

from __future__ import annotations

import copy
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import talking_picture
from cluster_trial import with_cuts
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from job_file import SAMPLER, Graph, Job, JobError, Media, parts_of
from media_facts import measure
from render import Rendered, Server, ServerLostError, StoppedError, Windows, render
from talking_picture import PICTURE, find_node, inputs_of

from ..support import media
from ..support.jobs import SMALL

SECONDS, WINDOWS = 1.0, 2  # 25 frames: 17 and 8


def small_job(folder: Path, seconds: float = SECONDS, target: Path | None = None, **sampler: Any) -> Job:
    graph = talking_picture.with_tiny_models(talking_picture.load_workflow())
    inputs_of(graph, SAMPLER).update({**SMALL, **sampler})
    sound = media.write_speech(folder, seconds)
    files = (
        Media(find_node(graph, "LoadImage"), "image", PICTURE),
        Media(find_node(graph, "InfiniteTalkLoadAudio"), "audio", sound),
    )
    return Job("a", graph, files, target or folder / "talk")


def changed(job: Job, **more: Any) -> Job:
    fields = {"id": job.id, "graph": job.graph, "media": job.media, "target": job.target, **more}
    return Job(**fields)


def with_node(graph: Graph, class_type: str, **inputs: Any) -> Graph:
    other = copy.deepcopy(graph)
    inputs_of(other, class_type).update(inputs)
    return other


@pytest.mark.parametrize("by_path", [True, False], ids=["by path", "by upload"])
def test_a_job_becomes_a_whole_file_under_its_name(comfy_server: ComfyServer, tmp_path: Path, by_path: bool):
    seen: list[dict[str, int]] = []
    server = Server(comfy_server.url, comfy_server.base / "input" if by_path else None)
    job = small_job(tmp_path, seed=int(by_path))

    done: Rendered = render(job, server, report=lambda windows: seen.append(windows.as_counts()))

    assert done.file == tmp_path / "talk.mp4"
    assert (measure(done.file).frames, measure(done.file).audio_seconds) == (25, pytest.approx(SECONDS, abs=1e-3))
    assert done.windows == {"taken_over": 0, "begun": WINDOWS, "total": WINDOWS}
    assert [one["begun"] for one in seen] == list(range(1, WINDOWS + 1))
    assert done.facts["bytes"] == done.file.stat().st_size
    assert "25 frames" in done.facts["saved"][0]
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    assert [file.exists() for file in done.left_behind] == ([True] if by_path else [])


def test_the_same_job_again_has_the_same_bytes_and_samples_nothing(comfy_server: ComfyServer, tmp_path: Path):
    job = small_job(tmp_path, seed=2)
    first = render(job, Server(comfy_server.url))
    other = changed(job, graph=with_node(job.graph, "SaveVideoWithAudio", crf=20), target=tmp_path / "other.mp4")
    again = render(other, Server(comfy_server.url))
    assert again.windows["begun"] - again.windows["taken_over"] == 0
    last = render(changed(job, target=tmp_path / "take 1.2"), Server(comfy_server.url))
    assert last.file == tmp_path / "take 1.2.mp4", "what is no suffix of a video belongs to the name"
    assert last.file.read_bytes() == first.file.read_bytes()


def test_mistakes_are_sentences_and_final(comfy_server: ComfyServer, tmp_path: Path):
    job = small_job(tmp_path)
    text = tmp_path / "no picture.png"
    text.write_text("hello")
    missing = {**job.graph, "99": {"class_type": "NobodyHasThisNode", "inputs": {}}}
    sound = next(one for one in job.media if one.input_name == "audio")
    picture = next(one for one in job.media if one.input_name == "image")
    without_save = {name: node for name, node in job.graph.items() if node["class_type"] != "SaveVideoWithAudio"}
    cases = {
        "shall read": changed(job, media=(sound, Media(picture.node, "image", tmp_path / "nowhere.png"))),
        "UnidentifiedImageError": changed(job, media=(sound, Media(picture.node, "image", text))),
        "InfiniteTalkLoadAudio: ": changed(job, media=(picture, Media(sound.node, "audio", text))),
        "NobodyHasThisNode": changed(job, graph=missing),
        "nothing.safetensors": changed(job, graph=with_node(job.graph, "VAELoader", vae_name="nothing.safetensors")),
        "The graph saves .mp4 files": changed(job, target=tmp_path / "talk.webm"),
        "no outputs": changed(job, graph=without_save),
    }
    for words, mistaken in cases.items():
        with pytest.raises(JobError) as caught:
            render(mistaken, Server(comfy_server.url))
        assert words in str(caught.value), f"{words}: {caught.value}"
        assert "Traceback" not in str(caught.value)
    assert not (tmp_path / "talk.webm").exists()


def test_a_server_that_is_not_there_is_lost(tmp_path: Path):
    with pytest.raises(ServerLostError, match="No ComfyUI answers at"):
        render(small_job(tmp_path), Server("http://127.0.0.1:9"))


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_a_server_that_hangs_is_lost_after_the_time_that_is_set(comfy_server: ComfyServer, tmp_path: Path):
    def stop(windows: Windows) -> None:
        os.kill(comfy_server.pid, signal.SIGSTOP)

    start = time.monotonic()
    try:
        with pytest.raises(ServerLostError):
            render(small_job(tmp_path, 4.0, seed=3), Server(comfy_server.url), report=stop, silent_seconds=3)
        assert time.monotonic() - start < 60
    finally:
        os.kill(comfy_server.pid, signal.SIGCONT)
    wait_for_empty_queue(comfy_server)


def test_a_job_that_shall_stop_is_taken_off_the_server(comfy_server: ComfyServer, tmp_path: Path):
    stopped = threading.Event()
    with pytest.raises(StoppedError):
        render(
            small_job(tmp_path, 8.0, seed=4),
            Server(comfy_server.url),
            report=lambda windows: stopped.set(),
            is_stopped=stopped.is_set,
        )
    wait_for_empty_queue(comfy_server)
    assert not (tmp_path / "talk.mp4").exists()


def wait_for_empty_queue(server: ComfyServer) -> None:
    """Interrupt what still runs, for the tests that follow."""
    client = ComfyClient(server.url)
    deadline = time.monotonic() + 60
    while client.get("/queue")["queue_running"]:
        assert time.monotonic() < deadline
        client.interrupt()
        time.sleep(0.2)


def test_a_server_whose_sampler_knows_no_parts_is_not_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # No server of an older release can be had here: what it says of its sampler stands in for it.
    monkeypatch.setattr(ComfyClient, "get", lambda *_: {SAMPLER: {"input": {"optional": {"resume": ["BOOLEAN"]}}}})
    with pytest.raises(JobError, match="has no input `part`"):
        render(parts_of(small_job(tmp_path), 2)[0], Server("http://127.0.0.1:9"))


def test_when_the_parts_are_made_the_whole_samples_nothing_and_has_the_bytes_of_one_go(
    comfy_server: ComfyServer, tmp_path: Path
):
    job = scenes_job(tmp_path)
    for part in parts_of(job, 3):
        render(part, Server(comfy_server.url))
    whole = render(job, Server(comfy_server.url))
    assert whole.windows["begun"] == whole.windows["taken_over"] == whole.windows["total"]
    anew = changed(job, graph=with_node(job.graph, SAMPLER, resume=False), target=tmp_path / "anew.mp4")
    assert frames_of(render(anew, Server(comfy_server.url)).file) == frames_of(whole.file)


def scenes_job(folder: Path) -> Job:
    """Three scenes, each of which begins with a cut."""
    job = small_job(folder, 3.0, seed=5)
    return changed(job, graph=with_cuts(copy.deepcopy(job.graph), 1.0, 2.0))


def frames_of(file: Path) -> list[bytes]:
    import av

    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]
