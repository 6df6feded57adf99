"""What the loaders offer."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
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
