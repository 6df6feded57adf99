"""Dubbing that keeps the shot, on core's model: where the sampling starts, and what stays as it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from ..support.dubbing_job import dubbing_job, left_half, pictures_of, source_video
from ..support.two_window_job import FRAMES, Steps, make_job, run


def eight_bit(frames: torch.Tensor) -> torch.Tensor:
    from infinitetalk.video_io.pixels import to_8_bit

    return to_8_bit(frames)


def loop_of(job, noise: Any = None, **changes: Any):
    """The loop that a job makes, with changes to what its scenes show, and its windows."""
    from infinitetalk.wanvideo import job as module

    made = []

    class Kept(module.WindowLoop):
        def __init__(self, *args: Any, scenes: Any, **kwargs: Any) -> None:
            super().__init__(*args, scenes=lambda w: replace(scenes(w), **changes), noise=noise, **kwargs)
            made.append(self)

    original, module.WindowLoop = module.WindowLoop, Kept
    try:
        windows = job.run(Steps())
    finally:
        module.WindowLoop = original
    return made[0], windows


@pytest.mark.parametrize("denoise", [1.0, 0.999, 0.7, 0.5, 0.3, 0.05])
@pytest.mark.parametrize("steps", [1, 4, 40])
def test_the_schedule_is_the_end_of_a_longer_one_as_cores_samplers_mean_it(models, denoise, steps):
    import comfy.samplers
    from infinitetalk.wanvideo.sampling import sigmas_for
    from infinitetalk.wanvideo.schedule import infinitetalk_sigmas
    from infinitetalk.wanvideo.settings import SamplerSettings

    for scheduler in ("simple", "beta", "normal"):
        settings = SamplerSettings(steps=steps, scheduler=scheduler, denoise=denoise)
        core = comfy.samplers.KSampler(models.model, steps, "cpu", "euler", scheduler, denoise)
        assert torch.equal(sigmas_for(models.model, settings), core.sigmas)
    ours = sigmas_for(models.model, SamplerSettings(steps=steps, denoise=denoise))
    assert torch.equal(ours, infinitetalk_sigmas(int(steps / denoise), 7.0)[-steps - 1 :])
    assert len(ours) == steps + 1


def test_sampling_starts_from_the_sources_own_latents_at_the_noise_of_the_first_step(models):
    import comfy.samplers

    seen = []

    def looking(model, x, sigmas, extra_args=None, callback=None, disable=None, **_):
        seen.append((x.clone(), sigmas.clone()))
        return model(x, sigmas[:1], **extra_args)

    images = source_video()
    noises = [torch.randn(1, 16, 2, 4, 4, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    job = dubbing_job(models, images, denoise=0.5)
    loop, windows = loop_of(job, noise=lambda window, shape: noises[window.index])
    loop.sampler = comfy.samplers.KSAMPLER(looking)
    list(windows)
    assert len(seen) == 2
    for window, (x, sigmas) in zip(job.windows, seen, strict=True):
        frames = [min(frame, FRAMES - 1) for frame in range(window.start, window.stop)]
        source = models.vae.encode(torch.cat([job.pictures.at(frame) for frame in frames]))
        clean = models.model.model.process_latent_in(source)
        assert 0 < sigmas[0] < 1
        expected = sigmas[0] * noises[window.index] + (1 - sigmas[0]) * clean
        assert torch.allclose(x, expected, atol=1e-5)


def test_the_video_nears_the_source_as_denoise_falls(models):
    images = source_video()
    source = torch.cat([dubbing_job(models, images).pictures.at(frame) for frame in range(FRAMES)])
    through_the_vae = models.vae.decode(models.vae.encode(source[:5]))[0]
    distances = []
    for denoise in (1.0, 0.5, 0.2, 0.05):
        frames, _ = run(dubbing_job(models, images, denoise=denoise))
        assert frames.shape == (FRAMES, 32, 32, 3)
        distances.append((frames[:4] - through_the_vae[:4]).abs().mean().item())
    assert distances == sorted(distances, reverse=True), distances
    assert distances[-1] < 0.2 * distances[0], distances


@pytest.mark.parametrize(
    "settings",
    [
        {"denoise": 0.5},
        {"denoise": 1.0},
        {"denoise": 0.6, "sampler_name": "dpmpp_sde", "scheduler": "simple"},
        {"denoise": 0.5, "sampler_name": "euler_ancestral", "scheduler": "beta", "color_correction": 1.0},
        {"denoise": 0.4, "text_cfg": 3.0, "audio_cfg": 2.0, "apg": True},
        {"denoise": 0.4, "sampler_name": "uni_pc", "scheduler": "normal"},
        {"denoise": 0.5, "voices": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("masks", [1, FRAMES])
def test_outside_of_the_mask_every_pixel_is_the_sources(models, settings, masks):
    mask = left_half(masks)
    if masks > 1:
        mask[3] = 0  # a frame in which nothing may change
    job = dubbing_job(models, edit_mask=mask, **settings)
    frames, _ = run(job)
    source = eight_bit(torch.cat([job.pictures.at(frame) for frame in range(FRAMES)]))
    difference = (eight_bit(frames).int() - source.int()).abs()
    for frame in range(FRAMES):
        outside = job.mask.at(frame if masks > 1 else 0) == 0
        assert 0.3 < outside.float().mean() <= 1
        assert difference[frame][outside].max() == 0
        if masks == 1:
            assert difference[frame][~outside].max() > 0


def test_outside_of_the_mask_each_prediction_is_the_sources_latents(models):
    job = dubbing_job(models, edit_mask=left_half(), denoise=0.7)
    loop, windows = loop_of(job)
    seen = []

    class Watching:
        def step(self, window, step, denoised):
            seen.append((window.index, denoised.clone()))

    loop.observer = Watching()
    list(windows)
    first = loop.scenes(job.windows[0]).shot.window(job.windows[0])
    mask = first.latent_mask()
    assert 0 < mask.mean() < 1
    source = models.model.model.process_latent_in(models.vae.encode(first.video()))
    for index, denoised in seen:
        if index == 0:
            later = (mask == 0).expand_as(source)[:, :, 1:]
            assert torch.allclose(denoised[:, :, 1:][later], source[:, :, 1:][later], atol=1e-5)


def test_the_motion_frames_stay_clean(models):
    first, second = dubbing_job(models, denoise=0.5).run(Steps())
    clean = models.vae.encode(first.motion)
    assert torch.allclose(second.latent[:, :, :1], clean, atol=1e-5)


def test_each_frame_of_the_source_is_read_once_and_encoded_in_one_piece(models):
    frames = 14
    reads, encoded = [], []
    pictures = pictures_of(source_video(frames), frames=frames)
    job = make_job(models, frames=frames, pictures=pictures, denoise=0.5)
    assert len(job.windows) == 4
    loop, windows = loop_of(job)
    own_at, own_encode = pictures.at, loop.models.vae.encode

    def at(frame):
        reads.append(frame)
        return own_at(frame)

    def encode(video):
        encoded.append(len(video))
        return own_encode(video)

    pictures.at = at
    loop.models.vae.encode = encode
    try:
        list(windows)
    finally:
        del loop.models.vae.encode
    assert reads == list(range(frames))
    assert encoded.count(5) == 2 * len(job.windows)  # the keyframe with its gray frames, and the source


def test_a_source_shorter_than_a_window_and_one_longer_than_the_sound_work(models):
    for length in (2, 3, 20):
        frames, _ = run(dubbing_job(models, source_video(length), denoise=0.5, edit_mask=left_half()))
        assert len(frames) == FRAMES
        assert torch.isfinite(frames).all()


def test_two_scenes_do_not_see_each_other(models):
    images = source_video()
    images[4:] = 1 - source_video(seed=9)[4:] * 0.2
    images[:4] *= 0.3
    job = dubbing_job(models, images, denoise=0.3)
    assert [window.scene for window in job.windows] == [0, 4]
    loop, _ = loop_of(job)
    shown = loop.scenes(job.windows[0]).shot.window(job.windows[0]).frames
    assert len(shown) == 5
    assert torch.equal(shown[4], shown[3])
    frames, _ = run(job)
    assert len(frames) == FRAMES


def test_a_job_looks_at_its_source_once_however_many_cuts_there_are(models):
    images = source_video() * 0.2
    for shot in range(4):
        images[2 * shot : 2 * shot + 2] += shot / 4
    pictures = pictures_of(images)
    looked = []
    own_at = pictures.at
    pictures.at = lambda frame: looked.append(frame) or own_at(frame)
    job = make_job(models, pictures=pictures, denoise=0.5)
    assert len(job.scenes) > 3
    assert looked == [0]


@pytest.mark.parametrize(("changes", "named"), [({"denoise": 0.5}, "denoise is 0.5"), ({"mask": True}, "edit_mask is")])
def test_a_picture_in_place_of_a_video_gets_a_sentence(models, changes, named):
    from infinitetalk.errors import UserError

    changes = {"edit_mask": left_half()} if "mask" in changes else changes
    with pytest.raises(UserError, match=f"{named}.* no source video"):
        make_job(models, **changes)


def long_job(models, wishes, frames: int = 14, **changes):
    """A source video of 14 frames with scenes."""
    pictures = pictures_of(source_video(frames), frames=frames)
    return make_job(models, frames=frames, pictures=pictures, wishes=wishes, **changes)


@pytest.mark.parametrize("changes", [{"denoise": 0.5}, {"edit_mask": left_half()}], ids=["denoise", "edit_mask"])
def test_a_scene_with_its_own_picture_has_no_shot_to_keep_and_one_with_a_prompt_has(models, changes):
    from infinitetalk.errors import UserError
    from infinitetalk.wanvideo.scenes import SceneWish

    words = [[torch.ones(1, 4, 4096), {}]]
    own = SceneWish(start=0.36, image=torch.rand(1, 40, 48, 3), snap_to_pause=False)
    with pytest.raises(UserError, match=r"the scene at 0\.36 s has a picture of its own"):
        long_job(models, [own], **changes)
    wish = SceneWish(start=0.36, positive=words, snap_to_pause=False)
    plain, said = (run(long_job(models, [replace(wish, positive=one)], **changes))[0] for one in (None, words))
    assert len(said) == len(plain) == 14
    assert torch.equal(said[:9], plain[:9])
    assert not torch.equal(said[9:], plain[9:])
    if "edit_mask" in changes:
        job = long_job(models, [wish], **changes)
        source = eight_bit(torch.cat([job.pictures.at(frame) for frame in range(14)]))
        outside = job.mask.at(0) == 0
        assert torch.equal(eight_bit(said)[:, outside], source[:, outside])


def test_a_scene_of_a_dubbed_video_that_goes_on_does_so_from_the_frames_before_it(models):
    from infinitetalk.wanvideo.scenes import SceneWish

    wish = SceneWish(start=0.24, transition="continue", snap_to_pause=False)
    job = long_job(models, [wish], denoise=0.5)
    assert [(w.start, w.repeated, w.surplus) for w in job.windows] == [(0, 0, 0), (4, 1, 3), (5, 1, 0), (9, 1, 0)]
    finished = list(job.run(Steps()))
    assert torch.equal(finished[1].motion, finished[1].frames[-1:])
    clean = models.vae.encode(finished[1].motion)
    assert torch.allclose(finished[2].latent[:, :, :1], clean, atol=1e-5)


def test_a_cut_in_the_source_is_a_scene_beside_those_that_were_asked_for(models):
    from infinitetalk.wanvideo.scenes import SceneWish

    images = source_video(14)
    images[4:] = 1 - images[4:] * 0.2
    images[:4] *= 0.3
    pictures = pictures_of(images, frames=14)
    wish = SceneWish(start=0.36, positive=[[torch.ones(1, 4, 4096), {}]], snap_to_pause=False)
    job = make_job(models, frames=14, pictures=pictures, wishes=[wish], denoise=0.5)
    assert [scene.start for scene in job.scenes] == [0, 4, 9]
    assert [window.scene for window in job.windows] == [0, 4, 9]
    assert len(run(job)[0]) == 14


@pytest.mark.parametrize("denoise", [0.0, 0.04, 1.01, -1.0, float("nan")])
def test_a_denoise_out_of_range_gets_a_sentence(denoise):
    from infinitetalk.errors import UserError
    from infinitetalk.wanvideo.settings import SamplerSettings

    with pytest.raises(UserError, match="denoise is"):
        SamplerSettings(denoise=denoise)


def test_where_windows_of_a_source_video_meet_nothing_jumps(models):
    from infinitetalk.wanvideo.seams import without_jump

    def job():  # two windows without surplus frames, which tell how things move as well
        pictures = pictures_of(source_video(13), frames=13)
        return make_job(models, frames=13, pictures=pictures, window_frames=9, motion_frames=5)

    smooth, rough = (
        torch.cat([finished.frames for finished in loop_of(job(), smooth_seams=on)[1]]) for on in (True, False)
    )
    seam = 9
    assert torch.equal(smooth[:seam], rough[:seam])
    assert not torch.equal(smooth[seam:], rough[seam:])
    without_jump(rough[seam:], rough[seam - 5 : seam])
    assert torch.allclose(smooth, rough, atol=1e-6)
    first, second = job().run(Steps())
    assert torch.equal(torch.cat([first.frames, second.frames]), smooth)
    (resumed,) = job().run(Steps(), windows_done=1, motion=first.motion)
    assert torch.equal(resumed.frames, second.frames)
    picture, _ = run(make_job(models))
    plain = make_job(models)
    loop, windows = loop_of(plain)
    assert not loop.scenes(plain.windows[0]).smooth_seams
    assert torch.equal(torch.cat([finished.frames for finished in windows]), picture)
