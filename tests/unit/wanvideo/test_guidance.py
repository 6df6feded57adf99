"""Guidance and schedule: the formulas of the reference, and no pass that a term does not need."""

from __future__ import annotations

import json

import pytest
import torch
from infinitetalk.wanvideo.guidance import ProjectedGuidance, guidance_terms, pass_weights
from infinitetalk.wanvideo.schedule import infinitetalk_sigmas
from safetensors.torch import load_file

ATOL = 1e-4


@pytest.fixture(scope="module")
def misc(golden_dir):
    return load_file(golden_dir / "misc.safetensors")


def test_schedule_is_the_references(misc):
    names = [name for name in misc if name.startswith("timesteps_")]
    assert len(names) > 10
    for name in names:
        steps, shift = name.removeprefix("timesteps_").split("_")
        assert torch.allclose(infinitetalk_sigmas(int(steps), float(shift)) * 1000, misc[name], atol=ATOL), name


def test_projected_guidance_is_the_references(misc, golden_dir):
    parameters = json.loads((golden_dir / "misc.json").read_text(encoding="utf-8"))["apg"]
    checked = 0
    for case, numbers in parameters.items():
        if f"apg_{case}_diff" not in misc:
            continue
        guide = ProjectedGuidance(numbers["momentum"], numbers["norm_threshold"], numbers["eta"])
        for call in range(3):
            diff, cond = (misc[f"apg_{case}_{part}"][call][None] for part in ("diff", "cond"))
            assert torch.allclose(guide(diff, cond)[0], misc[f"apg_{case}_out"][call], atol=ATOL)
        checked += 1
    assert checked


def guided(text_cfg, audio_cfg, c, t, a, u):
    """The formulas as the contract writes them."""
    if text_cfg == 1:
        return a + audio_cfg * (c - a)
    return u + text_cfg * (c - t) + audio_cfg * (t - u)


@pytest.mark.parametrize(("text_cfg", "audio_cfg"), [(5, 4), (1, 2), (1, 1), (5, 1), (1, 4), (3, 3), (0, 2), (5, 0)])
def test_weighted_passes_equal_the_formula(text_cfg, audio_cfg):
    values = {"positive": 1.3, "negative": -0.7, "positive_silent": 0.4, "negative_silent": 2.1}
    ours = sum(weight * values[name] for name, weight in pass_weights(text_cfg, audio_cfg).items())
    formula = guided(text_cfg, audio_cfg, *values.values())
    assert ours == pytest.approx(formula)


@pytest.mark.parametrize(
    ("text_cfg", "audio_cfg", "passes"),
    [
        (5, 4, {"positive", "negative", "negative_silent"}),
        (1, 2, {"positive", "positive_silent"}),
        (1, 1, {"positive"}),
        (5, 1, {"positive", "negative"}),
        (4, 4, {"positive", "negative_silent"}),
    ],
)
def test_a_scale_of_one_costs_no_pass(text_cfg, audio_cfg, passes):
    assert set(pass_weights(text_cfg, audio_cfg)) == passes


def test_projected_guidance_leaves_out_terms_of_no_strength():
    assert guidance_terms(1.0, 1.0) == []
    assert guidance_terms(5.0, 1.0) == [(4.0, "positive", "negative")]
    assert guidance_terms(1.0, 3.0) == [(2.0, "positive", "positive_silent")]
