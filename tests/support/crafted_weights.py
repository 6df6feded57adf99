"""Weight files that are nearly right: one tensor of another rank, size, type or with other numbers."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Change = Callable[[Tensor], Any]


def with_one(value: float) -> Change:
    """The tensor with one number in it replaced."""

    def change(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed.view(-1)[-1] = value
        return changed

    return change


def grown(tensor: Tensor) -> Tensor:
    """One row more, and those of another tensor that is none."""
    return torch.cat([tensor, tensor[:1]])


CHANGES: dict[str, Change] = {
    "an axis more": lambda t: t[None],
    "an axis less": lambda t: t[0],
    "all axes more": lambda t: t[(None,) * 5],
    "a single number": lambda t: t.flatten()[0],
    "no rows": lambda t: t[:0],
    "no columns": lambda t: t[..., :0],
    "rows of nothing": lambda t: torch.zeros(1 << 20, 0),
    "a row more": grown,
    "half of the rows": lambda t: t[: len(t) // 2] if len(t) > 1 else t[:0],
    "int8": lambda t: (t * 100).to(torch.int8),
    "int64": lambda t: (t * 100).long(),
    "bool": lambda t: t > 0,
    "complex": lambda t: t.to(torch.complex64),
    "NaN": with_one(float("nan")),
    "infinity": with_one(float("inf")),
    "minus infinity": with_one(float("-inf")),
}
ONLY_PICKLED: dict[str, Change] = {
    "a text": lambda t: "weights",
    "None": lambda t: None,
    "a list": lambda t: t.tolist(),
    "a number": lambda t: 1.0,
    "petabytes that are one number": lambda t: torch.zeros(1).expand(1 << 25, 1 << 25),
    "the same shape from one number": lambda t: torch.zeros(1).expand(t.shape),
    "sparse": lambda t: t.to_sparse(),
    "a dictionary": lambda t: {"weight": t},
}


@dataclass(frozen=True)
class Crafted:
    """Weights with one of them changed."""

    key: str
    change: str
    weights: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.key}: {self.change}"


def crafted(weights: dict[str, Tensor], count: int, *, pickled: bool, seed: int = 0) -> Iterator[Crafted]:
    """`count` different ones, chosen from all tensors and changes; None of them can be used."""
    changes = CHANGES | (ONLY_PICKLED if pickled else {})
    every = [(key, change) for key in sorted(weights) for change in changes if weights[key].ndim]
    for key, change in random.Random(seed).sample(every, min(count, len(every))):
        changed = changes[change](weights[key])
        changed = changed.contiguous() if isinstance(changed, Tensor) and not pickled else changed
        yield Crafted(key, change, {**weights, key: changed})
