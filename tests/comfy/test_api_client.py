"""The client and the commands of `docs/api.md`, as users copy them, on a real server and over a network that fails."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from comfy_client import ComfyClient, Prompt
from comfy_server import ComfyServer
from environment import ROOT
from evaluation import finished
from talking_picture import PICTURE, find_node, inputs_of

from ..support import jobs, media
from ..support.conditions import unavailable, wait_until
from ..support.leading_address import leading_to
from ..support.lossy_proxy import LossyProxy

CLIENT = ROOT / "docs" / "api_client.py"
DOCUMENT = ROOT / "docs" / "api.md"
SOUND_SECONDS = 1.0
FRAMES = 25
FIRST_STEP = b"Window 1 of 2, step 1 of"  # the sampler's line on its node
PROMPT_ANSWER = b'"node_errors": {}'  # in the server's answer to a graph that it takes
PIECE_OF_VIDEO = b"Content-Range"


@pytest.fixture
def folder(client: ComfyClient, tmp_path: Path) -> Path:
    """A user's folder: a picture, a sound, and the shipped graph for the tiny models, which wants other files.

    Every test has a seed of its own, so that no job is served from the server's cache.
    """
    shutil.copyfile(PICTURE, tmp_path / "face.png")
    soundfile.write(tmp_path / "speech.wav", media.speech(SOUND_SECONDS, 48_000, 2), 48_000, subtype="PCM_16")
    prompt = jobs.small_prompt(client, tmp_path / "face.png", tmp_path / "speech.wav", seed=uuid.uuid4().int % 2**32)
    inputs_of(prompt, "LoadImage")["image"] = inputs_of(prompt, "InfiniteTalkLoadAudio")["audio"] = "not there"
    write_graph(tmp_path, prompt)
    return tmp_path


def graph_file(folder: Path) -> Path:
    return folder / "example_workflows" / "api" / "talking_picture.json"


def write_graph(folder: Path, prompt: Prompt) -> None:
    graph_file(folder).parent.mkdir(parents=True, exist_ok=True)
    graph_file(folder).write_text(json.dumps(prompt), encoding="utf-8")


def change(folder: Path, class_type: str, **inputs: Any) -> None:
    prompt = json.loads(graph_file(folder).read_bytes())
    inputs_of(prompt, class_type).update(inputs)
    write_graph(folder, prompt)


def command(folder: Path, server: str, *more: str, picture: str = "face.png") -> list[str]:
    files = ["--file", f"Picture.image={folder / picture}", "--file", f"Speech.audio={folder / 'speech.wav'}"]
    graph, target = graph_file(folder), folder / "made here" / "talk.mp4"
    return [sys.executable, "-X", "utf8", str(CLIENT), str(graph), str(target), "--server", server, *files, *more]


def run(command: list[str], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    options = {"cwd": folder, "env": {**os.environ, **variables}, "timeout": 300}
    return subprocess.run(command, **options, capture_output=True, text=True, encoding="utf-8")


def assert_is_the_video(file: Path, folder: Path) -> None:
    """All frames, and the sound of `speech.wav` at its own rate, from the start to the end."""
    video = finished.decode(file)
    wanted, rate = soundfile.read(folder / "speech.wav", always_2d=True)
    assert len(video.frames) == FRAMES
    assert (video.sample_rate, video.sound.shape[1]) == (rate, wanted.shape[1])
    heard = np.corrcoef(video.sound[: len(wanted), 1], wanted[: len(video.sound), 1])[0, 1]
    assert heard > 0.95
    assert not list(file.parent.glob("*.part"))


def assert_sentence(ended: subprocess.CompletedProcess[str], pattern: str) -> None:
    """It gave up, with one sentence for a person in its last line."""
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert re.search(pattern, ended.stderr.splitlines()[-1]), ended.stderr


def jobs_taken(server: ComfyServer) -> int:
    """How many graphs the server was sent so far."""
    return server.log().count("got prompt")


def jobs_of(client: ComfyClient, folder: Path) -> list[dict[str, Any]]:
    """History entries of all jobs that save under this test's name."""
    graph = json.loads(graph_file(folder).read_bytes())
    prefix = inputs_of(graph, "SaveVideoWithAudio")["filename_prefix"]
    return [entry for entry in client.get("/history").values() if prefix in json.dumps(entry["prompt"])]


