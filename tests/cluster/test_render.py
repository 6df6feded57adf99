"""One job on one server, without Ray: what comes back, and what each kind of mistake becomes."""

from __future__ import annotations

import copy
import os
import signal
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import render as module
import talking_picture
from cluster_trial import with_cuts
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from job_file import SAMPLER, Graph, Job, JobError, Media, parts_of
from media_facts import measure
from render import Rendered, Server, ServerLostError, StoppedError, TroubleError, Windows, render
from talking_picture import PICTURE, find_node, inputs_of
from worker import Worker

from ..support import media
from ..support.jobs import SMALL
from ..support.lossy_proxy import LossyProxy

SECONDS, WINDOWS = 1.0, 2  # 25 frames: 17 and 8
PROMPT_ANSWER = b'"node_errors": {}'  # in the server's answer to a graph that it takes


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


def linked(file: Path, folder: Path) -> Path:
    """A link to a file, as collections have them; relative ones lead nowhere from another folder."""
    link = folder / "collection" / f"link to {file.name}"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(Path("..") / file.name if file.parent == folder else file)
    return link


def with_node(graph: Graph, class_type: str, **inputs: Any) -> Graph:
    other = copy.deepcopy(graph)
    inputs_of(other, class_type).update(inputs)
    return other


@pytest.mark.parametrize("by_path", [True, False], ids=["by path", "by upload"])
def test_a_job_becomes_a_whole_file_under_its_name(comfy_server: ComfyServer, tmp_path: Path, by_path: bool):
    seen: list[dict[str, int]] = []
    server = Server(comfy_server.url, comfy_server.base / "input" if by_path else None)
    job = small_job(tmp_path, seed=int(by_path))
    if os.name != "nt":  # where links need a right of their own
        job = changed(job, media=tuple(replace(one, file=linked(one.file, tmp_path)) for one in job.media))

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
    large = tmp_path / "large.wav"
    with large.open("wb") as opened:
        opened.truncate(101 * 2**20)  # the server takes 100 MB
    missing = {**job.graph, "99": {"class_type": "NobodyHasThisNode", "inputs": {}}}
    sound = next(one for one in job.media if one.input_name == "audio")
    picture = next(one for one in job.media if one.input_name == "image")
    without_save = {name: node for name, node in job.graph.items() if node["class_type"] != "SaveVideoWithAudio"}
    cases = {
        "shall read": changed(job, media=(sound, Media(picture.node, "image", tmp_path / "nowhere.png"))),
        "UnidentifiedImageError": changed(job, media=(sound, Media(picture.node, "image", text))),
        "InfiniteTalkLoadAudio: ": changed(job, media=(picture, Media(sound.node, "audio", text))),
        "--max-upload-size 102": changed(job, media=(picture, Media(sound.node, "audio", large))),
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


@pytest.mark.parametrize("lost", [PROMPT_ANSWER, b"Window 2 of 3"], ids=["the answer", "the connection, later"])
def test_a_connection_that_breaks_is_made_again_and_the_job_is_queued_once(
    comfy_server: ComfyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bytes
):
    monkeypatch.setattr(module, "RECONNECT_SECONDS", 3.0)
    before = len(comfy_server.log())
    with LossyProxy(comfy_server.url, lost) as proxy:
        threading.Thread(target=lambda: proxy.lost.wait(60) and proxy.restore(), daemon=True).start()
        # Longer than a server may be out of reach.
        late = lambda windows: time.sleep(3.5) if windows.as_counts()["begun"] == 1 else None  # noqa: E731
        report = late if lost != PROMPT_ANSWER else lambda windows: None
        done = render(small_job(tmp_path, 1.6, seed=6 + len(lost)), Server(proxy.url), report=report)
        assert proxy.lost.is_set()
    assert measure(done.file).frames == 40
    assert comfy_server.log()[before:].count("got prompt") == 1


class Broken(BaseHTTPRequestHandler):
    """What a proxy says while the server behind it starts again."""

    page = b"<html><head><title>502 Bad Gateway</title></head>\r\n<body>nginx</body></html>"

    def do_GET(self) -> None:
        self.send_response(502)
        self.end_headers()
        self.wfile.write(self.page)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """No lines on stderr."""


def test_a_proxy_without_its_server_refuses_no_job_for_good(tmp_path: Path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        followed = module._Followed(ComfyClient(url), Server(url), {}, "a", Windows(), lambda windows: None)
        with pytest.raises(TroubleError, match=r"answers with an error: HTTP Error 502: Bad Gateway$"):
            followed._submit()
        told = Worker("worker", url).prepare()
        server.shutdown()
    assert told["error"].endswith("answers with an error: HTTP Error 502: Bad Gateway")


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
