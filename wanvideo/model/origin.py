"""Whose weights a file holds, and which settings they were made for.

SoulX-FlashTalk and SkyReels V3 A2V have InfiniteTalk's very keys and shapes (`WanModel` in `multitalk_model.py` of the
one and in `transformer_a2v.py` of the other): only what a file calls itself tells them apart. That decides on sentences
and on a refusal, and on no number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...errors import UserError
from ..settings import SamplerSettings

TITLES = ("modelspec.title", "modelspec.architecture", "general.name")
"""Where headers have the model's name: safetensors by Stability's ModelSpec, GGUF by ggml."""
FLASHTALK_STEPS = 4
MOST_DISTILLED_STEPS = 8
"""With more, nobody means to run a model of four."""
FLASHTALK_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "steps": FLASHTALK_STEPS,
        "text_cfg": 1.0,
        "audio_cfg": 1.0,
        "sampler_name": "lcm",
        "scheduler": "simple",
        "shift": 5.0,
        "window_frames": 33,
        "motion_frames": 5,
        "color_correction": 1.0,
    }
)
"""Soul-AILab/SoulX-FlashTalk, `flash_talk/configs/infer_params.yaml` and `FlashTalkPipeline.generate`."""


@dataclass(frozen=True)
class Origin:
    """Weights as their makers publish them."""

    name: str
    advice: str = ""
    """A sentence on the sampler's settings, where its defaults are not right."""
    distilled_steps: int = 0
    """What the weights were distilled to; 0: they were not."""

    def misfit(self, settings: SamplerSettings) -> str | None:
        """A sentence where the sampler's settings are plainly those of other weights."""
        scales = {"text_cfg": settings.text_cfg, "audio_cfg": settings.audio_cfg}
        found = [f"{name} {value:g}" for name, value in scales.items() if value != 1]
        if settings.steps > MOST_DISTILLED_STEPS:
            found = [f"{settings.steps} steps", *found]
        if not self.distilled_steps or not found:
            return None
        made_for = f"{self.name} is distilled to {self.distilled_steps} steps without guidance"
        return f"{made_for}, but the sampler has {', '.join(found)}. {self.advice}"


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in settings.items()
    )


INFINITETALK = Origin("InfiniteTalk or MultiTalk")
FLASHTALK = Origin("SoulX-FlashTalk", f"Its settings in the sampler: {_listed(FLASHTALK_SETTINGS)}.", FLASHTALK_STEPS)
UNNAMED = Origin(
    "a model with InfiniteTalk's layout merged in, which does not say its name",
    f"If it is SoulX-FlashTalk, its settings in the sampler: {_listed(FLASHTALK_SETTINGS)}.",
)


def origin_of(path: Path, metadata: Mapping[str, str], merged: bool) -> Origin:
    """What a file of InfiniteTalk's layout calls itself: in its header, else in its name and folder.

    Args:
        path: of the file.
        metadata: the texts in its header.
        merged: whether the base model lies in the same file.

    Raises:
        UserError: it is SkyReels V3 A2V.
    """
    titles = " ".join(str(metadata.get(key, "")) for key in TITLES)
    for text in (titles, f"{path.parent.name} {path.name}"):
        letters = re.sub(r"[^a-z0-9]", "", text.lower())
        if "flashtalk" in letters:
            return FLASHTALK
        if "skyreels" in letters:
            raise UserError(
                f"{path.name} is SkyReels V3 A2V, which has InfiniteTalk's layout but a loop that this pack lacks (a "
                "first pass makes keyframes for all of the speech, one of them ends the picture condition of every "
                "window, the motion latents are noised anew at every step, and each window's last 12 frames are "
                "dropped): load InfiniteTalk's own weights or SoulX-FlashTalk."
            )
        if "infinitetalk" in letters or "multitalk" in letters:
            return INFINITETALK
    return UNNAMED if merged else INFINITETALK
