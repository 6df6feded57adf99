"""The pack as the Registry ships it: complete, without tests, and at work in a folder named by the Manager."""

from __future__ import annotations

import ast
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import comfy_server
import pytest
import talking_picture
import tiny_models
from comfy_client import ComfyClient
from comfy_server import ComfyServer
from environment import ROOT
from talking_picture import PICTURE, SPEECH, find_node, inputs_of

from ..support.registry import packed_files, unpack

PACK_NAME = "infinitetalk"  # the Manager names the folder of a Registry pack by its id
IN_THE_ZIP = {
    *(
        "__init__.py",
        "errors.py",
        "spool.py",
        "timebase.py",
        "weight_files.py",
        "pyproject.toml",
        "requirements.txt",
        "LICENSE",
    ),
    *("README.md", "README.zh-CN.md", "CHANGELOG.md", "SECURITY.md"),
    *("audio", "nodes", "sync", "video_io", "wanvideo", "web", "locales", "example_workflows", "docs"),
}


def test_the_zip_holds_what_users_need_and_nothing_else():
    assert {PurePosixPath(file).parts[0] for file in packed_files()} == IN_THE_ZIP


def test_the_zip_is_small():
    assert sum((ROOT / file).stat().st_size for file in packed_files()) < 4.5 * 2**20


@pytest.mark.parametrize("file", [file for file in packed_files() if file.endswith(".py")])
def test_every_module_that_a_packed_one_imports_is_packed(file: str):
    packed = set(packed_files())
    folder = PurePosixPath(file).parent
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = folder.parents[node.level - 2] if node.level > 1 else folder
            base = package.joinpath(*(node.module or "").split("."))
            for name in node.names:
                candidates = (f"{base}.py", f"{base}/__init__.py", f"{base}/{name.name}.py")
                candidates += (f"{base}/{name.name}/__init__.py",)
                assert packed & {str(PurePosixPath(one)) for one in candidates}, ast.unparse(node)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI with the unpacked zip in place of the checkout."""
    base = tmp_path_factory.mktemp("registry")
    tiny_models.write_models(base / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy_server, "link_pack", lambda custom_nodes: unpack(custom_nodes, PACK_NAME))
        with ComfyServer.here(base) as running:
            yield running


@pytest.fixture
def client(server: ComfyServer) -> ComfyClient:
    """A client of the server with the unpacked zip."""
    return ComfyClient(server.url)


def get(server: ComfyServer, path: str) -> bytes:
    with urllib.request.urlopen(server.url + path) as answer:
        return answer.read()


def test_the_unpacked_zip_offers_every_node(server: ComfyServer, client: ComfyClient):
    texts = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))

    offered = client.get("/object_info")

    assert set(texts) <= set(offered)
    for node in texts:
        assert offered[node]["python_module"] == f"custom_nodes.{PACK_NAME}"


def test_the_unpacked_zip_makes_a_video(client: ComfyClient):
    prompt = talking_picture.with_tiny_models(talking_picture.load_workflow(), size=32, steps=1)
    prompt = talking_picture.with_media(prompt, client.upload(PICTURE), client.upload(SPEECH))
    inputs_of(prompt, "InfiniteTalkLoadAudio")["duration"] = 0.2

    result = client.run(prompt)

    assert not result.error, result.error_message
    (saved,) = result.outputs[find_node(prompt, "SaveVideoWithAudio")]["gifs"]
    assert Path(saved["fullpath"]).stat().st_size > 1000


def test_the_unpacked_zip_serves_its_scripts_texts_help_and_templates(server: ComfyServer):
    packed = [PurePosixPath(file) for file in packed_files()]
    listed = json.loads(get(server, "/extensions"))
    served = [file for file in packed if file.parts[0] == "web"]
    assert {file.suffix for file in served} == {".js", ".md"}
    for file in served:
        address = f"/extensions/{PACK_NAME}/{file.relative_to('web')}"
        assert get(server, address) == (ROOT / file).read_bytes()
        assert (address in listed) == (file.suffix == ".js")
    texts = json.loads(get(server, "/i18n"))
    assert "SaveVideoWithAudio" in texts["zh"]["nodeDefs"]
    templates = json.loads(get(server, "/workflow_templates"))
    assert set(templates[PACK_NAME]) == {file.stem for file in packed if file.match("example_workflows/*.json")}
