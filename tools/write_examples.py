"""Writes all example workflows: the editor's graph, its picture, and the graph for the queue.

Needs Chromium and an environment with ComfyUI (`python tests/run.py` makes one):
`.venv/bin/python tools/write_examples.py [NAME ...] [--png FOLDER]`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import in_process
from comfy_client import ComfyClient, Prompt
from comfy_server import ComfyServer
from examples import core_examples
from examples.editor_graph import EditorGraph, NotOfferedError, OfferedNodes
from examples.media import write_media
from examples.talks import TALKS, talk
from PIL import Image

FOLDER = in_process.ROOT / "example_workflows"
SCREENSHOT = Path(__file__).with_name("screenshot.py")
JPEG = {"width": 1800, "quality": 78}
EXAMPLES: dict[str, Callable[[EditorGraph], None]] = {
    **{example.name: partial(talk, example=example) for example in TALKS},
    **core_examples.EXAMPLES,
}


def main() -> None:
    """Start a server, write the chosen examples (all by default)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(EXAMPLES))
    parser.add_argument("--png", type=Path, help="also keep the pictures in full size in this folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_media(base / "input")
        with ComfyServer.here(base) as server:
            offered = ComfyClient(server.url).get("/object_info")
            for name in options.names or EXAMPLES:
                try:
                    write_example(name, offered, server, options.png or base)
                except NotOfferedError as error:
                    print(f"{name} is left as it is: this ComfyUI has no node {error}; COMFYUI_PATH chooses another")


def write_example(name: str, offered: OfferedNodes, server: ComfyServer, pictures: Path) -> None:
    """Write one example; its picture in full size is left in the folder `pictures`."""
    graph, picture, exported = FOLDER / f"{name}.json", pictures / f"{name}.png", pictures / f"{name}.api.json"
    built = build(name, offered)
    write_json(graph, built)
    pretend_models(built, server.base / "models")
    subprocess.run([sys.executable, SCREENSHOT, server.url, graph, picture, "--api", exported], check=True)
    write_json(FOLDER / "api" / graph.name, tidy(json.loads(exported.read_text(encoding="utf-8")), offered))
    exported.unlink()
    write_thumbnail(picture, FOLDER / f"{name}.jpg")


def pretend_models(graph: dict[str, Any], folder: Path) -> None:
    """Empty files under the names of a graph's models: newer editors draw a red frame where one is missing."""
    for model in (model for node in graph["nodes"] for model in node["properties"].get("models", [])):
        file = folder / model["directory"] / model["name"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def tidy(prompt: Prompt, offered: OfferedNodes) -> Prompt:
    """The editor's export without what only the editor knows, such as the player of a sound."""
    for node in prompt.values():
        described = offered[node["class_type"]]["input"]
        known = {**described["required"], **described.get("optional", {})}
        node["inputs"] = {name: value for name, value in node["inputs"].items() if name in known}
    return prompt


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write JSON as people read it; a file that says the same already stays as it is."""
    if not file.is_file() or json.loads(file.read_text(encoding="utf-8")) != content:
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def build(name: str, offered: OfferedNodes) -> dict[str, Any]:
    """One example in the editor's format; the same bytes every time."""
    graph = EditorGraph(offered)
    EXAMPLES[name](graph)
    return graph.as_json(str(uuid.uuid5(uuid.NAMESPACE_URL, f"infinitetalk/{name}")))


def write_thumbnail(picture: Path, target: Path) -> None:
    """Scale a picture to the width of a thumbnail."""
    with Image.open(picture) as whole:
        height = round(whole.height * JPEG["width"] / whole.width)
        small = whole.convert("RGB").resize((JPEG["width"], height), Image.Resampling.LANCZOS)
    small.save(target, quality=JPEG["quality"], optimize=True)


if __name__ == "__main__":
    main()
