"""Makes the pack importable as `infinitetalk`, whatever its folder is called, and finds ComfyUI and golden data.

The repository's root is the package, and it holds a `nodes` folder like ComfyUI's own `nodes` module:
so the root never goes on `sys.path`, the pack is loaded by path under one name.
"""

from __future__ import annotations

import lzma
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from comfy_server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))

import in_process  # noqa: E402  (makes the modules of the demo and of the tools importable too)

in_process.load_pack()

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def golden_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the reference's numbers: the whole set where it lies beside the project, else what ships with it."""
    whole = ROOT.parent / "shared" / "golden"
    if whole.is_dir():
        return whole
    unpacked = tmp_path_factory.mktemp("golden")
    for file in (ROOT / "tests" / "golden").iterdir():
        if file.suffix == ".xz":
            (unpacked / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
        else:
            shutil.copyfile(file, unpacked / file.name)
    return unpacked


@pytest.fixture(scope="session")
def comfy_core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI's modules (`comfy`, `folder_paths`, `nodes` ...) importable in this process, on the CPU.

    Its folder is `COMFYUI_PATH` or the cached one; models, inputs and outputs are looked for in a new, empty place.
    With `INFINITETALK_TEST_DEVICE=gpu` it works on the GPU: parity with the reference can be tested there.
    """
    on_gpu = os.environ.get("INFINITETALK_TEST_DEVICE") == "gpu"
    core = in_process.import_core(tmp_path_factory.mktemp("comfyui"), cpu=not on_gpu)
    if on_gpu:  # all in float32, as the reference computed
        import comfy.cli_args
        import torch

        comfy.cli_args.args.fp32_vae = True
        torch.backends.cudnn.allow_tf32 = False
    return core


@pytest.fixture(scope="session")
def comfy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI with the demo's tiny models, running in this interpreter's environment.

    One for all tests; its base folder is new and has a space in its name.
    """
    import tiny_models
    from comfy_client import ComfyClient
    from comfy_server import ComfyServer

    base = tmp_path_factory.mktemp("server") / "Comfy UI"
    tiny_models.write_models(base / "models")
    node = base / "custom_nodes" / "any_value"
    node.mkdir(parents=True)
    shutil.copyfile(ROOT / "tests" / "support" / "any_value.py", node / "__init__.py")
    with ComfyServer.here(base) as running:
        if "InfiniteTalkSampler" not in ComfyClient(running.url).get("/object_info"):
            pytest.fail(f"ComfyUI could not load the pack; its log:\n{running.log()[-1500:]}", pytrace=False)
        yield running
        if not running.is_running():
            pytest.fail(f"ComfyUI died during the tests; its log ends with:\n{running.log()[-3000:]}")
