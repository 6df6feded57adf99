"""Core's own nodes, samplers and models together with ours, in process."""

from __future__ import annotations

import pytest
import torch

from ..support.two_window_job import FRAMES, Steps, make_job, run


@pytest.fixture(scope="module")
def plain(models):
    with torch.inference_mode():
        return run(make_job(models))[0]


def test_every_step_of_every_window_is_reported(models, plain):
    assert plain.shape == (FRAMES, 32, 32, 3)
    frames, seen = run(make_job(models))
    assert seen == [(window, step) for window in range(2) for step in range(3)]
    assert torch.equal(frames, plain)


def test_one_progress_bar_over_all_windows_with_the_users_preview(models, monkeypatch):
    import comfy.utils
    from comfy.cli_args import LatentPreviewMethod, args
    from infinitetalk.nodes.progress import SamplingProgress
    from infinitetalk.wanvideo.resume.share import Share

    shown = []
    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.Latent2RGB)
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda *seen, **_: shown.append(seen[:3]))
    job = make_job(models)
    list(job.run(SamplingProgress(None, job.model, Share(job))))
    assert [done for done, _, _ in shown] == [1, 2, 3, 4, 5, 6]
    assert {total for _, total, _ in shown} == {6}
    for _, _, (kind, image, _) in shown:
        assert kind == "JPEG"
        assert image.size == (4, 4)  # one pixel per latent


def test_a_sampler_that_takes_more_steps_than_were_asked_for_has_no_negative_time_left(models, monkeypatch):
    from infinitetalk.nodes import progress
    from infinitetalk.wanvideo.resume.share import Share

    said = []
    monkeypatch.setattr(progress, "show_text", lambda _, text: said.append(text))
    job = make_job(models, sampler_name="dpm_adaptive", scheduler="simple", frames=5)
    list(job.run(progress.SamplingProgress(None, job.model, Share(job))))
    assert len(said) > 3, "it took no more steps: the test tests nothing"
    assert said[-1] == "Window 1 of 1, step 3 of 3, 0:00 left"


def sampler_names():
    # Listed here, not asked of core: the tests are collected before core can be imported.
    return [
        "euler", "euler_ancestral", "heun", "heunpp2", "dpm_2", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral",
        "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "ddpm", "lcm", "ipndm", "ipndm_v", "deis",
        "res_multistep", "gradient_estimation", "er_sde", "seeds_2", "seeds_3", "sa_solver", "ddim", "uni_pc",
        "uni_pc_bh2",
    ]  # fmt: skip


@pytest.mark.parametrize("name", sampler_names())
def test_every_kind_of_core_sampler_works_and_repeats_itself(models, name):
    job = make_job(models, sampler_name=name, scheduler="simple", steps=4)
    frames, _ = run(job)
    assert torch.isfinite(frames).all()
    assert frames.std() > 0.01
    assert torch.equal(run(job)[0], frames)


def test_every_core_scheduler_works(models):
    import comfy.samplers

    for name in comfy.samplers.SCHEDULER_NAMES:
        frames, _ = run(make_job(models, scheduler=name, steps=4))
        assert torch.isfinite(frames).all(), name


def test_the_shift_of_core_schedulers_is_the_widget_unless_a_node_has_set_it(models):
    from comfy_extras.nodes_model_advanced import ModelSamplingSD3

    (shifted,) = ModelSamplingSD3().patch(models.model, shift=9.0)
    with_node = run(make_job(models, shifted, scheduler="simple", shift=2.0))[0]
    assert torch.equal(with_node, run(make_job(models, scheduler="simple", shift=9.0))[0])
    assert not torch.equal(with_node, run(make_job(models, scheduler="simple", shift=2.0))[0])


def test_a_lora_changes_the_video_and_leaves_the_model(models, plain, tmp_path):
    import comfy.sd

    generator = torch.Generator().manual_seed(5)
    lora = {}
    for part, width in (("down", 4), ("up", 256)):
        shape = (4, 256) if part == "down" else (width, 4)
        lora[f"diffusion_model.blocks.1.self_attn.v.lora_{part}.weight"] = torch.randn(shape, generator=generator)
    patched, _ = comfy.sd.load_lora_for_models(models.model, None, lora, 1.0, 0.0)
    assert (run(make_job(models, patched))[0] - plain).abs().max() > 1e-3
    assert torch.equal(run(make_job(models))[0], plain)


