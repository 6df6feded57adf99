"""Keeps one ComfyUI for a worker, and ends it when the worker is gone, however it went.

`launch PID` starts it so that it is not a child of the worker with that number, and ends: Ray kills the children of a
worker that ends.

The first line of stdin is a `ServerRecipe` as JSON, the answer one line of JSON: `url` and `input` of the server, or an
`error`. From then on the end of stdin, which comes with the death of the worker too, ends the server at once, so that
its GPU and the run that it worked on are free for another.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "demo"))

from comfy_server import ComfyServer, own_process_group
from environment import ROOT, Environment, SetupError
from own_server import ServerRecipe

LOOK_SECONDS = 0.2


def main() -> int:
    """Start the server, tell of it, and stay as long as the worker and the server do."""
    if sys.argv[1] == "launch":
        subprocess.Popen([sys.executable, __file__, "keep", sys.argv[2]], **own_process_group())
        return 0
    recipe = ServerRecipe(**json.loads(sys.stdin.readline()))
    base = Path(recipe.base)
    try:
        server = make_server(recipe, base)
    except OSError as error:
        tell(error=f"A folder of the cluster is not to be had on {platform.node()} ({error}): see that it is mounted.")
        shutil.rmtree(base, ignore_errors=True)
        return 1
    try:
        worker_is_gone = threading.Event()
        threading.Thread(target=wait_for_end, args=(server, worker_is_gone), daemon=True).start()
        try:
            server.start()
        except (SetupError, OSError) as error:
            tell(error=str(error))
            return 1
        tell(url=server.url, input=str(base / "input"))
        while server.is_running() and not worker_is_gone.is_set():
            time.sleep(LOOK_SECONDS)
        return 0
    finally:
        server.kill()
        shutil.rmtree(base, ignore_errors=True)


def make_server(recipe: ServerRecipe, base: Path) -> ComfyServer:
    """The server of a recipe; its models are looked for in the shared folder, its log is kept there."""
    base.mkdir(parents=True, exist_ok=True)
    paths = base / "extra_model_paths.yaml"
    paths.write_text(json.dumps({"cluster": model_paths(recipe)}), encoding="utf-8")  # JSON is YAML
    arguments = ["--extra-model-paths-config", str(paths), "--max-upload-size", "100000", *recipe.arguments]
    core = Path(recipe.core)
    environment = Environment(core, core, Path(recipe.python))
    links_pack = not brings_the_pack(recipe)
    server = ComfyServer(environment, base, tuple(arguments), on_cpu=recipe.on_cpu, links_pack=links_pack)
    server.log_file = Path(recipe.log)
    server.log_file.parent.mkdir(parents=True, exist_ok=True)
    os.environ["INFINITETALK_RUNS_FOLDER"] = recipe.runs
    os.environ.pop("OMP_NUM_THREADS", None)
    if recipe.threads:
        os.environ["OMP_NUM_THREADS"] = recipe.threads
    return server


def model_paths(recipe: ServerRecipe) -> dict[str, str]:
    """Every kind of model that has a folder, and the other packs of the user's ComfyUI."""
    folders = [folder for folder in Path(recipe.models).iterdir() if folder.is_dir()]
    kinds = {folder.name: str(folder) for folder in sorted(folders)}
    return {**kinds, "custom_nodes": recipe.custom_nodes} if recipe.custom_nodes else kinds


def brings_the_pack(recipe: ServerRecipe) -> bool:
    """Whether the user's own packs have this one, so that it must not be loaded twice."""
    if not recipe.custom_nodes or not Path(recipe.custom_nodes).is_dir():
        return False
    return any(folder.resolve() == ROOT for folder in Path(recipe.custom_nodes).iterdir())


def wait_for_end(server: ComfyServer, worker_is_gone: threading.Event) -> None:
    """End the server with the worker, also while it starts."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    worker_is_gone.set()
    server.kill()


def tell(**facts: str) -> None:
    """One line for the worker."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
