"""Core's models with the reference's tiny weights, loaded by core's own loaders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from ..support.golden_job import golden_job


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    """As ComfyUI runs its nodes."""
    with torch.inference_mode():
        yield


@pytest.fixture(scope="session")
def models(comfy_core: Path, golden_dir: Path) -> SimpleNamespace:
    """`model`, `infinitetalk` (patchers) and `vae` in float32."""
    import comfy.sd
    import comfy.utils
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    return SimpleNamespace(
        model=comfy.sd.load_diffusion_model(
            str(golden_dir / "dit.safetensors"), model_options={"dtype": torch.float32}
        ),
        infinitetalk=load_infinitetalk(golden_dir / "infinitetalk.safetensors"),
        vae=comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(golden_dir / "vae.safetensors"))),
    )


@pytest.fixture(scope="session")
def single(golden_dir: Path) -> dict[str, torch.Tensor]:
    """Inputs and outputs of one forward with one speaker."""
    return load_file(golden_dir / "dit_single.safetensors")


@pytest.fixture(scope="session")
def multi(golden_dir: Path) -> dict[str, torch.Tensor]:
    """Inputs and outputs of one forward with two speakers."""
    return load_file(golden_dir / "dit_multi.safetensors")


@pytest.fixture
def job(models: SimpleNamespace):
    """A small job on the golden models."""
    return golden_job(models)
