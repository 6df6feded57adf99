"""Boxes as people write them."""

from __future__ import annotations

import pytest
from infinitetalk.errors import UserError
from infinitetalk.sync.box import Box


@pytest.mark.parametrize("text", ["", "  \n"])
def test_nothing_written_is_no_box(text: str):
    assert Box.parse(text) is None


@pytest.mark.parametrize("text", ["0.1 0.2 0.3 0.5", " 0.1,0.2, 0.3\n0.5 "])
def test_four_numbers_are_a_box(text: str):
    assert Box.parse(text) == Box(0.1, 0.2, 0.3, 0.5)


def test_a_box_reads_back_what_it_writes():
    assert Box.parse(str(Box(0.125, 0.5, 0.25, 0.5))) == Box(0.125, 0.5, 0.25, 0.5)


def test_shares_rounded_by_people_may_touch_the_edge():
    box = Box.parse("0.3333333 0 0.6666668 1")
    assert box.x + box.w == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.1 0.2 0.3", "is not four numbers"),
        ("0.1 0.2 0.3 0.4 0.5", "is not four numbers"),
        ("left 0 1 1", "is not four numbers"),
        ("120 80 300 400", "does not lie in the picture"),
        ("0.5 0.5 0.6 0.1", "does not lie in the picture"),
        ("-0.1 0 0.5 0.5", "does not lie in the picture"),
        ("0 0 0 1", "does not lie in the picture"),
        ("0 0 1 nan", "does not lie in the picture"),
        ("0 inf 1 1", "does not lie in the picture"),
    ],
)
def test_what_is_no_box_gets_a_sentence_with_an_example(text: str, found: str):
    with pytest.raises(UserError, match=found) as refused:
        Box.parse(text)
    assert text in str(refused.value)
    assert "0.4 0.55 0.2 0.15" in str(refused.value)
    assert str(refused.value).count(". ") == 0
