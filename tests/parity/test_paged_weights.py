"""Cores that page weights on NVIDIA GPUs ("dynamic VRAM") make layers that have none until a state dict is loaded.

That core needs such a GPU for all else of it. Here its layers alone are switched on, and its way of mapping a file into
memory, which asks for the driver, is stood in for by safetensors'; on older cores a layer made like theirs stands in.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ..support.paging import mapped
from ..support.shapes import largest_difference
from ..support.two_window_job import make_job, run


def lazy(layer: type[torch.nn.Linear]) -> type[torch.nn.Linear]:
    """A linear layer as `comfy.ops.disable_weight_init.Linear` is in ComfyUI 0.33 where it pages weights."""

    class Lazy(layer):
        def __init__(self, in_features, out_features, bias=True, device=None, dtype=None):
            torch.nn.Module.__init__(self)
            self.in_features, self.out_features = in_features, out_features
            self.weight = self.bias = None

        def _load_from_state_dict(self, state_dict, prefix, *_):
            for name in ("weight", "bias"):
                setattr(self, name, torch.nn.Parameter(state_dict[prefix + name], requires_grad=False))

    return Lazy


@pytest.fixture
def paging(comfy_core, monkeypatch):
    import comfy.ops
    import comfy.utils

    if importlib.util.find_spec("comfy.memory_management"):
        memory = importlib.import_module("comfy.memory_management")
        monkeypatch.setattr(memory, "aimdo_enabled", True)
        monkeypatch.setattr(comfy.utils, "load_safetensors", mapped)
    else:
        for layers in (comfy.ops.disable_weight_init, comfy.ops.manual_cast):
            monkeypatch.setattr(layers, "Linear", lazy(layers.Linear))
    assert comfy.ops.manual_cast.Linear(2, 2).weight is None


def test_infinitetalk_is_whole(models, golden_dir: Path, paging):
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    paged, plain = load_infinitetalk(golden_dir / "infinitetalk.safetensors").model, models.infinitetalk.model
    weights = paged.state_dict()
    assert weights.keys() == plain.state_dict().keys()
    assert all(weights[name].equal(tensor.cpu()) for name, tensor in plain.state_dict().items())


@pytest.mark.parametrize("voices", [1, 2])
def test_a_video_is_the_same(models, golden_dir: Path, voices: int, paging):
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    talk = load_infinitetalk(golden_dir / "infinitetalk.safetensors")
    paged = SimpleNamespace(model=models.model, infinitetalk=talk, vae=models.vae)
    assert run(make_job(paged, voices=voices))[0].equal(run(make_job(models, voices=voices))[0])


def test_a_file_that_lacks_a_weight_is_refused(golden_dir: Path, paging, tmp_path: Path):
    from infinitetalk.errors import UserError
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk
    from safetensors.torch import load_file, save_file

    weights = load_file(golden_dir / "infinitetalk.safetensors")
    del weights["blocks.1.audio_cross_attn.proj.weight"]
    save_file(weights, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"not whole: blocks\.1\.audio_cross_attn\.proj\.weight is missing"):
        load_infinitetalk(tmp_path / "part.safetensors")


def test_wav2vec_hears_the_same(golden_dir: Path, comfy_core, monkeypatch, request):
    import comfy.ops
    from infinitetalk.audio.wav2vec import load_encoder

    wave = torch.randn(16_000, generator=torch.Generator().manual_seed(1))
    file = golden_dir / "wav2vec2.safetensors"
    plain = load_encoder(file, "fp32", ops=comfy.ops.disable_weight_init).encode(wave, 25).clone()
    request.getfixturevalue("paging")
    paged = load_encoder(file, "fp32", ops=comfy.ops.disable_weight_init).encode(wave, 25)
    assert largest_difference(paged, plain) == 0
