"""The VAE that is trained is core's: the same weights give the same latents and pictures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import train_vae
from training.vae_model import VAE

WIDTH = 4


@pytest.fixture(scope="module")
def both(comfy_core: Path) -> SimpleNamespace:
    """A model with random weights, all of which matter, and core's with its checkpoint.

    In float64: on their long way rounding errors of float32 grow as far as a small fault would.
    """
    import comfy.ldm.wan.vae

    torch.manual_seed(0)
    ours = VAE(WIDTH)
    with torch.no_grad():
        for value in ours.parameters():
            value += 0.05 * torch.randn_like(value)
    core = comfy.ldm.wan.vae.WanVAE(
        dim=WIDTH, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, temperal_downsample=[False, True, True]
    )
    core.load_state_dict(ours.checkpoint())
    return SimpleNamespace(ours=ours.double(), core=core.double())


@pytest.mark.parametrize("frames", [1, 5, 17])
@torch.no_grad()
def test_a_clip_at_once_is_what_core_makes_of_its_chunks(both: SimpleNamespace, frames: int):
    video = torch.rand(2, frames, 3, 32, 48, dtype=torch.float64) * 2 - 1

    latent, _ = both.ours.encode(video)
    expected = both.core.encode(video.transpose(1, 2)).transpose(1, 2)

    torch.testing.assert_close(latent, expected, atol=1e-8, rtol=0)
    assert latent.std() > 0.1
    decoded = both.core.decode(expected.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(both.ours.decode(expected), decoded, atol=1e-8, rtol=0)


@torch.no_grad()
def test_exported_latents_are_standard_normal_in_the_eyes_of_the_transformer(comfy_core: Path):
    import comfy.latent_formats

    torch.manual_seed(0)
    model = VAE(WIDTH)
    result = train_vae.normalized(model, clips=8)
    batch = train_vae.draw_batch(train_vae.np.random.default_rng(0), train_vae.Stage(1, frames=17, batch=8, crop=96))

    latent = result.encode(batch.video)[0]

    seen = comfy.latent_formats.Wan21().process_in(latent.transpose(1, 2)).transpose(0, 1).flatten(1)
    assert seen.mean(dim=1).abs().max() < 0.5
    assert 0.6 < seen.std(dim=1).min() < seen.std(dim=1).max() < 1.6
    torch.testing.assert_close(result.decode(latent), model.decode(model.encode(batch.video)[0]), atol=1e-3, rtol=0)


def test_training_learns_goes_on_and_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train_vae, "STAGES", (train_vae.Stage(1, frames=5, batch=2, crop=48),))

    def steps(training: train_vae.Training, count: int) -> list[float]:
        losses = []
        for _ in range(count):
            torch.manual_seed(training.step)
            losses.append(training._train_step()[0])
            training.step += 1
        return losses

    def loss_now(training: train_vae.Training) -> float:
        torch.manual_seed(0)
        return float(train_vae.loss_of(training.model, batch)[0].detach())

    batch = train_vae.draw_batch(train_vae.np.random.default_rng(9), train_vae.STAGES[0])
    learning = train_vae.Training(tmp_path / "whole", 1e9, seed=1)
    at_first = loss_now(learning)
    whole = steps(learning, 12)
    first = train_vae.Training(tmp_path / "parts", 1e9, seed=1)
    parts = steps(first, 6)
    first.save()
    parts += steps(train_vae.Training(tmp_path / "parts", 1e9, seed=1), 6)

    assert parts == pytest.approx(whole, rel=1e-4)
    assert loss_now(learning) < 0.8 * at_first


def test_the_learning_rate_falls_twice(tmp_path: Path):
    training = train_vae.Training(tmp_path, 100.0, seed=0)
    training.step = 1000
    rates = []
    for training.spent in range(100):
        rates.append(training._learning_rate(training.stage()))
    rises = [second for second in range(1, 100) if rates[second] > rates[second - 1]]
    assert rises == [pytest.approx(100 * (1 - train_vae.STAGES[-1].share), abs=1)]
    assert rates[0] == pytest.approx(train_vae.LEARNING_RATE)
    assert rates[rises[0]] == pytest.approx(train_vae.LAST_LEARNING_RATE, rel=0.01)
    assert rates[-1] < 0.05 * train_vae.LAST_LEARNING_RATE
