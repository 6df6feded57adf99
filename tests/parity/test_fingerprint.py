"""The fingerprint of a job: another one when anything that decides the pixels is another, the same one otherwise."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ..support.golden_job import FRAMES, Nobody, lora_state, with_lora


def fingerprint(job) -> str:
    """What its first window is known by."""
    from infinitetalk.wanvideo.resume.fingerprint import job_fingerprint, window_keys

    return f"{job_fingerprint(job)} {window_keys(job)[0]}"


def changed(job, **fields):
    return dataclasses.replace(job, **fields)


@contextlib.contextmanager
def other_weight(patcher, key: str) -> Iterator[None]:
    """The model's weight is another one inside of the block, as if another file had been loaded."""
    parameter = patcher.model.get_parameter(key)
    own = parameter.data
    parameter.data = own * 1.001
    try:
        yield
    finally:
        parameter.data = own


def moved(positive, position: int):
    text = positive[0][0].clone()
    text.view(-1)[position] += 1
    return [[text, positive[0][1]]]


SETTINGS = {
    "seed": 2, "steps": 3, "shift": 6.0, "sampler_name": "dpmpp_2m", "scheduler": "simple", "color_correction": 0.5,
    "end_padding": "mirror", "text_cfg": 4.0, "audio_cfg": 3.0, "apg": True, "window_frames": 21, "motion_frames": 9,
    "audio_scale": 1.1, "denoise": 0.9,
}  # fmt: skip


def video(images: torch.Tensor):
    """Pictures of a source video `[frames, 64, 64, 3]`."""
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.pictures import Pictures

    return Pictures(ImageFrames(images, Fraction(25)), Fraction(25), FRAMES, (64, 64))


def moving(frames: int = FRAMES) -> torch.Tensor:
    """A source video of one scene, `[frames, 64, 64, 3]`."""
    still = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(2))
    return torch.cat([still.roll(k, 2) for k in range(frames)])


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_counts(job, name):
    job = changed(job, pictures=video(moving(2)))  # denoise is for videos
    other = changed(job, settings=dataclasses.replace(job.settings, **{name: SETTINGS[name]}))
    assert fingerprint(other) != fingerprint(job)


def test_all_settings_are_tried(job):
    assert set(SETTINGS) == {field.name for field in dataclasses.fields(job.settings)}


