"""The demo's latents look right in ComfyUI's preview, and turning them changes no video."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cartoon_models import FOLDER, VAE

UNSEEN = range(900_000, 900_016)


@pytest.fixture(scope="module")
def tools(comfy_core: Path) -> SimpleNamespace:
    """What loads core is imported late."""
    from training import preview_colors, talk_data, talk_model

    return SimpleNamespace(colors=preview_colors, data=talk_data, model=talk_model)


@pytest.fixture(scope="module")
def turn() -> torch.Tensor:
    """Any orthogonal matrix `[16, 16]`."""
    return torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)))[0]


def test_the_preview_of_the_shipped_models_shows_a_face_in_its_colors(tools: SimpleNamespace):
    latents, colors = tools.colors.latents_and_colors(tools.data.load_vae(FOLDER / VAE), UNSEEN)

    shown = tools.colors.previewed(latents)

    for channel in range(3):
        assert np.corrcoef(shown[..., channel].flatten(), colors[..., channel].flatten())[0, 1] > 0.8


def test_the_best_turn_finds_a_turn_that_was_made(tools: SimpleNamespace, turn: torch.Tensor):
    latents = torch.randn(500, 16, generator=torch.Generator().manual_seed(1))

    found = tools.colors.best_turn(latents @ turn, tools.colors.previewed(latents))

    torch.testing.assert_close(found @ found.T, torch.eye(16), atol=1e-5, rtol=0)
    shown = tools.colors.previewed(latents @ turn @ found.T)
    torch.testing.assert_close(shown, tools.colors.previewed(latents), atol=1e-3, rtol=0)


@torch.no_grad()
def test_a_turned_vae_gives_turned_latents_and_the_same_pictures(tools: SimpleNamespace, turn: torch.Tensor):
    straight, turned = tools.data.load_vae(FOLDER / VAE), tools.data.load_vae(FOLDER / VAE)
    weights = tools.colors.turned_vae(straight.state_dict(), turn)
    turned.load_state_dict(weights)
    video = torch.rand(1, 5, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1

    expected = torch.einsum("kc, bcthw -> bkthw", turn, tools.data.encoded(straight, video))

    torch.testing.assert_close(tools.data.encoded(turned, video), expected, atol=1e-4, rtol=0)
    made = turned.decode(turned.encode(video)[0])
    torch.testing.assert_close(made, straight.decode(straight.encode(video)[0]), atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_turned_transformer_gives_the_turned_velocity_of_turned_latents(tools: SimpleNamespace, turn: torch.Tensor):
    sizes = tools.model.Sizes()
    straight, turned = (tools.model.load_talk_model(FOLDER, sizes) for _ in range(2))
    turned.load_state_dict(tools.colors.turned_transformer(straight.state_dict(), turn))
    generator = torch.Generator().manual_seed(3)
    x, picture = torch.randn(2, 1, 16, 3, 12, 12, generator=generator)
    audio = torch.randn(1, 1, 9, 5, sizes.audio.layers, sizes.audio.hidden, generator=generator)

    def velocity(model: torch.nn.Module, turned_by: torch.Tensor) -> torch.Tensor:
        given = (torch.einsum("kc, bcthw -> bkthw", turned_by, part) for part in (x, picture))
        noisy, keyframe = given
        return model.velocity(noisy, torch.tensor([0.7]), tools.model.condition(keyframe), audio, None)

    expected = torch.einsum("kc, bcthw -> bkthw", turn, velocity(straight, torch.eye(16)))

    assert expected.std() > 0.1
    torch.testing.assert_close(velocity(turned, turn), expected, atol=1e-3, rtol=0)
