"""Loading the pack costs ComfyUI's start nothing worth naming."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from environment import ROOT, find_core

# Core with its own nodes first, then the pack as core loads it; prints the modules that came with the pack.
LOAD = """
import asyncio, json, sys
root, core = sys.argv[1:3]
sys.path.insert(0, core)
sys.argv = ["main.py", "--cpu", "--base-directory", sys.argv[3]]
import comfy.options
import utils.install_util
comfy.options.enable_args_parsing()
import comfy_api.latest, comfy_config.config_parser, server, nodes
before = set(sys.modules)
assert asyncio.run(nodes.load_custom_node(root))
print(json.dumps({name: getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - before}))
"""


@pytest.fixture(scope="module")
def new_modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the modules that loading the pack brings, by name."""
    command = [sys.executable, "-I", "-c", LOAD, str(ROOT), str(find_core()), str(tmp_path_factory.mktemp("base"))]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=240)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: Path(file) for name, file in found.items() if file}


def test_loading_the_pack_loads_its_nodes(new_modules: dict[str, Path]):
    assert ROOT / "nodes" / "sampler.py" in new_modules.values()


def test_loading_the_pack_imports_no_installed_package(new_modules: dict[str, Path]):
    # What is heavy (transformers, soundfile, scipy, imageio_ffmpeg, gguf ...) comes with the first job that needs it.
    installed = {name for name, file in new_modules.items() if "site-packages" in file.parts}
    assert installed == set()