def test_the_client_uploads_queues_follows_and_downloads(server: ComfyServer, folder: Path):
    name = "a face; \u8138.png"
    shutil.copyfile(folder / "face.png", folder / name)

    asked = command(folder, server.url, "--set", "InfiniteTalk Sampler.steps=3", picture=name)
    made = run(asked, folder, http_proxy="http://127.0.0.1:9", no_proxy="")  # which does not lead to this machine

    assert made.returncode == 0, made.stderr
    assert_is_the_video(folder / "made here" / "talk.mp4", folder)
    said = made.stderr.splitlines()
    told = [line for line in said if re.match(r"Window [12] of 2, step [123] of 3", line)]
    assert len(told) == 6
    assert said.index("InfiniteTalk Sampler") < said.index(told[0])
    assert any(line.startswith("Saved ") and "48000 Hz, stereo" in line for line in said)


def test_the_file_comes_though_the_connection_drops_in_the_middle(server: ComfyServer, folder: Path):
    change(folder, "InfiniteTalkSampler", steps=60)  # a fast machine must not be done before the client is back
    taken_before = jobs_taken(server)
    with LossyProxy(server.url, FIRST_STEP) as proxy:
        client_process = subprocess.Popen(
            command(folder, proxy.url), stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert proxy.lost.wait(120)
        proxy.restore()
        _, said = client_process.communicate(timeout=300)

    assert client_process.returncode == 0, said
    assert_is_the_video(folder / "made here" / "talk.mp4", folder)
    lost, _, after = said.partition("Connection lost")
    assert "Window" not in lost
    assert "Window 2 of 2, step 60 of 60" in after  # it follows again
    assert jobs_taken(server) == taken_before + 1


@pytest.mark.parametrize("fatal", [FIRST_STEP, PROMPT_ANSWER], ids=["while it ran", "as it was queued"])
def test_the_file_comes_though_the_network_was_down_until_the_job_was_over(
    server: ComfyServer, client: ComfyClient, folder: Path, fatal: bytes
):
    taken_before = jobs_taken(server)
    with LossyProxy(server.url, fatal) as proxy:
        client_process = subprocess.Popen(
            command(folder, proxy.url), stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )
        assert proxy.lost.wait(120)
        wait_until(lambda: jobs_of(client, folder))
        proxy.restore()
        _, said = client_process.communicate(timeout=300)

    assert client_process.returncode == 0, said
    assert_is_the_video(folder / "made here" / "talk.mp4", folder)
    assert jobs_taken(server) == taken_before + 1, "it was queued twice"


@pytest.mark.parametrize("fatal", [b"form-data", PIECE_OF_VIDEO], ids=["upload", "download"])
def test_a_transfer_that_breaks_off_is_made_again(server: ComfyServer, folder: Path, fatal: bytes):
    with LossyProxy(server.url, fatal) as proxy:
        client_process = subprocess.Popen(command(folder, proxy.url))
        assert proxy.lost.wait(120)
        proxy.restore()

        assert client_process.wait(timeout=300) == 0

    assert_is_the_video(folder / "made here" / "talk.mp4", folder)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The client as a module; it does not wait for half a minute before it doubts a silent connection."""
    spec = importlib.util.spec_from_file_location("api_client", CLIENT)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    monkeypatch.setattr(loaded, "SILENCE_SECONDS", 2)
    return loaded


def test_a_connection_that_died_without_a_sign_is_noticed(
    server: ComfyServer, client: ComfyClient, folder: Path, module: ModuleType
):
    graph = json.loads(graph_file(folder).read_bytes())
    with LossyProxy(server.url, FIRST_STEP, silent=True) as proxy:
        comfy = module.ComfyUI(proxy.url, report=lambda _: None)
        module.put(graph, "Picture.image", comfy.upload(folder / "face.png"))
        module.put(graph, "Speech.audio", comfy.upload(folder / "speech.wav"))

        module.make_video(comfy, graph, folder / "talk.mp4")

        assert proxy.lost.is_set()
    assert_is_the_video(folder / "talk.mp4", folder)


def test_a_video_is_fetched_piece_by_piece(
    server: ComfyServer, folder: Path, module: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    video = np.random.default_rng(0).bytes(10_000)
    (server.base / "output" / f"{folder.name}.mp4").write_bytes(video)
    entry = {"outputs": {"1": {"gifs": [{"filename": f"{folder.name}.mp4", "subfolder": "", "type": "output"}]}}}
    for piece_bytes in (999, 10_000, 10_001):
        monkeypatch.setattr(module, "PIECE_BYTES", piece_bytes)

        module.ComfyUI(server.url).download(entry, folder / "fetched.mp4")

        assert (folder / "fetched.mp4").read_bytes() == video


def test_a_refused_graph_is_one_sentence(server: ComfyServer, folder: Path):
    ended = run(command(folder, server.url, "--set", "InfiniteTalk Sampler.steps=0"), folder)

    assert_sentence(ended, r"^The server refuses the graph: InfiniteTalkSampler: .*steps")


def test_a_failed_job_is_one_sentence(server: ComfyServer, folder: Path):
    (folder / "speech.wav").write_bytes(b"this is not a sound" * 100)

    ended = run(command(folder, server.url), folder)

    assert_sentence(ended, r"^Speech: .*speech.*\.$")
    assert not (folder / "made here").exists()


@pytest.fixture
def following(server: ComfyServer, client: ComfyClient, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The client while its long job runs."""
    change(folder, "InfiniteTalkSampler", steps=200)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a script ignores it
    process = subprocess.Popen(command(folder, server.url), stderr=subprocess.PIPE, text=True, encoding="utf-8")
    next(line for line in process.stderr if line.startswith("Window"))
    yield process
    client.interrupt()


def test_a_stopped_job_is_one_sentence(client: ComfyClient, following: subprocess.Popen[str]):
    client.interrupt()

    _, rest = following.communicate(timeout=120)
    ended = subprocess.CompletedProcess([], following.returncode, "", rest)
    assert_sentence(ended, r"^The job was stopped: run this again")


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_a_stopped_client_leaves_its_job_alone_and_says_so(client: ComfyClient, following: subprocess.Popen[str]):
    following.send_signal(signal.SIGINT)

    _, rest = following.communicate(timeout=120)
    assert (following.returncode, "Traceback" in rest) == (130, False)
    assert rest.splitlines()[-1].startswith("Stopped; a job that is queued goes on.")
    assert client.get("/queue")["queue_running"]


def test_a_job_that_the_server_has_forgotten_is_one_sentence(
    server: ComfyServer, client: ComfyClient, folder: Path, module: ModuleType, picture: Path
):
    running = jobs.small_prompt(client, picture, folder / "speech.wav", steps=200)
    waiting = jobs.small_prompt(client, picture, folder / "speech.wav")
    comfy = module.ComfyUI(server.url, report=lambda _: None)
    client.submit(running)
    try:
        job = comfy.queue(waiting)
        client.post("/queue", {"delete": [job]})

        with pytest.raises(module.ComfyError, match=r"^The server does not have the job any more.*: run this again"):
            comfy.follow(job, waiting)
    finally:
        client.interrupt()


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["--set", "Smapler.steps=3"], r"^The graph has 0 nodes 'Smapler'.*choose from .*InfiniteTalk Sampler"),
        (["--set", "12.step=3"], r"^The node '12' has no input 'step': choose from .*steps"),
        (["--set", "12.steps=many"], r"^12\.steps cannot be 'many': it needs a number"),
        (["--set", "12.steps"], r"^'12\.steps' gives no value: write NODE\.INPUT=VALUE\.$"),
        (["--file", "Picture.image=nowhere.png"], r"No such file.*nowhere\.png"),
        (["--file", "Speech.audio=large.wav"], r"^large\.wav has 101 MB, .* takes 100: start it .*-size 102\.$"),
    ],
)
def test_a_mistake_in_the_command_is_one_sentence(
    server: ComfyServer, folder: Path, arguments: list[str], pattern: str
):
    os.truncate(shutil.copyfile(folder / "speech.wav", folder / "large.wav"), 101 * 2**20)
    assert_sentence(run(command(folder, server.url, *arguments), folder), pattern)


