"""The one error type for a user's mistake, and how text of other people's making is shown."""

from __future__ import annotations

import re
import unicodedata

LONGEST_TEXT = 1000
"""Characters of a text that is shown; a path with all of its folders has room in it."""
SHOWN_END = 300
"""Of these, what is left of the end: there stands what to do."""

_LINE_BREAKS = re.compile(r"\s*[\t-\r\x1c-\x1f\x85\u2028\u2029]\s*")


class UserError(ValueError):
    """A mistake that the user can mend. The message is one sentence: what was found, what is needed, what to do.

    Values that came from elsewhere may stand in it as they are: it is shown and logged as `plain_text` has it.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(plain_text(sentence))


def plain_text(text: str) -> str:
    """A text as it can be shown and logged everywhere, with whatever values in it.

    One line; characters that are not to be seen (control characters, marks of direction) or that no encoding has (half
    of a surrogate pair) are written as escapes; of a long text the middle is left out.
    """
    if len(text) > LONGEST_TEXT:
        text = f"{text[: LONGEST_TEXT - SHOWN_END]} … {text[-SHOWN_END:]}"
    return "".join(_visible(character) for character in _LINE_BREAKS.sub(" ", text.strip()))


def plain_lines(text: str) -> str:
    """A text of several lines, each of them as `plain_text` has it."""
    return "\n".join(plain_text(line) for line in text.split("\n"))


def _visible(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode("ascii")
