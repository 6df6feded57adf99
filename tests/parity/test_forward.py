"""One forward of core's Wan model with our hooks, against the reference."""

from __future__ import annotations

import pytest
import torch

from ..support.golden_job import padded
from ..support.shapes import largest_difference

TOLERANCE = 2e-4  # the golden README's for one forward; measured at most 6e-5


def velocity(models, patched, x, timestep, text, audio, reference, two_speakers=None):
    """`[16, T, H, W]` velocity of one forward through core's own `apply_model`."""
    import comfy.model_management

    comfy.model_management.load_models_gpu([patched, models.infinitetalk])
    where = patched.load_device
    options = {**patched.model_options["transformer_options"], "wrappers": patched.wrappers}
    keywords = {} if audio is None else {"infinitetalk_audio_tokens": audio[None], **(two_speakers or {})}
    keywords = {name: tensor.to(where) for name, tensor in keywords.items()}
    x, sigma = x.to(where), timestep.to(where) / 1000
    denoised = patched.model.apply_model(
        x[None],
        sigma[None],
        c_concat=reference["y"].to(where),
        c_crossattn=text.to(where),
        clip_fea=reference["clip_fea"].to(where).float(),
        transformer_options=options,
        **keywords,
    )
    return ((x[None] - denoised) / sigma)[0]


def test_audio_projection_equals_the_reference(models, single):
    projection = models.infinitetalk.model.audio_proj
    assert torch.allclose(projection(single["audio"].float()), single["audio_embedding"], atol=1e-5)
    silent = torch.zeros_like(single["audio"]).float()
    assert torch.allclose(projection(silent), single["audio_embedding_zero"], atol=1e-5)


@pytest.mark.parametrize(
    ("output", "text", "audible"),
    [
        ("out_cond", "context", True),
        ("out_drop_text", "context_null", True),
        ("out_null_audio", "context", False),
        ("out_null", "context_null", False),
    ],
)
def test_one_speaker_equals_the_reference(models, single, output, text, audible):
    from infinitetalk.wanvideo.model.audio_patches import attach

    projection = models.infinitetalk.model.audio_proj
    audio = projection(single["audio"].float() * audible)
    patched = attach(models.model, models.infinitetalk, 1.0, two_speakers=False)
    for index, timestep in enumerate(single["timesteps"]):
        ours = velocity(models, patched, single["latent"], timestep, padded(single[text]), audio, single)
        assert largest_difference(ours, single[output][index]) < TOLERANCE


@pytest.mark.parametrize("case", ["default", "bbox"])
def test_two_speakers_equal_the_reference(models, single, multi, case):
    from infinitetalk.wanvideo.model.audio_patches import attach

    audio = models.infinitetalk.model.audio_proj(multi["audio"].float())
    masks = multi[f"ref_target_masks_{case}"][None]
    tokens = torch.nn.functional.interpolate(masks, scale_factor=0.5, mode="nearest")[0].flatten(1)
    patched = attach(models.model, models.infinitetalk, 1.0, two_speakers=True)
    for output, text in ((f"out_cond_{case}", "context"), (f"out_drop_text_{case}", "context_null")):
        for index, timestep in enumerate(multi["timesteps"]):
            reference = {"y": multi["y"], "clip_fea": single["clip_fea"]}
            two = {"infinitetalk_voice_per_slot": torch.arange(2).expand(1, 5, 2), "infinitetalk_faces": tokens[None]}
            ours = velocity(models, patched, multi["latent"], timestep, padded(single[text]), audio, reference, two)
            assert largest_difference(ours, multi[output][index]) < TOLERANCE


def test_the_users_model_is_the_plain_one_before_and_after(models, single):
    from infinitetalk.wanvideo.model.audio_patches import attach

    audio = models.infinitetalk.model.audio_proj(single["audio"].float())
    text = padded(single["context"])
    patched = attach(models.model, models.infinitetalk, 1.0, two_speakers=False)
    for index, timestep in enumerate(single["timesteps"]):
        velocity(models, patched, single["latent"], timestep, text, audio, single)
        plain = velocity(models, models.model, single["latent"], timestep, text, None, single)
        assert largest_difference(plain, single["out_base_wan"][index]) < TOLERANCE
    assert not models.model.wrappers
    assert not models.model.additional_models
    assert not any(module._forward_hooks for module in models.model.model.modules())