def test_a_graph_of_the_editor_is_refused_with_one_sentence(server: ComfyServer, folder: Path):
    shutil.copyfile(ROOT / "example_workflows" / "talking_picture.json", graph_file(folder))
    assert_sentence(run(command(folder, server.url), folder), r"is no graph in the API format: export it")


def test_a_folder_as_the_target_is_refused_before_the_job(server: ComfyServer, folder: Path):
    (folder / "made here" / "talk.mp4").mkdir(parents=True)
    taken_before = jobs_taken(server)
    ended = run(command(folder, server.url), folder)
    assert_sentence(ended, r"talk\.mp4 is a folder: give the name of a file in it")
    assert jobs_taken(server) == taken_before


def test_a_redirected_address_and_a_graph_with_a_byte_order_mark_will_do(server: ComfyServer, folder: Path):
    graph_file(folder).write_text(graph_file(folder).read_text(encoding="utf-8"), encoding="utf-8-sig")

    with leading_to(server.url) as url:
        made = run(command(folder, url), folder)
    assert made.returncode == 0, made.stderr
    assert_is_the_video(folder / "made here" / "talk.mp4", folder)


def test_a_server_that_is_not_there_is_one_sentence_at_once(folder: Path):
    started = time.monotonic()
    ended = run(command(folder, "http://127.0.0.1:9"), folder)
    assert_sentence(ended, r"^No ComfyUI answers at http://127\.0\.0\.1:9 .*: start it, or check the address\.$")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "graph", sorted((ROOT / "example_workflows" / "api").glob("*.json")), ids=lambda file: file.stem
)
def test_every_shipped_graph_suits_the_client(graph: Path, module: ModuleType):
    nodes = module.load_graph(graph)
    titles = [module._title(nodes, node_id) for node_id in nodes]

    assert len(titles) == len(set(titles)), "a title names two nodes"
    assert [node["class_type"] for node in nodes.values()].count("SaveVideoWithAudio") == 1


