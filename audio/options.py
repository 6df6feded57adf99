"""What the user may choose from, for the library and the nodes' lists alike."""

from __future__ import annotations

import torch

MAX_VOICES = 4
COMBINE = ("parallel", "sequential")
PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
