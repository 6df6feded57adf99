"""Scenes on core's models: what is encoded, what a scene starts from, what it does not depend on."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ..support.golden_job import Nobody
from ..support.two_window_job import make_job

FRAMES = 14


@pytest.fixture
def job(models):
    """One step and one pass: what counts here is what goes into a window."""
    prompt = [[torch.randn(1, 4, 4096, generator=torch.Generator().manual_seed(4)), {}]]
    return make_job(models, frames=FRAMES, steps=1, positive=prompt)


def wishes(*starts: float, pictures=(), **more):
    from infinitetalk.wanvideo.scenes import SceneWish

    images = [*pictures, *[None] * len(starts)]
    return [SceneWish(start=start, image=image, **more) for start, image in zip(starts, images, strict=False)]


def other_picture() -> torch.Tensor:
    return torch.rand(1, 48, 80, 3, generator=torch.Generator().manual_seed(9))


def frames_of(job) -> torch.Tensor:
    return torch.cat([finished.frames for finished in job.run(Nobody())])


def counted(job, monkeypatch) -> list[int]:
    """Numbers of frames that the VAE encodes from now on."""
    lengths = []
    encode = job.vae.encode

    def counting(pixels):
        lengths.append(len(pixels))
        return encode(pixels)

    monkeypatch.setattr(job.vae, "encode", counting)
    return lengths


def test_two_pictures_that_alternate_are_encoded_once_each(job, monkeypatch):
    own = job.pictures.at(0)
    story = dataclasses.replace(job, wishes=wishes(0.16, 0.32, 0.48, pictures=[other_picture(), own, other_picture()]))
    assert len({window.cut for window in story.windows}) == 4
    lengths = counted(story, monkeypatch)
    frames_of(story)
    assert lengths.count(5) == 2


def test_a_scene_is_the_same_whatever_stands_before_it(job):
    story = dataclasses.replace(job, wishes=wishes(0.16, 0.32, pictures=[other_picture(), job.pictures.at(0)]))
    changed = dataclasses.replace(
        job,
        pictures=job.pictures.of_another(torch.rand(1, 32, 32, 3)),
        positive=None,
        wishes=wishes(0.08, 0.32, pictures=[other_picture(), job.pictures.at(0)], positive=job.positive),
    )
    one, other = frames_of(story), frames_of(changed)
    assert torch.equal(one[8:], other[8:])
    assert not torch.equal(one[:8], other[:8])


def test_keys_of_a_scene_are_the_same_whatever_stands_before_it(job):
    from infinitetalk.wanvideo.resume.fingerprint import job_fingerprint, window_keys

    story = dataclasses.replace(job, wishes=wishes(0.16, 0.32, pictures=[other_picture(), job.pictures.at(0)]))
    changed = dataclasses.replace(
        job,
        positive=None,
        wishes=wishes(0.08, 0.32, pictures=[other_picture(), job.pictures.at(0)], positive=job.positive),
    )
    assert job_fingerprint(story) == job_fingerprint(changed)
    last = [
        {key for key, w in zip(window_keys(one), one.windows, strict=True) if w.cut == 8} for one in (story, changed)
    ]
    assert last[0] == last[1] != set()
    assert len(set(window_keys(story)) & set(window_keys(changed))) == len(last[0])
    for other in (
        wishes(0.16, 0.32, pictures=[other_picture(), other_picture()]),
        wishes(0.16, 0.36, pictures=[other_picture(), job.pictures.at(0)]),
        wishes(0.16, 0.32, pictures=[other_picture(), job.pictures.at(0)], positive=[[torch.ones(1, 4, 4096), {}]]),
    ):
        keys = window_keys(dataclasses.replace(job, wishes=other))
        assert not last[0] & set(keys)


def test_a_scene_that_goes_on_starts_from_the_frames_before_it(job, monkeypatch):
    story = dataclasses.replace(job, wishes=wishes(0.24, pictures=[other_picture()], transition="continue"))
    first, second, *_ = story.windows[1:]
    assert (first.surplus, second.start, second.repeated) == (3, 5, 1)
    given = []
    encode = story.vae.encode
    monkeypatch.setattr(story.vae, "encode", lambda pixels: given.append(pixels) or encode(pixels))
    frames = frames_of(story)
    assert len(frames) == FRAMES
    motion = [pixels for pixels in given if len(pixels) == 1]
    assert torch.equal(motion[1], frames[5:6])


def test_colors_are_those_of_the_scenes_own_picture(job):
    settings = dataclasses.replace(job.settings, color_correction=1.0)
    dark, light = torch.rand(1, 32, 32, 3) * 0.2, 0.7 + torch.rand(1, 32, 32, 3) * 0.3
    pictures = job.pictures.of_another(dark)
    story = dataclasses.replace(job, settings=settings, pictures=pictures, wishes=wishes(0.32, pictures=[light]))
    frames = frames_of(story)
    assert float(frames[:8].mean()) == pytest.approx(float(dark.mean()), abs=0.05)
    assert float(frames[8:].mean()) == pytest.approx(float(light.mean()), abs=0.05)


def test_a_scene_that_fades_in_from_black_is_not_held_to_black(job):
    settings = dataclasses.replace(job.settings, color_correction=1.0)
    black = dataclasses.replace(job, pictures=job.pictures.of_another(torch.zeros(1, 32, 32, 3)))
    with_it, without = frames_of(dataclasses.replace(black, settings=settings)), frames_of(black)
    assert torch.equal(with_it, without)
    assert float(without.mean()) > 0.1
