"""Voices on the two positions that InfiniteTalk was trained on."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.wanvideo.model.speakers import token_coordinates
from infinitetalk.wanvideo.voices import Voices
from infinitetalk.wanvideo.windows import plan_windows


def voices(*spans, frames=40):
    """One voice per list of (first, end) frames in which it is heard; its embeddings are its own number."""
    audible = torch.zeros(len(spans), frames, dtype=torch.bool)
    for voice, parts in enumerate(spans):
        for first, end in parts:
            audible[voice, first:end] = True
    features = [torch.full((frames, 1, 1), float(voice)) for voice in range(len(spans))]
    return Voices(features, [f[:1] for f in features], list(audible), frame_rate=Fraction(25))


def test_two_voices_have_a_position_each_even_when_they_overlap():
    both = voices([(0, 40)], [(0, 40)])
    (window, *_) = plan_windows(40, 17, 5)
    assert both.window(window, "silence")[:, :, 2, 0, 0].tolist() == [[0.0] * 17, [1.0] * 17]
    assert both.latent_voice_per_slot(window).tolist() == [[0, 1]] * 5


def test_one_voice_has_no_slots():
    assert voices([(0, 40)]).latent_voice_per_slot(plan_windows(40, 17, 5)[0]) is None


def test_voices_that_take_turns_share_a_position():
    three = voices([(0, 10), (30, 40)], [(0, 40)], [(12, 28)])
    assert three.voice_per_slot[:, 0].tolist() == [0] * 12 + [2] * 18 + [0] * 10
    assert three.voice_per_slot[:, 1].tolist() == [1] * 40
    window = plan_windows(40, 17, 5)[0]
    assert three.window(window, "silence")[0, :, 2, 0, 0].tolist() == [0.0] * 12 + [2.0] * 5
    assert three.latent_voice_per_slot(window)[:, 0].tolist() == [0, 0, 0, 0, 2]


def test_a_position_stays_with_the_voice_heard_last_after_the_end():
    three = voices([(0, 10)], [(0, 40)], [(12, 40)])
    window = plan_windows(40, 17, 5)[-1]
    assert three.latent_voice_per_slot(window)[-1].tolist() == [2, 1]


def test_three_voices_at_once_are_refused_with_the_time():
    with pytest.raises(UserError, match=r"3 voices overlap in time .*voices 1 and 2 at 0\.40 s"):
        _ = voices([(0, 20)], [(10, 30)], [(15, 40)]).voice_per_slot


def test_a_token_of_a_voice_without_a_position_stands_in_the_background():
    # Two latent frames of two tokens; the tokens look at voice 0 and at voice 2.
    maps = torch.tensor([[[0.9, 0.1, 0.9, 0.1], [0.0, 0.0, 0.0, 0.0], [0.1, 0.9, 0.1, 0.9], [0.0, 0.0, 0.0, 0.0]]])
    voice_per_slot = torch.tensor([[[0, 1], [2, 1]]])
    assert token_coordinates(maps, voice_per_slot)[0].tolist() == pytest.approx([4.0, 12.0, 12.0, 4.0])
