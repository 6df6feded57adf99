"""Finished windows are recognized by what the embeddings were computed from, never by the computed numbers."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from infinitetalk.audio import layer_sweep
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.embeds import AudioEmbeds, embed_voices
from infinitetalk.audio.layer_sweep import Reach, sums_of_groups
from infinitetalk.audio.wav2vec import Wav2VecEncoder


def speech_of(seconds: float, rate: int = 16_000, seed: int = 1) -> AudioClip:
    generator = torch.Generator().manual_seed(seed)
    return AudioClip(torch.rand((1, int(seconds * rate)), generator=generator) * 0.2 - 0.1, rate)


def digest(encoder: Wav2VecEncoder, voice: AudioClip, **options: Any) -> str:
    (found,) = embed_voices(encoder, [voice], **options).digests
    return found


def test_a_long_sound_that_was_added_up_in_another_order_is_the_same_input(
    encoder: Wav2VecEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mock: the order in which a GPU adds by index, which no CPU has."""
    encoder.reach = Reach(near_frames=150, piece_frames=100, groups=8)
    voice = speech_of(24)

    def embedded() -> AudioEmbeds:
        return embed_voices(encoder, [voice])

    first = embedded()
    monkeypatch.setattr(
        layer_sweep,
        "sums_of_groups",
        lambda x, assignment, groups: sums_of_groups(x.flip(0), assignment.flip(0), groups),
    )
    again = embedded()
    assert not torch.equal(first.features[0], again.features[0])
    assert torch.allclose(first.features[0], again.features[0], atol=1e-2)
    assert first.digests == again.digests


def test_the_product_with_ones_adds_up_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    x, assignment = torch.randn(500, 16, dtype=torch.float64), torch.randint(0, 9, (500,))
    assignment[assignment == 4] = 5  # an empty group
    ones = torch.nn.functional.one_hot(assignment, 9).to(x.dtype).T @ x  # what GPUs do
    assert torch.allclose(sums_of_groups(x, assignment, 9), ones, atol=1e-12)


@pytest.mark.parametrize("options", [{"frame_rate": Fraction(30)}, {"max_frames": 40}, {"normalize_loudness": False}])
def test_every_option_counts(encoder: Wav2VecEncoder, options: dict[str, Any]) -> None:
    assert digest(encoder, speech_of(2), **options) != digest(encoder, speech_of(2))


def test_every_sample_and_the_rate_count(encoder: Wav2VecEncoder) -> None:
    voice = speech_of(2)
    samples = voice.samples.clone()
    samples[0, 31_999] += 1e-4
    different = [
        voice,
        AudioClip(samples, 16_000),
        AudioClip(voice.samples, 8_000),
        AudioClip(voice.samples.expand(2, -1), 16_000),
    ]
    assert len({digest(encoder, one) for one in different}) == len(different)
    assert digest(encoder, speech_of(2)) == digest(encoder, voice)


def test_every_weight_and_the_precision_count(encoder: Wav2VecEncoder) -> None:
    voice = speech_of(1)
    before = digest(encoder, voice)
    assert digest(replace(encoder, do_normalize=True), voice) != before
    assert digest(replace(encoder, reach=Reach(groups=7)), voice) != before
    weight = encoder.model.encoder.layers[-1].attention.k_proj.weight
    weight.data[3, 5] += 1e-3
    assert digest(replace(encoder), voice) != before


def test_where_a_voice_begins_counts(encoder: Wav2VecEncoder) -> None:
    voices = [speech_of(1), speech_of(2, seed=2)]
    together, in_turn = (embed_voices(encoder, voices, combine=way).digests for way in ("parallel", "sequential"))
    assert together[1] != in_turn[1]
    assert len(set(together)) == 2
