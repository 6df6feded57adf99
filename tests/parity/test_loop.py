"""The whole window loop on core's model, against the reference's videos."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from ..support.golden_job import Nobody, padded
from ..support.shapes import check_shape, largest_difference

# Tolerances of the golden README for the whole loop; its guided prediction is model errors times up to 9.
LATENT_TOLERANCE, FRAME_TOLERANCE = 2e-3, 5e-4

WINDOW_FRAMES, MOTION_FRAMES, STEPS, SHIFT = 17, 5, 4, 3.0

VARIANTS = {
    "a": {"text_cfg": 5.0, "audio_cfg": 4.0},
    "b": {"text_cfg": 1.0, "audio_cfg": 2.0},
    "c": {"text_cfg": 5.0, "audio_cfg": 4.0, "apg": True},
    "d": {"text_cfg": 5.0, "audio_cfg": 4.0},
    "e": {"text_cfg": 4.0, "audio_cfg": 3.0},
    "f": {"text_cfg": 5.0, "audio_cfg": 4.0},
    "g": {"text_cfg": 1.0, "audio_cfg": 2.0, "apg": True},
}
COLOR_CORRECTION = {"f": 1.0, "g": 0.4}
NORM_THRESHOLD = {"g": 5.5}  # the reference's argument; users have no widget for it


class FixedClip:
    """Stands for a CLIP vision model, as in the reference run: fixed features, one offset per encoded picture."""

    def __init__(self, features, offsets):
        self.features, self.offsets, self.calls = features, offsets, 0

    def encode_image(self, image, crop):
        offset = self.offsets[self.calls]
        self.calls += 1
        return SimpleNamespace(penultimate_hidden_states=(self.features.float() + offset).half().float())


@pytest.fixture(scope="module")
def common(golden_dir):
    return load_file(golden_dir / "loop_common.safetensors")


def settings_of(variant):
    from infinitetalk.wanvideo.settings import SamplerSettings

    class Settings(SamplerSettings):
        @property
        def guidance(self):
            usual = super().guidance
            threshold = NORM_THRESHOLD.get(variant, usual.apg_norm_threshold)
            return dataclasses.replace(usual, apg_norm_threshold=threshold)

    return Settings(
        steps=STEPS,
        shift=SHIFT,
        window_frames=WINDOW_FRAMES,
        motion_frames=MOTION_FRAMES,
        color_correction=COLOR_CORRECTION.get(variant, 0.0),
        end_padding="mirror",
        **VARIANTS[variant],
    )


def run_variant(variant, golden, common, single, models):
    from infinitetalk.wanvideo.masks import half_masks, token_masks
    from infinitetalk.wanvideo.model.audio_patches import attach
    from infinitetalk.wanvideo.sampling import Models, Prompts, SceneInputs, WindowLoop
    from infinitetalk.wanvideo.voices import Voices
    from infinitetalk.wanvideo.windows import plan_windows

    voices = [common["audio_1"].float(), common["audio_2"].float()][: 2 if variant == "d" else 1]
    masks = token_masks(half_masks(64, 96), 2, (64, 96), (64, 96)) if variant == "d" else None
    source = common["source_video"] if variant == "e" else common["image"][None]
    pixels = source.float() / 255
    clip = FixedClip(single["clip_fea"], golden["clip_offset"])
    patched = attach(models.model, models.infinitetalk, 1.0, two_speakers=masks is not None)
    prompts = Prompts([(padded(single["context"]), {})], [(padded(single["context_null"]), {})])
    loop = WindowLoop(
        Models(patched, models.infinitetalk, models.vae, clip),
        settings_of(variant),
        scenes=lambda _: SceneInputs(prompts, lambda frame: pixels[min(frame, len(pixels) - 1)][None], masks),
        voices=Voices(voices, [voice[:0] for voice in voices], [], frame_rate=Fraction(25)),
        observer=Nobody(),
        noise=lambda window, shape: golden["noise"][window.index][None],
    )
    windows = plan_windows(len(voices[0]), WINDOW_FRAMES, MOTION_FRAMES)
    return list(loop.run(windows)), clip


@pytest.mark.parametrize("variant", VARIANTS)
def test_loop_equals_the_reference(variant, golden_dir, common, single, models):
    from infinitetalk.wanvideo.schedule import infinitetalk_sigmas

    golden = load_file(golden_dir / f"loop_{variant}.safetensors")
    finished, clip = run_variant(variant, golden, common, single, models)
    assert torch.allclose(infinitetalk_sigmas(STEPS, SHIFT) * 1000, golden["timesteps"], atol=1e-3)
    for window, ours in enumerate(finished):
        check_shape(ours.latent, "1 16 latent_frames height width", latent_frames=(WINDOW_FRAMES - 1) // 4 + 1)
        latent = models.model.model.process_latent_in(ours.latent)[0]  # the VAE's scale to the model's
        assert largest_difference(latent, golden["latent_final"][window]) < LATENT_TOLERANCE
    frames = torch.cat([part.frames for part in finished]).permute(3, 0, 1, 2) * 2 - 1  # [3, F, H, W]
    name = next(name for name in golden if name.startswith("final"))
    step = int(name.partition("_sub")[2] or 1)
    assert largest_difference(frames[..., ::step, ::step], golden[name]) < FRAME_TOLERANCE
    assert clip.calls == len(golden["clip_offset"])


def test_every_pass_is_a_model_call_of_its_own_however_much_memory_is_free(
    golden_dir, common, single, models, monkeypatch
):
    golden = load_file(golden_dir / "loop_d.safetensors")
    batches = []
    apply_model = type(models.model.model).apply_model

    def counting(self, x, *args, **kwargs):
        batches.append(x.shape[0])
        return apply_model(self, x, *args, **kwargs)

    monkeypatch.setattr(type(models.model.model), "apply_model", counting)
    finished = []
    # GPUs that are empty and nearly full cannot be had here: the model claims to need nothing, then more than there is.
    for needed in (0, 1e18):
        monkeypatch.setattr(type(models.model.model), "memory_required", lambda *_, needed=needed, **__: needed)
        finished.append(run_variant("d", golden, common, single, models)[0])
    assert len(batches) == 2 * len(golden["noise"]) * STEPS * 3
    assert set(batches) == {1}
    for one, other in zip(*finished, strict=True):
        assert torch.equal(one.latent, other.latent)


def test_the_first_latent_of_a_keyframe_is_that_of_the_picture_alone(common, models):
    from infinitetalk.wanvideo.keyframe import KeyframeEncoder

    picture = common["image"][None].float() / 255
    keyframe = KeyframeEncoder(models.vae, None, WINDOW_FRAMES).encode(picture)
    assert torch.equal(keyframe.first_latent, models.vae.encode(picture))
