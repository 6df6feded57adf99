"""Which inputs a voice's embeddings were computed from, as a short text: the same text, the same embeddings.

Not the embeddings themselves: a GPU adds numbers in an order of its own, and those that it computes twice differ in
their last bits. Whoever recognizes finished work by them never recognizes any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """A digest of all tensors of a model, each whole, with names, shapes and dtypes; on the CPU."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.detach().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def voice_digest(samples: Iterable[Tensor], *settings: Any) -> str:
    """A digest of a voice's samples, a piece at a time, and of what else decides its embeddings.

    Args:
        samples: `[channels, n]` float32 on the CPU each.
        settings: plain values; their `repr` counts.
    """
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=16)
    for piece in samples:
        # By sample, so that it does not matter where one piece ends and the next begins.
        digest.update(np.ascontiguousarray(piece.numpy().T).data)
    return digest.hexdigest()
