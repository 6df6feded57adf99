"""Core's MultiGPU nodes around our sampler: each device works with a copy of its own, and the numbers are the same.

No second GPU can be had here. What stands in: two names of the CPU (`cpu` and `cpu:0`), which PyTorch holds for
different devices though both are the same memory. Nodes, patchers, scheduler and threads are core's own.
"""

from __future__ import annotations

import pytest
import torch

from ..support.two_window_job import make_job, run

ONE, OTHER = torch.device("cpu"), torch.device("cpu", 0)


@pytest.fixture
def two_devices(models, monkeypatch):
    """Core believes that there are two devices."""
    import comfy.model_management

    if not hasattr(models.model, "deepclone_multigpu"):
        pytest.skip("this core has no MultiGPU nodes")
    monkeypatch.setattr(comfy.model_management, "get_all_torch_devices", lambda exclude_current=False: [ONE, OTHER])


def shared_among_two(model):
    from comfy_extras.nodes_multigpu import MultiGPUCFGSplitNode

    return MultiGPUCFGSplitNode.execute(model, 2).result[0]


@pytest.mark.parametrize("voices", [1, 2])
def test_two_devices_give_the_numbers_of_one_and_work_with_their_own_weights(models, two_devices, monkeypatch, voices):
    from infinitetalk.wanvideo.model import audio_patches

    settings = {"voices": voices, "text_cfg": 5.0, "audio_cfg": 4.0}
    one = run(make_job(models, **settings))[0]
    calls = []

    def seen(weights, *args):
        calls.append(weights)
        return call(weights, *args)

    call = audio_patches.ModelCall
    monkeypatch.setattr(audio_patches, "ModelCall", seen)
    two = run(make_job(models, shared_among_two(models.model), **settings))[0]
    assert torch.equal(one, two)
    used = {id(weights): calls.count(weights) for weights in calls}
    assert len(calls) == 2 * 3 * 3  # windows, steps, passes
    assert sorted(used.values()) == [6, 12]  # three passes among two devices
    assert any(weights is models.infinitetalk.model for weights in calls)


def test_one_and_two_devices_make_the_same_run(models, two_devices):
    from infinitetalk.wanvideo.resume.fingerprint import job_fingerprint, window_keys

    one, two = make_job(models), make_job(models, shared_among_two(models.model))
    assert job_fingerprint(one) == job_fingerprint(two)
    assert window_keys(one) == window_keys(two)


def test_the_weights_follow_a_model_that_was_put_on_another_device(models, two_devices):
    from infinitetalk.wanvideo.model.audio_patches import ATTACHMENT_KEY, attach

    elsewhere = models.model.clone()
    elsewhere.load_device = OTHER
    (talk,) = attach(elsewhere, models.infinitetalk, 1.0, two_speakers=False).get_additional_models_with_key(
        ATTACHMENT_KEY
    )
    assert talk.load_device == OTHER
    assert talk.model is not models.infinitetalk.model
    (talk,) = attach(models.model, models.infinitetalk, 1.0, two_speakers=False).get_additional_models_with_key(
        ATTACHMENT_KEY
    )
    assert talk.model is models.infinitetalk.model


def test_the_weights_are_of_the_kind_of_patcher_that_core_uses_now(models, golden_dir, monkeypatch):
    """Newer cores exchange `CoreModelPatcher` when they start with dynamic VRAM, after our modules were imported."""
    import comfy.model_patcher
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    class Dynamic(comfy.model_patcher.ModelPatcher):
        pass

    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", Dynamic, raising=False)
    assert type(load_infinitetalk(golden_dir / "infinitetalk.safetensors")) is Dynamic
    plain = load_infinitetalk(golden_dir / "infinitetalk.safetensors", disable_dynamic=True)
    assert type(plain) is comfy.model_patcher.ModelPatcher
