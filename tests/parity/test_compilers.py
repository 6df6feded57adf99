"""torch.compile and caches around the model: the audio is heard as without them, or the job is refused."""

from __future__ import annotations

import types
from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.utils import counters

from ..support.two_window_job import make_job, run

# Compiled and plain may differ by so much of what the audio changes.
TOLERANCE = 1e-3

# Jobs that one compiled model has to serve in a row; each asks for other graphs than the one before.
JOBS = [
    {"audio_scale": 1.0},
    {"audio_scale": 0.3},
    {"voices": 2},
    {"voices": 2, "audio_scale": 0.5, "text_cfg": 5.0, "audio_cfg": 4.0},
    {"audio_scale": 1.0, "text_cfg": 1.0, "audio_cfg": 2.0},
    {"audio_scale": 1.0},
]


def drop_guards(entries):
    """As core's TorchCompileModel: nothing that is in `transformer_options` is checked again."""
    return ["transformer_options" not in entry.name for entry in entries]


def blocks_of(model):
    return [f"diffusion_model.blocks.{index}" for index in range(len(model.model.diffusion_model.blocks))]


def by_core(model, keys, **options):
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    compiled = model.clone()
    set_torch_compile_wrapper(compiled, backend="eager", keys=keys, **options)
    return compiled


def by_object_patches(model, keys):
    """As packs did before core had a wrapper for it."""
    compiled = model.clone()
    for key in keys:
        compiled.add_object_patch(key, torch.compile(compiled.get_model_object(key), backend="eager"))
    return compiled


WAYS = {
    "whole model": lambda model: by_core(model, ["diffusion_model"]),
    "whole model without guards": lambda model: by_core(
        model, ["diffusion_model"], options={"guard_filter_fn": drop_guards}
    ),
    "each block": lambda model: by_core(model, blocks_of(model)),
    "each block without guards": lambda model: by_core(
        model, blocks_of(model), options={"guard_filter_fn": drop_guards}
    ),
    "object patch of the whole model": lambda model: by_object_patches(model, ["diffusion_model"]),
    "object patches of the blocks": lambda model: by_object_patches(model, blocks_of(model)),
}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()


@pytest.mark.parametrize("way", WAYS)
def test_a_compiled_model_hears_what_the_plain_one_hears_in_job_after_job(models, way):
    compiled = WAYS[way](models.model)
    for number, changes in enumerate(JOBS):
        ours, theirs = (run(make_job(models, model, steps=2, **changes))[0] for model in (models.model, compiled))
        deaf = run(make_job(models, steps=2, **{**changes, "audio_scale": 0.0}))[0]
        change = (ours - deaf).abs().mean()
        assert change > 1e-4
        assert (ours - theirs).abs().mean() < TOLERANCE * change, (number, changes)


@pytest.mark.parametrize("way", ["whole model without guards", "each block", "object patches of the blocks"])
def test_graphs_do_not_grow_with_the_depth(comfy_core, tmp_path, way):
    def graphs(layers: int) -> int:
        import comfy.sd
        import tiny_models
        from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

        torch._dynamo.reset()
        counters.clear()
        wan = tiny_models.TinyWan(layers=layers)
        talk = tiny_models.TinyInfiniteTalk(base=wan, audio=tiny_models.TinyWav2Vec(hidden=64))
        tiny_models.write(tmp_path / "base.safetensors", tiny_models.wan_transformer(wan, 1))
        tiny_models.write(tmp_path / "talk.safetensors", tiny_models.infinitetalk(talk, 2))
        tiny_models.write(tmp_path / "vae.safetensors", tiny_models.wan_vae(16, 3))
        deep = SimpleNamespace(
            model=comfy.sd.load_diffusion_model(str(tmp_path / "base.safetensors")),
            infinitetalk=load_infinitetalk(tmp_path / "talk.safetensors"),
            vae=comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(tmp_path / "vae.safetensors"))),
        )
        run(make_job(deep, WAYS[way](deep.model), steps=2, voices=2))
        return counters["stats"]["unique_graphs"]

    assert graphs(6) < graphs(3) + 3  # a graph of its own for every block would be three more at least


def test_a_core_on_which_compiling_has_no_effect_is_named(models, caplog):
    from infinitetalk.wanvideo.model.audio_patches import attach
    from infinitetalk.wanvideo.model.legacy_core import blocks_call_patches

    caplog.set_level("INFO")
    attach(models.model, models.infinitetalk, 1.0, two_speakers=False)
    assert "torch.compile" not in caplog.text
    attach(by_core(models.model, ["diffusion_model"]), models.infinitetalk, 1.0, two_speakers=False)
    is_old = not blocks_call_patches(models.model.model.diffusion_model)
    assert ("torch.compile has no effect" in caplog.text) == is_old


