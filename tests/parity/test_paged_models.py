"""Models as core loads them where it pages weights on NVIDIA GPUs ("dynamic VRAM"), seen from outside of the sampling.

Core's own patcher does the loading (`ModelPatcherDynamic`), on the CPU: the address space on the GPU and the pinned
memory, which need the driver, are stood in for by nothing at all. What is loaded is not computed with.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ..support.two_window_job import make_job
from .test_paged_weights import mapped

NOWHERE = SimpleNamespace(
    prioritize=lambda: None, alloc=lambda size: (0, 0, size), free_memory=lambda size: 0, loaded_size=lambda: 0
)


@pytest.fixture
def dynamic(comfy_core, monkeypatch) -> type:
    """Core's patcher for paged weights, which all of core's loaders then use."""
    import comfy.model_management
    import comfy.model_patcher
    import comfy.utils

    paged = getattr(comfy.model_patcher, "ModelPatcherDynamic", None)
    if paged is None:
        pytest.skip("this core pages no weights")
    import comfy.memory_management
    import comfy_aimdo.host_buffer
    import comfy_aimdo.model_vbar

    class OnTheCpu(paged):
        def __new__(cls, *_, **__):
            return object.__new__(cls)

        def _vbar_get(self, create=False):
            return NOWHERE

        def unpatch_model(self, device_to=None, unpatch_weights=True):
            super().unpatch_model(device_to, unpatch_weights=False)
            if unpatch_weights:
                self.restore_loaded_backups()

    monkeypatch.setattr(comfy_aimdo.host_buffer, "HostBuffer", lambda *_: SimpleNamespace(size=0))
    monkeypatch.setattr(comfy_aimdo.model_vbar, "vbar_unpin", lambda _: None)
    monkeypatch.setattr(comfy.model_management, "pinned_hostbuf_size", lambda _: 0, raising=False)
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    monkeypatch.setattr(comfy.utils, "load_safetensors", mapped)
    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", OnTheCpu)
    return OnTheCpu


def load_base(path, dtype=None):
    import comfy.sd

    return comfy.sd.load_diffusion_model(str(path), model_options={} if dtype is None else {"dtype": dtype})


def digest(patcher) -> str:
    from infinitetalk.wanvideo.resume.digest import Digester

    return Digester().digest(patcher).hex()


def with_node_shift(model, shift: float):
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    return ModelSamplingSD3().patch(model, shift)[0]


@pytest.mark.parametrize("dtype", [None, torch.float16, torch.float8_e4m3fn], ids=str)
def test_a_base_that_is_loaded_in_another_type_than_its_file_has_is_known_again(dynamic, golden_dir, tmp_path, dtype):
    weights = load_file(golden_dir / "dit.safetensors")
    whole = ("modulation", "norm")  # what published files keep in float32
    save_file({k: v.float() if any(part in k for part in whole) else v.half() for k, v in weights.items()},
              tmp_path / "base.safetensors")  # fmt: skip
    model = load_base(tmp_path / "base.safetensors", dtype)
    fresh = digest(model)
    model.partially_load(model.load_device)
    assert digest(model) == fresh
    model.unpatch_model()
    assert digest(model) == fresh


def test_a_model_is_known_again_after_samplings_of_several_shifts(dynamic, golden_dir):
    model = load_base(golden_dir / "dit.safetensors", torch.float16)
    shifted = [with_node_shift(model, shift) for shift in (5.0, 2.0)]
    fresh = [digest(one) for one in (model, *shifted)]
    assert len(set(fresh)) == 3
    for one in shifted:
        one.partially_load(one.load_device)
        assert [digest(other) for other in (model, *shifted)] == fresh
    shifted[-1].unpatch_model()
    assert [digest(other) for other in (model, *shifted)] == fresh


def test_the_noise_levels_are_those_of_the_shift_that_is_set(dynamic, models, golden_dir):
    base = load_base(golden_dir / "dit.safetensors", torch.float16)
    first, second = (with_node_shift(base, shift) for shift in (5.0, 2.0))
    fresh = make_job(models, second, scheduler="simple")
    second_sigma = float(levels(fresh)[1])
    for one in (first, second):
        one.partially_load(one.load_device)
    again = make_job(models, second, scheduler="simple")
    assert float(levels(again)[1]) == second_sigma


def levels(job):
    from infinitetalk.wanvideo.sampling import sigmas_for

    return sigmas_for(job._with_schedule, job.settings)


def test_the_weights_follow_a_model_to_the_cpu_as_a_plain_one(dynamic, golden_dir):
    """As after core's Select Model Device with cpu, where a patcher for paged weights fails when it is unloaded."""
    from comfy.model_patcher import ModelPatcher
    from infinitetalk.wanvideo.model.audio_patches import ATTACHMENT_KEY, attach
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    talk = load_infinitetalk(golden_dir / "infinitetalk.safetensors")
    assert talk.is_dynamic()
    talk.load_device = torch.device("cuda", 0)  # where a GPU's would be; nothing goes there
    talk.register_load_device(talk.load_device)
    base = load_base(golden_dir / "dit.safetensors", torch.float16).clone(disable_dynamic=True)
    assert type(base) is ModelPatcher
    (followed,) = attach(base, talk, 1.0, two_speakers=False).get_additional_models_with_key(ATTACHMENT_KEY)
    assert not followed.is_dynamic()
    assert (followed.load_device, followed.offload_device) == (base.load_device, base.load_device)
    assert followed.model is not talk.model
