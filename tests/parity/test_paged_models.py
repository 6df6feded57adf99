"""Models as core loads them where it pages weights on NVIDIA GPUs ("dynamic VRAM").

Core's own patcher does the loading (`ModelPatcherDynamic`), on the CPU: the address space on the GPU and the pinned
memory, which need the driver, are stood in for by nothing at all.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ..support.golden_job import lora_state
from ..support.paging import mapped
from ..support.two_window_job import make_job, run

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

        def partially_unload_ram(self, *_, **__):
            return 0

        def partially_unload(self, *_, **__):  # core's refuses the CPU
            return self.restore_loaded_backups()

    OnTheCpu.__module__ = paged.__module__
    monkeypatch.setattr(comfy_aimdo.host_buffer, "HostBuffer", lambda *_: SimpleNamespace(size=0))
    monkeypatch.setattr(comfy_aimdo.model_vbar, "vbar_unpin", lambda _: None)
    monkeypatch.setattr(comfy_aimdo.model_vbar, "vbars_analyze", lambda *_: 0)
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


def load_all(golden_dir, folder) -> SimpleNamespace:
    import comfy.sd
    import comfy.utils
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    for name in ("dit.safetensors", "vae.safetensors"):  # in the type that core works in on a CPU
        whole = {key: tensor.float() for key, tensor in load_file(golden_dir / name).items()}
        save_file(whole, folder / name)
    return SimpleNamespace(
        model=load_base(folder / "dit.safetensors"),
        infinitetalk=load_infinitetalk(golden_dir / "infinitetalk.safetensors"),
        vae=comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(folder / "vae.safetensors"))),
    )


def with_lora_hook(model):
    """A prompt whose LoRA core applies while that prompt alone is worked with."""
    import comfy.hooks

    hooks = comfy.hooks.create_hook_lora(lora_state(model), 0.7, 0)
    text = torch.randn(1, 12, 4096, generator=torch.Generator().manual_seed(6))
    return comfy.hooks.set_hooks_for_conditioning([[text, {}]], hooks)


@pytest.mark.parametrize("case", ["one voice", "two voices", "a LoRA of a prompt"])
def test_a_video_and_its_run_are_the_same(golden_dir, tmp_path, comfy_core, monkeypatch, request, case):
    import comfy.model_management
    from infinitetalk.wanvideo.resume.fingerprint import job_fingerprint

    def job_of(models):
        guided = {"text_cfg": 4.0, "audio_cfg": 3.0}
        if case == "two voices":
            return make_job(models, voices=2, **guided)
        return make_job(models, positive=with_lora_hook(models.model), **guided) if "LoRA" in case else make_job(models)

    plain = job_of(load_all(golden_dir, tmp_path))
    request.getfixturevalue("dynamic")
    paged = job_of(load_all(golden_dir, tmp_path))
    assert all(one.is_dynamic() for one in (paged.model, paged.infinitetalk, paged.vae.patcher))
    known_by = job_fingerprint(paged)
    assert known_by == job_fingerprint(plain)
    assert run(paged)[0].equal(run(plain)[0])
    assert job_fingerprint(paged) == known_by
    comfy.model_management.unload_all_models()
    assert job_fingerprint(paged) == known_by


def test_a_node_that_calls_the_model_itself_works_with_a_lora_of_a_prompt(golden_dir, tmp_path, comfy_core, request):
    """Such prompts have core work with a copy of the model where it pages weights, of which the node knows nothing."""
    from comfy_extras.nodes_slg import SkipLayerGuidanceDiT

    def job_of(models):
        skipping = SkipLayerGuidanceDiT.execute(models.model, 3.0, 0.0, 1.0, "1", "").result[0]
        return make_job(models, skipping, positive=with_lora_hook(models.model), steps=2)

    plain = run(job_of(load_all(golden_dir, tmp_path)))[0]
    request.getfixturevalue("dynamic")
    assert run(job_of(load_all(golden_dir, tmp_path)))[0].equal(plain)


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
