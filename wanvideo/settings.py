"""What the user chose on the sampler."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import comfy.samplers

from ..errors import UserError
from .guidance import Guidance
from .schedule import INFINITETALK_SCHEDULE
from .windows import END_PADDINGS, EndPadding, check_window

LEAST_DENOISE = 0.05


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """The sampler's widgets that decide the pixels, beside the size: names and defaults are those on the node.

    Raises:
        UserError: a value that cannot work; the sentence names it.
    """

    seed: int = 0
    steps: int = 40
    text_cfg: float = 5.0
    audio_cfg: float = 4.0
    sampler_name: str = "euler"
    scheduler: str = INFINITETALK_SCHEDULE
    shift: float = 7.0
    window_frames: int = 81
    motion_frames: int = 9
    audio_scale: float = 1.0
    color_correction: float = 0.0
    apg: bool = False
    end_padding: EndPadding = "silence"
    denoise: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{field.name} is {value}, but it must be a number: set it.")
        if self.sampler_name not in comfy.samplers.SAMPLER_NAMES:
            raise UserError(f"There is no sampler named {self.sampler_name}: choose one from the list.")
        if self.scheduler not in (INFINITETALK_SCHEDULE, *comfy.samplers.SCHEDULER_NAMES):
            raise UserError(f"There is no scheduler named {self.scheduler}: choose one from the list.")
        if self.end_padding not in END_PADDINGS:
            raise UserError(f"There is no end_padding '{self.end_padding}': choose silence or mirror.")
        if not LEAST_DENOISE <= self.denoise <= 1:
            raise UserError(
                f"denoise is {self.denoise:g}, but it goes from {LEAST_DENOISE:g} (as the source video) to 1 (made "
                "anew): set it."
            )
        check_window(self.window_frames, self.motion_frames)

    @property
    def guidance(self) -> Guidance:
        """How hard the sampler is pushed towards prompt and audio."""
        return Guidance(self.text_cfg, self.audio_cfg, self.apg)
