"""FlashTalk's loop by our sampler and core's `lcm`, against the numbers that its formulas give in float64."""

from __future__ import annotations

import lzma
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from ..support.golden_job import Nobody, padded
from ..support.shapes import largest_difference

LATENT_TOLERANCE, FRAME_TOLERANCE = 2e-3, 5e-4
GOLDEN = Path(__file__).parents[1] / "golden" / "flashtalk.safetensors.xz"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    """Inputs and outputs of three windows (`tools/write_flashtalk_golden.py`)."""
    return load(lzma.decompress(GOLDEN.read_bytes()))


@pytest.fixture(scope="module")
def loop(golden, single, models):
    """The sampler's loop with FlashTalk's settings."""
    from infinitetalk.wanvideo.model.audio_patches import attach
    from infinitetalk.wanvideo.model.origin import FLASHTALK_SETTINGS
    from infinitetalk.wanvideo.sampling import Models, Prompts, SceneInputs, WindowLoop, with_shift
    from infinitetalk.wanvideo.settings import SamplerSettings
    from infinitetalk.wanvideo.voices import Voices

    settings = SamplerSettings(**FLASHTALK_SETTINGS)
    voice = golden["audio"].float()
    picture = golden["image"][None].float() / 255
    text = [(padded(single["context"]), {})]
    patched = with_shift(attach(models.model, models.infinitetalk, 1.0, two_speakers=False), settings.shift)
    return WindowLoop(
        Models(patched, models.infinitetalk, models.vae, FixedClip(single["clip_fea"].float())),
        settings,
        scenes=lambda _: SceneInputs(Prompts(text, text), lambda _: picture, None),
        voices=Voices([voice], [voice[:0]], [], frame_rate=Fraction(25)),
        observer=Nobody(),
        noise=lambda window, _: golden["noise"][window.index][:1].float(),
    )


class FixedClip:
    """Stands for a CLIP vision model: features that are given."""

    def __init__(self, features: torch.Tensor) -> None:
        self.penultimate_hidden_states = features

    def encode_image(self, image: torch.Tensor, crop: bool) -> FixedClip:
        return self


def with_given_noise(loop, noise):
    """Core's `lcm` draws its noise from a seed; here it is given: `[windows, 4, 16, T, H/8, W/8]`."""
    import comfy.samplers
    from comfy.k_diffusion.sampling import sample_lcm

    drawn = iter(noise[:, 1:].flatten(0, 1).float())
    loop.sampler = comfy.samplers.KSAMPLER(
        sample_lcm, {"noise_sampler": lambda sigma, _: next(drawn)[None].to(sigma.device)}
    )
    return loop


def test_the_forward_behind_the_numbers_is_the_authors(golden_dir, single):
    from reference.wan_forward import WanInFloat64

    weights = [load((golden_dir / name).read_bytes()) for name in ("dit.safetensors", "infinitetalk.safetensors")]
    one = int((single["timesteps"] - 857).abs().argmin())  # the one of several that ships
    velocity = WanInFloat64(weights[0] | weights[1]).velocity(
        single["latent"].double(), float(single["timesteps"][one]), single["y"][0].double(), single["context"],
        single["clip_fea"][0], single["audio"][0],
    )  # fmt: skip
    assert largest_difference(velocity, single["out_cond"][one]) < 5e-5


def test_simple_with_shift_5_are_flashtalks_timesteps(loop):
    expected = torch.tensor([5 * t / (1 + 4 * t) for t in (1.0, 0.75, 0.5, 0.25, 0.0)])
    assert largest_difference(loop.sigmas, expected) < 1e-6


def test_three_windows_equal_the_formulas(golden, loop, models):
    from infinitetalk.wanvideo.windows import plan_windows

    windows = plan_windows(len(golden["audio"]), loop.settings.window_frames, loop.settings.motion_frames)
    count = len(golden["latent_final"])
    for index, ours in enumerate(with_given_noise(loop, golden["noise"]).run(windows[:count])):
        latent = models.model.model.process_latent_in(ours.latent)[0]
        assert largest_difference(latent, golden["latent_final"][index]) < LATENT_TOLERANCE
        frames = ours.frames.permute(3, 0, 1, 2) * 2 - 1  # [3, F, H, W]
        expected = golden["frames_sub4"][index][:, windows[index].repeated :]
        assert largest_difference(frames[..., ::4, ::4], expected) < FRAME_TOLERANCE
    assert index == count - 1