def test_fp8_weights_of_the_base_model(golden_dir, models, plain):
    import comfy.sd

    fp8 = comfy.sd.load_diffusion_model(
        str(golden_dir / "dit.safetensors"), model_options={"dtype": torch.float8_e4m3fn}
    )
    frames = run(make_job(models, fp8))[0]
    assert torch.isfinite(frames).all()
    assert 0 < (frames - plain).abs().mean() < 0.2


def test_easycache_saves_passes_and_the_video_still_comes(models, monkeypatch):
    from comfy_extras.nodes_easycache import EasyCacheNode

    passes = []
    forward = type(models.model.model.diffusion_model).forward_orig

    def counting(self, *args, **kwargs):
        passes.append(1)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(models.model.model.diffusion_model), "forward_orig", counting)
    run(make_job(models, steps=8))
    without = len(passes)
    passes.clear()
    (cached,) = EasyCacheNode.execute(models.model, 3.0, 0.0, 1.0, verbose=False).args
    frames, seen = run(make_job(models, cached, steps=8))
    assert torch.isfinite(frames).all()
    assert len(seen) == 16
    assert len(passes) < without


def test_post_cfg_nodes_take_part(models, plain):
    model = models.model.clone()
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 0.5)
    assert (run(make_job(models, model))[0] - plain).abs().max() > 1e-3


@pytest.mark.parametrize("scales", [(5.0, 4.0), (3.0, 4.0), (1.0, 4.0), (5.0, 1.0), (4.0, 4.0), (0.0, 2.0), (1.0, 1.0)])
def test_nodes_that_work_on_the_guided_see_one_guidance_as_cores_sampler_has_it(models, scales):
    """Core's own is `uncond + scale * (cond - uncond)`, on which CFGZeroStar, Mahiro and CFG++ samplers rely."""
    seen = []

    def look(args):
        cond, away, scale = (args[name] for name in ("cond_denoised", "uncond_denoised", "cond_scale"))
        error = (args["denoised"] - (away + scale * (cond - away))).abs().max()
        seen.append(float(error / args["denoised"].abs().max()))
        return args["denoised"]

    model = models.model.clone()
    model.set_model_sampler_post_cfg_function(look)
    text_cfg, audio_cfg = scales
    run(make_job(models, model, text_cfg=text_cfg, audio_cfg=audio_cfg))
    assert len(seen) == 6
    assert max(seen) < 1e-5


def test_cfg_zero_star_takes_part_in_a_guidance_by_audio_alone(models):
    from comfy_extras.nodes_cfg import CFGZeroStar

    guided = {"text_cfg": 1.0, "audio_cfg": 4.0}
    (starred,) = CFGZeroStar.execute(models.model).result
    assert (run(make_job(models, starred, **guided))[0] - run(make_job(models, **guided))[0]).abs().max() > 1e-3


def test_an_interrupt_stops_at_the_next_step_and_the_next_job_runs(models, plain):
    import comfy.model_management as mm

    class Cancel(Steps):
        def step(self, window, step, denoised):
            super().step(window, step, denoised)
            if (window.index, step) == (1, 0):
                mm.interrupt_current_processing()
            mm.throw_exception_if_processing_interrupted()

    observer = Cancel()
    with pytest.raises(mm.InterruptProcessingException):
        list(make_job(models).run(observer))
    assert observer.seen[-1] == (1, 0)
    assert torch.equal(run(make_job(models))[0], plain)


def test_a_video_goes_on_from_any_window_with_the_same_frames(models, plain):
    job = make_job(models)
    first, *_ = job.run(Steps())
    rest = list(job.run(Steps(), windows_done=1, motion=first.motion))
    assert torch.equal(torch.cat([first.frames, *(part.frames for part in rest)]), plain)


def test_running_out_of_memory_in_the_vae_falls_back_to_tiles(models, plain, monkeypatch, caplog):
    import comfy.model_management as mm

    decode = models.vae.first_stage_model.decode
    tried = []

    def full(samples, *args, **kwargs):
        tried.append(samples.shape)
        if len(tried) == 1:
            raise mm.OOM_EXCEPTION("a GPU that is full, which cannot be had here")
        return decode(samples, *args, **kwargs)

    monkeypatch.setattr(models.vae.first_stage_model, "decode", full)
    with caplog.at_level("WARNING"):
        frames, _ = run(make_job(models))
    assert "tiled" in caplog.text
    assert (frames - plain).abs().max() < 0.02  # one tile covers a frame this small