@pytest.fixture
def bash() -> str:
    """A shell with everything that the document's commands use; it must be there in CI."""
    needed = {name: shutil.which(name) for name in ("bash", "curl", "jq")}
    missing = [name for name, path in needed.items() if path is None]
    if os.name == "nt":
        pytest.skip("Windows' own bash is another system, with another file tree")
    if missing:
        unavailable(f"The document's commands need {', '.join(missing)}.")
    return needed["bash"]


def script(heading: str, server: ComfyServer) -> str:
    """The first block of shell commands under a heading of the document, for another server."""
    text = DOCUMENT.read_text(encoding="utf-8")
    block = re.search(rf"^## {re.escape(heading)}$.*?^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[1]
    assert block.count("http://127.0.0.1:8188") == 1
    return block.replace("http://127.0.0.1:8188", server.url)


def test_the_curl_commands_of_the_document_make_the_video(bash: str, server: ComfyServer, folder: Path):
    made = run([bash, "-c", script("With curl", server)], folder)

    assert made.returncode == 0, made.stderr
    assert_is_the_video(folder / "talk.mp4", folder)


def test_the_curl_commands_tell_why_a_graph_is_refused(bash: str, server: ComfyServer, folder: Path):
    change(folder, "InfiniteTalkSampler", steps=0)

    ended = run([bash, "-c", script("With curl", server)], folder)

    assert_sentence(ended, "Prompt outputs failed validation.*steps")
    assert not (folder / "talk.mp4").exists()


def test_the_curl_commands_tell_why_a_job_has_failed(bash: str, server: ComfyServer, folder: Path):
    (folder / "speech.wav").write_bytes(b"this is not a sound" * 100)

    ended = run([bash, "-c", script("With curl", server)], folder)

    assert_sentence(ended, r"speech.*\.$")
    assert not (folder / "talk.mp4").exists()


def test_the_python_command_of_the_document_makes_the_video(bash: str, server: ComfyServer, folder: Path):
    shutil.copyfile(CLIENT, folder / CLIENT.name)
    python = shlex.quote(str(Path(sys.executable).parent))

    made = run([bash, "-c", f"PATH={python}:$PATH\n{script('With Python', server)}"], folder)

    assert made.returncode == 0, made.stderr
    assert_is_the_video(folder / "talk.mp4", folder)


def test_the_history_is_as_the_document_says(server: ComfyServer, client: ComfyClient, folder: Path):
    section = DOCUMENT.read_text(encoding="utf-8").split("## What the save node reports")[1].split("\n## ")[0]
    made = run(command(folder, server.url), folder)

    assert made.returncode == 0, made.stderr
    (entry,) = jobs_of(client, folder)
    saved = entry["outputs"][find_node(json.loads(graph_file(folder).read_bytes()), "SaveVideoWithAudio")]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(saved) - {"animated"}
