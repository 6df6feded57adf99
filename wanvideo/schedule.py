"""The noise schedule of the authors' sampler."""

from __future__ import annotations

import torch
from torch import Tensor

TRAIN_TIMESTEPS = 1000
INFINITETALK_SCHEDULE = "infinitetalk"
"""Its name beside those of core's schedulers."""


def infinitetalk_sigmas(steps: int, shift: float) -> Tensor:
    """Sigmas of the `infinitetalk` schedule, high to low, ending in 0.

    `linspace(1000, 1, steps)` timesteps, each moved towards noise by `shift · t / (1 + (shift - 1) · t)`
    (MeiGen InfiniteTalk, `timestep_transform` in `wan/multitalk.py`). The last step but one is therefore
    shift(0.001), not 0.

    Args:
        steps: number of steps, at least 1.
        shift: above 0; 7 for 480p and 11 for 720p in the authors' settings.

    Returns:
        `[steps + 1]` float32 in 0 … 1.
    """
    t = torch.linspace(TRAIN_TIMESTEPS, 1, steps, dtype=torch.float32) / TRAIN_TIMESTEPS
    return torch.cat([shift * t / (1 + (shift - 1) * t), torch.zeros(1)])
