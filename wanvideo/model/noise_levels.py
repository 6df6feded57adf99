"""The noise levels of Wan's timesteps, from the shift alone.

ComfyUI that pages weights keeps a copy of every table of a loaded model by its name. When another model sampling stands
in the same place, such as that of another `ModelSamplingSD3`, it gets the table of the one before (seen in 0.33), and
core's schedulers then give the noise levels of a shift that nobody has set any more.
"""

from __future__ import annotations

import copy

import comfy.model_patcher
import torch
from comfy.model_sampling import ModelSamplingDiscreteFlow
from torch import Tensor, nn


def tables_are_mixed_up() -> bool:
    """Whether this ComfyUI pages weights, which its `main.py` decides after this module was imported.

    Elsewhere a table is what the node that made it wanted, and is left alone.
    """
    plain = comfy.model_patcher.ModelPatcher
    return getattr(comfy.model_patcher, "CoreModelPatcher", plain) is not plain


def flow_sigmas(sampling: ModelSamplingDiscreteFlow) -> Tensor:
    """`[timesteps]` float32, rising to 1: as core makes it for this shift (`set_parameters` there), on the CPU."""
    steps = len(sampling.sigmas)
    return sampling.sigma((torch.arange(1, steps + 1, 1) / steps) * sampling.multiplier)


def with_own_table(sampling: nn.Module) -> nn.Module:
    """A copy of a model sampling whose table is that of its own shift; itself where there is nothing to mix up."""
    if not (isinstance(sampling, ModelSamplingDiscreteFlow) and tables_are_mixed_up()):
        return sampling
    own = copy.deepcopy(sampling)
    own.register_buffer("sigmas", flow_sigmas(sampling))
    return own
