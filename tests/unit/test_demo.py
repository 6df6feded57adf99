"""The demo's parts that need neither a server nor a network."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cartoon_models
import comfy_server
import environment
import numpy as np
import pytest
import talking_picture
import tiny_models
from comfy_client import ComfyClient, NoAnswerError
from safetensors.numpy import load_file
from talking_picture import inputs_of


def test_tiny_models_are_the_same_bytes_on_every_machine(tmp_path: Path):
    tiny_models.write_models(tmp_path)

    digests = {
        file: hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()[:12]
        for file in (tiny_models.BASE_I2V, tiny_models.INFINITETALK, tiny_models.WAV2VEC, tiny_models.VAE)
    }

    assert digests == {
        tiny_models.BASE_I2V: "13d2f0e2f6d8",
        tiny_models.INFINITETALK: "ff761e21964c",
        tiny_models.WAV2VEC: "e8b96534e5e7",
        tiny_models.VAE: "ba5352543dbb",
    }


def test_the_tiny_job_is_the_shipped_graph_without_text_and_clip_vision():
    shipped = talking_picture.load_workflow()

    tiny = talking_picture.with_tiny_models(shipped)

    gone = {shipped[node]["class_type"] for node in set(shipped) - set(tiny)}
    assert gone == {"CLIPLoader", "CLIPTextEncode", "CLIPVisionLoader"}
    changed = {
        (node["class_type"], name)
        for node_id, node in tiny.items()
        for name, value in node["inputs"].items()
        if value != shipped[node_id]["inputs"][name]
    }
    sampler = {("InfiniteTalkSampler", name) for name in ("resolution", "width", "height", "steps")}
    assert changed == set(talking_picture.NEEDED_MODELS) | sampler
    links = {value[0] for n in tiny.values() for value in n["inputs"].values() if isinstance(value, list)}
    assert links <= set(tiny)


def test_the_cartoon_job_takes_the_shipped_models_and_nothing_else():
    shipped = talking_picture.load_workflow()

    cartoon = talking_picture.with_cartoon_models(shipped)

    tiny = talking_picture.with_tiny_models(shipped)
    assert cartoon.keys() == tiny.keys()
    names = {inputs_of(cartoon, class_type)[name] for class_type, name in talking_picture.CARTOON_MODELS}
    assert names == {file.name for file in cartoon_models.FOLDER.rglob("*.safetensors")}
    sampler, sizes = inputs_of(cartoon, "InfiniteTalkSampler"), inputs_of(tiny, "InfiniteTalkSampler")
    assert sampler.keys() == sizes.keys()
    assert (sampler["width"], sampler["height"], sampler["resolution"]) == (96, 96, "custom")
    assert [talking_picture.knows_drawn_faces_only(prompt) for prompt in (shipped, cartoon, tiny)] == [0, 1, 0]


def test_the_shipped_models_are_as_small_as_promised():
    files = list(cartoon_models.FOLDER.rglob("*.safetensors"))

    assert sum(file.stat().st_size for file in files) < 15_000_000
    for file in files:
        assert {tensor.dtype for tensor in load_file(file).values()} == {np.dtype("float16")}, file.name


def test_media_are_changed_in_a_copy():
    shipped = talking_picture.load_workflow()

    changed = talking_picture.with_media(shipped, "my face.png", "my voice.m4a")

    assert inputs_of(changed, "LoadImage")["image"] == "my face.png"
    assert inputs_of(changed, "InfiniteTalkLoadAudio")["audio"] == "my voice.m4a"
    assert inputs_of(shipped, "LoadImage")["image"] == "face.png"


def test_requirements_leave_out_comments_and_the_torch_family(tmp_path: Path):
    file = tmp_path / "requirements.txt"
    file.write_text(
        "torch\ntorchsde\n# why\ntorchvision>=0.2  # pinned\nnumpy>=1.25 # arrays\n\nav\n", encoding="utf-8"
    )

    assert environment._requirement_lines(file) == ["torchsde", "numpy>=1.25", "av"]


@pytest.mark.parametrize("prepare", [environment.prepare, environment.prepare_client])
def test_an_old_python_is_named_before_anything_is_downloaded(
    monkeypatch: pytest.MonkeyPatch, prepare: Callable[[], object]
):
    monkeypatch.setattr(environment, "OLDEST_PYTHON", (99, 0))

    with pytest.raises(environment.SetupError, match=r"^This is Python 3\.\d+\.\d+, and .* is needed"):
        prepare()


@contextlib.contextmanager
def answering(body: bytes, announced: int) -> Iterator[ComfyClient]:
    """A client of something that is no ComfyUI: it answers one request so, and says how many bytes that is."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Page) as listener:
        threading.Thread(target=listener.handle_request, daemon=True).start()
        yield ComfyClient(f"http://127.0.0.1:{listener.server_address[1]}")


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.get("/queue"),
        lambda client: client.post("/prompt", {}),
        lambda client: client.upload(Path(__file__)),
    ],
    ids=["get", "post", "upload"],
)
def test_a_web_page_in_place_of_comfyui_is_no_answer(ask: Callable[[ComfyClient], object]):
    page = b"<html>Welcome</html>"
    with (
        answering(page, len(page)) as client,
        pytest.raises(NoAnswerError, match=r"^No ComfyUI answers at http://127\.0\.0\.1:\d+ "),
    ):
        ask(client)


def test_a_file_that_breaks_off_is_not_taken_for_whole(tmp_path: Path):
    named = {"filename": "x.mp4", "subfolder": "", "type": "output"}
    with answering(bytes(1000), 5000) as client, pytest.raises(NoAnswerError, match="broke off 4000 bytes before the"):
        client.view(named, tmp_path / "x.mp4")


def test_comfyui_path_without_comfyui_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))

    with pytest.raises(environment.SetupError, match=r"holds no ComfyUI: set it to the folder with main\.py\.$"):
        environment.find_core()


def test_the_pack_is_linked_once(tmp_path: Path):
    first = environment.link_pack(tmp_path / "custom nodes")
    again = environment.link_pack(tmp_path / "custom nodes")

    assert first == again
    assert (first / "pyproject.toml").samefile(environment.ROOT / "pyproject.toml")


@pytest.mark.skipif(os.name == "nt", reason="Windows makes a junction where it may not make a symbolic link")
def test_the_pack_is_copied_where_links_do_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project = tmp_path / "project"
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / "__init__.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", project)
    # A stand-in for a file system without links, which a test cannot have.
    monkeypatch.setattr(Path, "symlink_to", _no_links)

    environment.link_pack(tmp_path / "custom_nodes")
    target = environment.link_pack(tmp_path / "custom_nodes")

    assert not target.is_symlink()
    assert [file.name for file in target.iterdir()] == ["__init__.py"]


def _no_links(*_: object, **__: object) -> None:
    raise OSError("no links here")


def test_being_ended_while_the_server_is_started_ends_the_server_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    started = []

    def interrupted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    popen = subprocess.Popen
    monkeypatch.setattr(comfy_server.subprocess, "Popen", interrupted)
    (tmp_path / "main.py").write_text("import time\ntime.sleep(60)\n")
    server = comfy_server.ComfyServer(
        environment.Environment(tmp_path, tmp_path, Path(sys.executable)), tmp_path / "base"
    )

    with pytest.raises(KeyboardInterrupt):
        server.start()

    assert started[0].poll() is not None
