"""The noise schedule of the authors' sampler."""

from __future__ import annotations

import torch
from torch import Tensor

TRAIN_TIMESTEPS = 1000
INFINITETALK_SCHEDULE = "infinitetalk"
"""Its name beside those of core's schedulers."""


def steps_of_whole(steps: int, denoise: float) -> int:
    """Steps of the whole schedule, of which `steps` are the last ones, as core's samplers mean `denoise`."""
    return int(steps / denoise)


def infinitetalk_sigmas(steps: int, shift: float, denoise: float = 1.0) -> Tensor:
    """Sigmas of the `infinitetalk` schedule, high to low, ending in 0.

    `linspace(1000, 1, steps)` timesteps, each moved towards noise by `shift · t / (1 + (shift - 1) · t)`
    (MeiGen InfiniteTalk, `timestep_transform` in `wan/multitalk.py`). The last step but one is therefore
    shift(0.001), not 0.

    Args:
        steps: number of steps, at least 1.
        shift: above 0; 7 for 480p and 11 for 720p in the authors' settings.
        denoise: below 1, these are the last steps of a longer schedule (see `steps_of_whole`).

    Returns:
        `[steps + 1]` float32 in 0 … 1.
    """
    whole = steps_of_whole(steps, denoise)
    t = torch.linspace(TRAIN_TIMESTEPS, 1, whole, dtype=torch.float32)[-steps:] / TRAIN_TIMESTEPS
    return torch.cat([shift * t / (1 + (shift - 1) * t), torch.zeros(1)])