def test_text_conditions_for_a_part_of_the_steps_take_their_turns(models):
    early, late = (torch.full((1, 512, 4096), value) for value in (0.5, -0.5))
    both = [(early, {"start_percent": 0.0, "end_percent": 0.5}), (late, {"start_percent": 0.5, "end_percent": 1.0})]
    turns = run(make_job(models, positive=both))[0]
    assert not torch.equal(turns, run(make_job(models, positive=[(early, {})]))[0])
    assert not torch.equal(turns, run(make_job(models, positive=[(late, {})]))[0])


def test_a_prompt_that_went_through_a_node_for_another_model_has_the_pictures_where_this_one_looks(models, plain):
    """`Wan22FunControlToVideo` has the mask behind 16 channels; here all that it gives is the window's own."""
    through = {"concat_mask_index": 16, "concat_latent_image": torch.ones(1, 32, 2, 4, 4), "concat_mask": torch.ones(1)}
    positive = [(torch.zeros(1, 512, 4096), through)]
    assert torch.equal(run(make_job(models, positive=positive))[0], plain)


def test_a_prompt_for_an_area_works_there_and_nowhere_else(models, plain):
    """Areas are in latent pixels: height, width, y, x."""
    here = torch.full((1, 512, 4096), 0.5)
    whole_and_left = [(torch.zeros(1, 512, 4096), {}), (here, {"area": (4, 2, 0, 0), "strength": 1.0})]
    frames = run(make_job(models, positive=whole_and_left))[0]
    everywhere = run(make_job(models, positive=[(here, {})]))[0]
    assert (frames - plain).abs().max() > 1e-4
    assert (frames - everywhere).abs().max() > 1e-4


@pytest.mark.parametrize("limit", [{"area": (4, 2, 0, 0)}, {"mask": torch.ones(1, 32, 32), "set_area_to_bounds": True}])
@pytest.mark.parametrize("which", ["positive", "negative"])
def test_a_prompt_for_an_area_is_refused_with_two_speakers(models, which, limit):
    from infinitetalk.errors import UserError

    mask = torch.zeros(1, 32, 32)
    mask[:, :, :16] = 1
    with pytest.raises(UserError, match="limited to an area"):
        make_job(models, speaker_masks=mask, **{which: [(torch.zeros(1, 512, 4096), limit)]})


@pytest.mark.parametrize("state", ["NO_VRAM", "LOW_VRAM"])
def test_models_that_are_not_loaded_as_a_whole_give_the_same_video(models, plain, monkeypatch, state):
    """A mock: on a CPU core never offloads, so it is told that the CPU is a GPU with hardly any free memory."""
    from comfy import model_management

    parts = (models.model, models.infinitetalk)
    model_management.unload_all_models()
    monkeypatch.setattr(model_management, "is_device_cpu", lambda device: False)
    monkeypatch.setattr(model_management, "lowvram_available", True)
    monkeypatch.setattr(model_management, "vram_state", model_management.VRAMState[state])
    free = 2**29
    monkeypatch.setattr(model_management, "get_free_memory", lambda _, both=False: (free, free) if both else free)
    frames = run(make_job(models))[0]
    loaded = [patcher.loaded_size() for patcher in parts]
    monkeypatch.undo()
    model_management.unload_all_models()
    assert all(size < patcher.model_size() / 2 for size, patcher in zip(loaded, parts, strict=True))
    assert torch.equal(frames, plain)


def test_the_model_is_for_other_nodes_what_it_was(models):
    import comfy.sample
    import comfy.samplers

    def core_alone():
        text = [[torch.zeros(1, 512, 4096), {}]]
        noise = torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(2))
        return comfy.sample.sample(
            models.model, noise, 2, 1.0, "euler", "simple", text, text, torch.zeros_like(noise), seed=1
        )

    before = core_alone()
    run(make_job(models))
    assert torch.equal(core_alone(), before)


def test_one_voice_with_a_mask_differs_from_one_without(models, plain):
    mask = torch.zeros(1, 32, 32)
    mask[:, :, :16] = 1
    assert (run(make_job(models, speaker_masks=mask))[0] - plain).abs().max() > 1e-3