def forward_of_a_cache(self, x, t, context, clip_fea=None, freqs=None, transformer_options=None, **_):
    """What TeaCache and its like put in the place of core's `forward_orig`: the blocks get no `transformer_options`.

    It takes core's own arithmetic, which hands nothing on when there is nothing.
    """
    options = dict(transformer_options)
    blocks = list(self.blocks)
    for index, block in enumerate(blocks):
        self.blocks[index] = WithoutOptions(block)
    try:
        return type(self).forward_orig(self, x, t, context, clip_fea, freqs, options)
    finally:
        for index, block in enumerate(blocks):
            self.blocks[index] = block


class WithoutOptions(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = [block]  # not as a submodule: the block stays where it is

    def forward(self, x, transformer_options=None, **arguments):
        return self.block[0](x, **arguments)


def with_a_cache(model):
    """As such nodes do it: the forward is exchanged for the length of a model call."""
    cached = model.clone()
    diffusion_model = model.model.diffusion_model

    def call(apply_model, arguments):
        diffusion_model.forward_orig = types.MethodType(forward_of_a_cache, diffusion_model)
        try:
            return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])
        finally:
            del diffusion_model.forward_orig

    cached.set_model_unet_function_wrapper(call)
    return cached


@pytest.mark.parametrize("voices", [1, 2])
def test_a_cache_that_drops_what_the_blocks_need_is_named_and_nothing_is_made(models, voices):
    from infinitetalk.errors import UserError
    from infinitetalk.wanvideo.model.legacy_core import blocks_call_patches

    job = make_job(models, with_a_cache(models.model), voices=voices)
    if blocks_call_patches(models.model.model.diffusion_model):
        with pytest.raises(UserError, match=r"reached 0 of the model's 3 blocks.*with_a_cache.*TeaCache.*remove"):
            run(job)
    else:  # the hooks on older cores hang on the blocks themselves
        assert torch.equal(run(job)[0], run(make_job(models, voices=voices))[0])


def test_a_forward_that_skips_blocks_is_refused(models, monkeypatch):
    from infinitetalk.errors import UserError

    diffusion_model = models.model.model.diffusion_model
    blocks = diffusion_model.blocks

    def without_the_last_block(self, *args, **kwargs):
        self.blocks = torch.nn.ModuleList(list(blocks)[:-1])
        try:
            return type(self).forward_orig(self, *args, **kwargs)
        finally:
            self.blocks = blocks

    monkeypatch.setattr(diffusion_model, "forward_orig", types.MethodType(without_the_last_block, diffusion_model))
    with pytest.raises(UserError, match=r"reached 2 of the model's 3 blocks.*without_the_last_block"):
        run(make_job(models))


def test_a_wrapper_that_loses_our_conditions_is_refused(models):
    from infinitetalk.errors import UserError

    model = models.model.clone()
    model.set_model_unet_function_wrapper(
        lambda apply_model, args: apply_model(
            args["input"],
            args["timestep"],
            **{key: value for key, value in args["c"].items() if not key.startswith("infinitetalk_")},
        )
    )
    with pytest.raises(UserError, match="audio did not reach the model"):
        run(make_job(models, model))


def test_the_check_is_made_in_every_window(models, monkeypatch):
    from infinitetalk.errors import UserError

    diffusion_model = models.model.model.diffusion_model
    calls = []

    def deaf_in_the_second_window(self, x, t, context, clip_fea=None, freqs=None, transformer_options=None, **kwargs):
        calls.append(1)
        if len(calls) > 3:
            return torch.zeros_like(x[:, :16])
        return type(self).forward_orig(self, x, t, context, clip_fea, freqs, transformer_options, **kwargs)

    forward = types.MethodType(deaf_in_the_second_window, diffusion_model)
    monkeypatch.setattr(diffusion_model, "forward_orig", forward)
    with pytest.raises(UserError, match=r"reached 0 of the model's 3 blocks.*deaf_in_the_second_window"):
        run(make_job(models, steps=3))
    assert len(calls) == 4


@pytest.mark.parametrize("way", WAYS)
def test_finished_windows_of_a_compiled_model_are_known_again(models, way):
    from infinitetalk.wanvideo.resume.fingerprint import job_fingerprint

    # Wrapped anew, as after a restart: only then torch's wrapping lies at another address.
    first, again = (job_fingerprint(make_job(models, WAYS[way](models.model))) for _ in range(2))
    assert first == again
    assert first != job_fingerprint(make_job(models))