@pytest.mark.parametrize(
    "fields",
    [
        {"speaker_masks": torch.eye(64)[None]},
        {"negative": [[torch.zeros(1, 4, 4096), {}]]},
        {"positive": None},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_every_input_counts(job, fields):
    assert fingerprint(changed(job, **fields)) != fingerprint(job)


@pytest.mark.parametrize("position", [0, 4097, 512 * 4096 - 1])
def test_every_number_of_a_prompt_counts(job, position):
    assert fingerprint(changed(job, positive=moved(job.positive, position))) != fingerprint(job)


def test_every_pixel_of_the_picture_counts(job):
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.pictures import Pictures

    image = job.pictures.at(0).clone()
    image[0, 63, 62, 1] += 0.01
    other = changed(job, pictures=Pictures(ImageFrames(image, Fraction(25)), Fraction(25), FRAMES, (64, 64)))
    assert fingerprint(other) != fingerprint(job)


@pytest.mark.parametrize("module", ["torch", "comfyui_version"])
def test_another_version_of_core_or_torch_counts(job, monkeypatch, module):
    import importlib

    before = fingerprint(job)
    monkeypatch.setattr(importlib.import_module(module), "__version__", "99.0")
    assert fingerprint(job) != before


def test_how_the_weights_are_multiplied_counts(job, golden_dir):
    import comfy.sd

    def loaded(**options):
        options = {"dtype": torch.float8_e4m3fn, **options}
        model = comfy.sd.load_diffusion_model(str(golden_dir / "dit.safetensors"), model_options=options)
        return fingerprint(changed(job, model=model))

    assert loaded() == loaded()
    assert loaded() != loaded(fp8_optimizations=True)  # as Load Diffusion Model has it for fp8_e4m3fn_fast


def test_what_comfyui_was_told_to_do_less_exactly_counts(job, monkeypatch):
    from comfy.cli_args import PerformanceFeature, args

    found = [fingerprint(job)]
    for name, value in (
        ("fast", {PerformanceFeature.Fp8MatrixMultiplication}),
        ("fast", set(PerformanceFeature)),
        ("use_sage_attention", True),
        ("fp16_intermediates", True),
    ):
        with monkeypatch.context() as started:
            started.setattr(args, name, value, raising=False)  # older cores do not have them all
            found.append(fingerprint(job))
    assert len(set(found)) == len(found)


def test_a_lora_its_strength_and_its_weights_count(job):
    loras = [job.model, with_lora(job.model), with_lora(job.model, 0.9), with_lora(job.model, seed=4)]
    assert len({fingerprint(changed(job, model=model)) for model in loras}) == len(loras)


def test_the_order_of_loras_does_not_hide_one(job):
    two = with_lora(with_lora(job.model), seed=4)
    assert fingerprint(changed(job, model=two)) != fingerprint(changed(job, model=with_lora(job.model, seed=4)))


def test_other_weights_of_any_model_count(job):
    before = fingerprint(job)
    for patcher, key in (
        (job.model, "diffusion_model.blocks.0.ffn.0.weight"),
        (job.infinitetalk, "audio_proj.proj2.weight"),
        (job.vae.patcher, "conv1.bias"),
    ):
        with other_weight(patcher, key):
            assert fingerprint(job) != before, key
    assert fingerprint(job) == before


def test_the_clip_vision_model_counts(job, models):
    # Any module with weights stands for a CLIP vision model of 2.5 GB; only its patcher is looked at.
    def clip(bias: float):
        from comfy.model_patcher import ModelPatcher

        module = torch.nn.ParameterDict({"weight": torch.ones(4, 4), "bias": torch.full((4,), bias)})
        return SimpleNamespace(patcher=ModelPatcher(module, torch.device("cpu"), torch.device("cpu")))

    found = {fingerprint(changed(job, clip_vision=one)) for one in (None, clip(0.0), clip(1.0))}
    assert len(found) == 3
    assert fingerprint(changed(job, clip_vision=clip(1.0))) in found


def test_the_same_job_after_a_restart_has_the_same_fingerprint(golden_dir, comfy_core, tmp_path):
    def in_a_new_process(hash_seed: str) -> str:
        command = [sys.executable, "-I", str(Path(__file__).with_name("fingerprint_process.py")), str(golden_dir)]
        environment = {**os.environ, "COMFYUI_PATH": str(comfy_core), "PYTHONHASHSEED": hash_seed}
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.split()[-1]

    assert in_a_new_process("1") == in_a_new_process("2")


def load_onto_the_device(patcher) -> None:
    import comfy.model_management

    comfy.model_management.load_models_gpu([patcher], force_full_load=True)


def shifted(model):
    from infinitetalk.wanvideo.sampling import with_shift

    return with_shift(model, 3.0)


def computing_in_bf16(model):
    from comfy_extras.nodes_model_advanced import ModelComputeDtype

    return ModelComputeDtype().patch(model, "bf16")[0]


@pytest.mark.parametrize("patch", [with_lora, shifted, lambda model: shifted(with_lora(model)), computing_in_bf16])
def test_a_loaded_model_has_the_fingerprint_of_the_unloaded_one(job, patch):
    model = patch(job.model)
    before = fingerprint(changed(job, model=model))
    load_onto_the_device(model)
    try:
        assert model.backup or model.object_patches_backup, "nothing is patched in: the test tests nothing"
        assert fingerprint(changed(job, model=model)) == before
    finally:
        model.detach()


def test_running_changes_nothing(job):
    from comfy_extras import nodes_easycache

    calls = 0

    def counted(args):
        nonlocal calls
        calls += 1
        return args["denoised"]

    model = with_lora(job.model)
    model.set_model_sampler_post_cfg_function(counted)
    model = nodes_easycache.EasyCacheNode.execute(model, 0.2, 0.15, 0.95, False).result[0]
    job = changed(job, model=model, settings=dataclasses.replace(job.settings, steps=1))
    before = fingerprint(job)

    next(iter(job.run(Nobody())))
    assert calls
    assert fingerprint(job) == before


def bypassing(model, strength: float, seed: int = 3):
    """With a LoRA that core computes beside the layer, from a file in another type than the layer's."""
    import comfy.sd

    if not hasattr(comfy.sd, "load_bypass_lora_for_models"):
        pytest.skip("this core has no bypass LoRA")
    state = {name: weight.bfloat16() for name, weight in lora_state(model, seed).items()}
    return comfy.sd.load_bypass_lora_for_models(model, None, state, strength, 0)[0]


def test_a_lora_beside_a_layer_counts_and_a_run_with_it_changes_nothing(job):
    jobs = [changed(job, model=bypassing(job.model, *which)) for which in ((1.0,), (0.9,), (1.0, 4))]
    before = [fingerprint(one) for one in [job, *jobs]]
    assert len(set(before)) == 4

    next(iter(jobs[0].run(Nobody())))
    assert [fingerprint(one) for one in [job, *jobs]] == before


def hooked(model, strength: float, last: float):
    """A prompt with a LoRA of its own, of this strength, the last one of it in the second half of the steps."""
    import comfy.hooks

    hooks = comfy.hooks.create_hook_lora(lora=lora_state(model), strength_model=strength, strength_clip=0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    keyframes.add(comfy.hooks.HookKeyframe(strength=1.0, start_percent=0.0))
    keyframes.add(comfy.hooks.HookKeyframe(strength=last, start_percent=0.5))
    hooks.set_keyframes_on_hooks(keyframes)
    return comfy.hooks.set_hooks_for_conditioning([[torch.zeros(1, 512, 4096), {}]], hooks)


def test_a_lora_of_a_prompt_counts_and_a_run_with_it_changes_nothing(job):
    jobs = [changed(job, positive=hooked(job.model, *strengths)) for strengths in ((1, 0), (0.9, 0), (1, 0.1))]
    before = [fingerprint(one) for one in jobs]
    assert len(set(before)) == 3

    next(iter(jobs[0].run(Nobody())))
    assert [fingerprint(one) for one in jobs] == before


def test_patches_of_other_nodes_count(job):
    def wrapper(strength: float):
        def scaled(apply_model, arguments):
            return apply_model(arguments["input"], arguments["timestep"], **arguments["c"]) * strength

        model = job.model.clone()
        model.set_model_unet_function_wrapper(scaled)
        return changed(job, model=model)

    assert fingerprint(wrapper(1.0)) != fingerprint(wrapper(0.5))
    assert fingerprint(wrapper(0.5)) == fingerprint(wrapper(0.5))


def test_every_window_has_a_key_of_its_own_and_another_when_something_else_is_said(job):
    from infinitetalk.wanvideo.resume.fingerprint import window_keys

    keys = window_keys(job)
    assert len(set(keys)) == len(keys) == 3
    other = changed(job, embeds=dataclasses.replace(job.embeds, digests=["something else"]))
    assert not set(keys) & set(window_keys(other))


def test_embeddings_that_a_gpu_added_up_in_another_order_are_the_same_job(job):
    from infinitetalk.wanvideo.resume.fingerprint import window_keys

    features = [job.embeds.features[0] * (1 + 1e-6)]
    again = changed(job, embeds=dataclasses.replace(job.embeds, features=features))
    assert not torch.equal(features[0], job.embeds.features[0])
    assert window_keys(again) == window_keys(job)
    assert fingerprint(again) == fingerprint(job)


def keys_of(job, images: torch.Tensor, **fields) -> list[str]:
    from infinitetalk.wanvideo.resume.fingerprint import window_keys

    return window_keys(changed(job, pictures=video(images), **fields))


def test_a_still_video_is_no_picture_since_its_seams_are_smooth(job):
    picture = moving(1)
    assert not set(keys_of(job, picture)) & set(keys_of(job, picture.expand(FRAMES, -1, -1, -1)))


def differing(keys: list[str], others: list[str]) -> list[int]:
    return [k for k, (one, other) in enumerate(zip(keys, others, strict=True)) if one != other]


def test_every_frame_of_a_window_counts_where_the_shot_is_kept_and_only_there(job):
    images, other = moving(), moving()
    other[18, 31, 17, 2] += 0.01  # windows are 17 frames long and start at 0, 12 and 24
    plain = job.settings
    kept = dataclasses.replace(plain, denoise=0.5)
    assert differing(keys_of(job, images, settings=plain), keys_of(job, other, settings=plain)) == []
    assert differing(keys_of(job, images, settings=kept), keys_of(job, other, settings=kept)) == [1]
    mask = torch.ones(1, 64, 64)
    assert differing(keys_of(job, images, edit_mask=mask), keys_of(job, other, edit_mask=mask)) == [1]


def test_the_mask_of_every_frame_of_a_window_counts(job):
    images, masks = moving(), torch.ones(FRAMES, 64, 64)
    other = masks.clone()
    other[30, 0, 0] = 0
    assert differing(keys_of(job, images, edit_mask=masks), keys_of(job, images, edit_mask=other)) == [2]
    single, another = masks[:1], other[30:31]
    assert differing(keys_of(job, images, edit_mask=single), keys_of(job, images, edit_mask=another)) == [0, 1, 2]
    assert differing(keys_of(job, images, edit_mask=single), keys_of(job, images)) == [0, 1, 2]


def test_who_has_which_slot_counts(job):
    from infinitetalk.wanvideo.resume.fingerprint import window_keys
    from infinitetalk.wanvideo.voices import Voices

    def keys(audible_first: bool) -> list[str]:
        rows = [torch.full((FRAMES, 1, 2), float(voice)) for voice in range(3)]
        first, second = torch.zeros(2, FRAMES, dtype=torch.bool)
        first[: FRAMES // 2], second[FRAMES // 2 :] = True, True
        if not audible_first:
            first, second = second, first
        voices = Voices(rows, [row[:0] for row in rows], [first, second, ~(first & second)], Fraction(25))
        embeds = SimpleNamespace(digests=["one", "two", "three"])
        facts = {"windows": job.windows, "scene_of": job.scene_of, "keeps_shot": False, "mask": None}
        return window_keys(SimpleNamespace(voices=voices, embeds=embeds, **facts))

    assert keys(True) == keys(True)
    assert keys(True)[0] != keys(False)[0]
