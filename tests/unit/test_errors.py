"""Sentences hold whatever values were given, and can be shown and logged all the same."""

from __future__ import annotations

import pytest
from infinitetalk.errors import LONGEST_TEXT, UserError, plain_lines, plain_text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\ud800", "\\ud800"),
        ("a\x1b[31mred\x00", "a\\x1b[31mred\\x00"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        ("two\nlines\r\n\tand more", "two lines and more"),
        ("\u2028one", "one"),
        ("\u8bf4\u8bdd \u7684 \u8138\u3000\u00e9\U0001f600", "\u8bf4\u8bdd \u7684 \u8138\u3000\u00e9\U0001f600"),
        ("C:\\models\\a.gguf", "C:\\models\\a.gguf"),
    ],
)
def test_what_cannot_be_seen_is_written_out(value: str, shown: str):
    assert plain_text(value) == shown
    assert str(UserError(value)) == shown
    assert shown.encode()


def test_of_a_long_value_the_middle_is_left_out_and_the_advice_stays():
    sentence = str(UserError(f"shift is {'9' * 100_000}, and 0.01 to 100 is needed: set it."))
    assert len(sentence) < LONGEST_TEXT + 10
    assert sentence.startswith("shift is 999")
    assert sentence.endswith(", and 0.01 to 100 is needed: set it.")


def test_lines_stay_lines():
    assert plain_lines("a\x00\nb") == "a\\x00\nb"
