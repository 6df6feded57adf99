"""What the loaders offer."""

from __future__ import annotations

import os
import shutil
from types import SimpleNamespace

import pytest
import tiny_models
from comfy_client import ComfyClient


@pytest.mark.skipif(os.name == "nt", reason="links need a right of their own there")
def test_gguf_files_in_a_linked_subfolder_are_listed(client: ComfyClient, folders: SimpleNamespace, tmp_path):
    (tmp_path / "weights.gguf").write_bytes(b"GGUF")
    link = folders.models / "model_patches" / "linked"
    link.symlink_to(tmp_path, target_is_directory=True)
    try:
        assert "linked/weights.gguf" in client.model_choices("InfiniteTalkModelLoader", "model")
    finally:
        link.unlink()


def test_a_file_in_a_subfolder_is_found_by_the_name_that_windows_gives_it(
    client: ComfyClient, folders: SimpleNamespace
):
    """As core's own loaders on Windows have named it in a graph that was rewritten or comes from there."""
    folder = folders.models / "model_patches" / "from windows"
    folder.mkdir()
    file = folder / "weights.safetensors"
    shutil.copyfile(folders.models / tiny_models.INFINITETALK, file)
    loader = {"class_type": "InfiniteTalkModelLoader", "inputs": {"model": f"{folder.name}\\{file.name}"}}
    try:
        assert client.run({"1": loader, "2": {"class_type": "AnySink", "inputs": {"value": ["1", 0]}}}).error is None
    finally:
        shutil.rmtree(folder)
