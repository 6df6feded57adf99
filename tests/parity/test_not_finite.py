"""A window that is not finite is never kept: the job stops in one sentence that names the likely part."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from ..support.golden_job import FRAMES
from ..support.two_window_job import make_job

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def windows_kept(comfy_core: Path, tmp_path: Path):
    """`windows_kept(job)` samples a job into a store and gives the sentence, and how many windows are kept."""
    from infinitetalk.errors import UserError
    from infinitetalk.wanvideo.model.vae_tiles import with_tiles_if_needed
    from infinitetalk.wanvideo.resume.share import Share
    from infinitetalk.wanvideo.resume.stored_run import sample_to_disk

    class Silent:
        def step(self, *_):
            pass

    def run(job) -> tuple[str, int]:
        job = dataclasses.replace(job, vae=with_tiles_if_needed(job.vae, lambda _: None))
        with pytest.raises(UserError) as raised:
            sample_to_disk(Share(job), tmp_path / "runs", resume=True, say=lambda _: None, observer=Silent)
        return str(raised.value), len(list((tmp_path / "runs").rglob("window-*.rgb")))

    return run


@pytest.fixture
def spoiled():
    """`spoiled(tensor, value)` puts one number into a tensor of a model until the test is over."""

    def spoil(tensor: torch.Tensor, value: float) -> None:
        whole = tensor.detach().clone()
        undo.append((tensor, whole))
        tensor.detach().view(-1)[0] = value

    undo: list[tuple[torch.Tensor, torch.Tensor]] = []
    yield spoil
    for tensor, whole in undo:
        tensor.detach().copy_(whole)


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_number_in_the_base_model(models, windows_kept, spoiled, value):
    spoiled(models.model.model.diffusion_model.blocks[0].ffn[0].weight, value)
    sentence, kept = windows_kept(make_job(models))
    assert sentence.startswith("The model gave, in its first step,")
    assert kept == 0


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("part", ["decoder.head.2.bias", "decoder.conv1.weight", "conv2.bias"])
def test_a_number_in_what_the_vae_decodes_with(models, windows_kept, spoiled, value, part):
    spoiled(models.vae.first_stage_model.get_parameter(part), value)
    sentence, kept = windows_kept(make_job(models))
    assert sentence.startswith("The VAE gave")
    assert "--fp32-vae" in sentence
    assert kept == 0


def test_a_number_in_what_the_vae_encodes_with(models, windows_kept, spoiled):
    spoiled(models.vae.first_stage_model.get_parameter("encoder.conv1.bias"), NAN)
    sentence, kept = windows_kept(make_job(models))
    assert sentence.startswith("The VAE gave for the picture")
    assert kept == 0


def test_windows_before_it_are_kept(models, windows_kept, monkeypatch):
    from infinitetalk.wanvideo.sampling import WindowLoop

    real = WindowLoop._denoise

    def denoise(loop, window, *rest):
        latent = real(loop, window, *rest)
        return latent if window.index == 0 else latent * NAN

    monkeypatch.setattr(WindowLoop, "_denoise", denoise)
    sentence, kept = windows_kept(make_job(models))
    assert sentence.startswith("The model gave, in window 2,")
    assert "the finished window of 2 is kept" in sentence
    assert kept == 1


@pytest.mark.parametrize(
    ("rows", "width", "value", "words"),
    [
        (77, 768, 0.0, "768 numbers, like those of Stable Diffusion 1.5"),
        (77, 2048, 0.0, "2048 numbers, like those of SDXL"),
        (512, None, NAN, "holds NaN or infinite"),
        (0, None, 0.0, "is empty"),
    ],
)
@pytest.mark.parametrize("name", ["positive", "negative"])
def test_a_prompt_that_is_none_of_the_models(models, name, rows, width, value, words):
    from infinitetalk.errors import UserError

    width = width or models.model.get_model_object("diffusion_model").text_dim
    prompt = [(torch.full((1, rows, width), value), {})]
    with pytest.raises(UserError, match=rf"The prompt at `{name}` .*{words}"):
        make_job(models, **{name: prompt})


@pytest.mark.parametrize(("shape", "scale"), [((1, 32, 32, 3), 255), ((1, 32, 32, 3), -1), ((30, 32, 32, 3), 255)])
def test_pixels_on_another_scale(models, shape, scale):
    from fractions import Fraction

    from infinitetalk.errors import UserError
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.pictures import Pictures

    images = torch.rand(shape)
    images[-1] *= scale
    pictures = Pictures(ImageFrames(images, Fraction(25)), Fraction(25), max(FRAMES, len(images)), (32, 32))
    with pytest.raises(UserError, match=rf"lie between .* \(frame {len(images) - 1}\), and 0 \(black\) to 1"):
        make_job(models, pictures=pictures).windows  # noqa: B018  (looks at all frames)


def test_bf16_pictures_are_pictures(models):
    from fractions import Fraction

    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.pictures import Pictures

    image = torch.rand(1, 32, 32, 3).bfloat16()
    as_float, as_bf16 = (
        Pictures(ImageFrames(one, Fraction(25)), Fraction(25), 1, (32, 32)).at(0) for one in (image.float(), image)
    )
    assert torch.equal(as_float, as_bf16)
