"""A picture that is no numbers is never kept: it would be a black one, and nobody would be told."""

from __future__ import annotations

from torch import Tensor

from ..errors import UserError
from ..weight_files import all_finite

BASE_MODEL_OVERFLOWS = (
    "its weights or a LoRA are damaged, or overflow in fp16, so load the model in bf16 or fp8, take out LoRAs and "
    "attention or cache nodes one by one, or download it again"
)
VAE_OVERFLOWS = (
    "its weights are damaged or overflow in fp16, so start ComfyUI with --bf16-vae or --fp32-vae, or download "
    "wan_2.1_vae.safetensors again"
)
CLIP_VISION_OVERFLOWS = "its weights are damaged or overflow in fp16, so download clip_vision_h.safetensors again"


def refuse_not_finite(tensor: Tensor, what: str, likely: str) -> None:
    """Refuse NaN and infinity; costs one pass over the memory.

    Args:
        tensor: of any shape.
        what: begins the sentence, "The VAE gave".
        likely: ends it: the likely cause and what to do.

    Raises:
        UserError: there is one.
    """
    if not all_finite(tensor):
        raise UserError(f"{what} numbers that are NaN or infinite: {likely}.")
