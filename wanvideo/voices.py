"""Whose voice has which of the two slots that InfiniteTalk was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import combinations, product
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import UserError
from ..spool import release
from .model.speakers import TRAINED_SPEAKERS
from .windows import AUDIO_WINDOW, LATENT_STRIDE, EndPadding, Window, audio_window, latent_frames

if TYPE_CHECKING:
    from ..audio.embeds import AudioEmbeds

SHOWN_OVERLAPS = 3
"""Overlaps that a refusal names."""


@dataclass(frozen=True)
class Voices:
    """All voices of a video on its timeline.

    Two voices have a slot each. Three or four share the two slots, when no two that share one are ever heard at the
    same time: at each frame the slot belongs to the voice that is heard, or was heard last.
    """

    features: Sequence[Tensor]
    """Per voice `[F, layers, channels]`."""
    silence: Sequence[Tensor]
    """Per voice `[S, layers, channels]`, what follows the end."""
    audible: Sequence[Tensor]
    """Per voice bool `[F]`; only looked at with more than two voices."""
    frame_rate: Fraction

    @classmethod
    def of(cls, embeds: AudioEmbeds, *, listener: bool = False) -> Voices:
        """The voices of an audio embedding; with `listener`, a second person who stays silent.

        Raises:
            UserError: more than two voices that cannot share two slots.
        """
        features, silence, audible = list(embeds.features), list(embeds.silence), list(embeds.audible)
        if listener:
            still = silence[0][-1:]  # the encoding of real silence
            features.append(still.expand(embeds.frames, -1, -1))
            silence.append(still)
            audible.append(torch.zeros(embeds.frames, dtype=torch.bool))
        voices = cls(features, silence, audible, embeds.frame_rate)
        voices.voice_per_slot  # noqa: B018  (refuses what cannot work)
        return voices

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def voice_per_slot(self) -> Tensor:
        """The voice at each slot, frame by frame: int64 `[F, slots]`."""
        if len(self) <= TRAINED_SPEAKERS:
            return torch.arange(len(self)).expand(len(self.features[0]), -1)
        slots = self._share_slots()
        voice_per_slot = torch.zeros(len(self.features[0]), TRAINED_SPEAKERS, dtype=torch.long)
        for slot in range(TRAINED_SPEAKERS):
            sharing = [voice for voice, at in enumerate(slots) if at == slot]
            heard = torch.stack([self.audible[voice] for voice in sharing])  # [n, F]
            # The number of the frame at which each voice was last heard; the latest one has the slot.
            frames = torch.arange(1, heard.shape[1] + 1)
            last_heard = torch.cummax(heard * frames, dim=1).values
            voice_per_slot[:, slot] = torch.tensor(sharing)[last_heard.argmax(dim=0)]
        return voice_per_slot

    def window(self, window: Window, end_padding: EndPadding) -> Tensor:
        """What a window hears at each slot: `[slots, W, 5, layers, channels]`."""
        at_slot = self.voice_per_slot_in(window).T  # [slots, W]
        heard = torch.zeros(*at_slot.shape, AUDIO_WINDOW, *self.features[0].shape[1:])
        for voice in at_slot.unique().tolist():
            own = audio_window(self.features[voice], self.silence[voice], window.start, window.frames, end_padding)
            heard = torch.where((at_slot == voice)[..., None, None, None], own, heard)
            release(self.features[voice])
        return heard

    def latent_voice_per_slot(self, window: Window) -> Tensor | None:
        """The voice at each slot in each latent frame of a window, `[T, slots]`; None with one voice."""
        if len(self) == 1:
            return None
        middle = torch.arange(latent_frames(window.frames)) * LATENT_STRIDE - LATENT_STRIDE // 2 + 1
        return self.voice_per_slot_in(window)[middle.clamp(min=0)]

    def voice_per_slot_in(self, window: Window) -> Tensor:
        """The voice at each slot in each frame of a window; after the end they stay. `[W, slots]`"""
        frames = torch.arange(window.start, window.stop).clamp(max=len(self.voice_per_slot) - 1)
        return self.voice_per_slot[frames]

    def _share_slots(self) -> tuple[int, ...]:
        """A slot for each voice, so that voices that share one never overlap."""
        overlaps = {pair: self._overlap(*pair) for pair in combinations(range(len(self)), 2)}
        for slots in product(range(TRAINED_SPEAKERS), repeat=len(self)):
            if len(set(slots)) == TRAINED_SPEAKERS and not any(
                overlap is not None and slots[a] == slots[b] for (a, b), overlap in overlaps.items()
            ):
                return slots
        named = [
            f"voices {a + 1} and {b + 1} at {float(overlap / self.frame_rate):.2f} s"
            for (a, b), overlap in overlaps.items()
            if overlap is not None
        ]
        raise UserError(
            f"{len(self)} voices overlap in time ({', '.join(named[:SHOWN_OVERLAPS])}), but InfiniteTalk was trained "
            f"on {TRAINED_SPEAKERS} speakers: let at most {TRAINED_SPEAKERS} of them speak at the same time, for "
            "example with combine = sequential."
        )

    def _overlap(self, a: int, b: int) -> int | None:
        """The first frame at which both voices are heard, or None."""
        both = (self.audible[a] & self.audible[b]).nonzero()
        return int(both[0]) if len(both) else None
