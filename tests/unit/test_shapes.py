"""The check of shapes finds what arithmetic hides."""

from __future__ import annotations

import pytest
import torch

from ..support.shapes import check_shape, largest_difference


def test_the_sizes_of_the_names_are_told():
    assert check_shape(torch.zeros(1, 16, 5, 8), "1 16 frames width", frames=5) == {"frames": 5, "width": 8}


@pytest.mark.parametrize("axes", ["1 16 frames", "1 15 frames width", "1 16 width width", "1 16 width frames"])
def test_another_shape_fails(axes: str):
    with pytest.raises(AssertionError):
        check_shape(torch.zeros(1, 16, 5, 8), axes, frames=5)


def test_tensors_that_would_broadcast_are_not_compared():
    with pytest.raises(AssertionError, match=r"\(2, 3\) is compared with \(3,\)"):
        largest_difference(torch.zeros(2, 3), torch.zeros(3))
