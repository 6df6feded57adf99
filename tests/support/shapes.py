"""Shapes checked at run time: tensors broadcast, and a difference of unlike shapes looks like a number."""

from __future__ import annotations

from typing import Any


def check_shape(tensor: Any, axes: str, **sizes: int) -> dict[str, int]:
    """Compare a tensor's shape with its axes in words, such as `batch 16 latent_frames height width`.

    Args:
        tensor: anything with a `shape`.
        axes: names and numbers; a name that stands twice means the same size.
        sizes: what is known of the names.

    Returns:
        The size of every name.
    """
    wanted, known = axes.split(), dict(sizes)
    assert len(wanted) == len(tensor.shape), f"[{axes}] has {len(wanted)} axes, the tensor {tuple(tensor.shape)}"
    for axis, size in zip(wanted, tensor.shape, strict=True):
        expected = int(axis) if axis.isdecimal() else known.setdefault(axis, size)
        assert size == expected, f"{axis} is {size} instead of {expected}: [{axes}] of {tuple(tensor.shape)}, {sizes}"
    return known


def largest_difference(ours: Any, theirs: Any) -> float:
    """The largest absolute difference of two tensors on any device, which must have one shape."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} is compared with {tuple(theirs.shape)}"
    return float((ours.cpu() - theirs.cpu()).abs().max())
