"""Who speaks when: RTTM, subtitles and plain lines, and a sentence with the line for what cannot be read."""

from __future__ import annotations

from fractions import Fraction

import pytest
from infinitetalk.audio.segments import parse_segments
from infinitetalk.errors import UserError

TALK = [(0, 1.5, "Anna"), (1.25, 3, "Ben"), (3661.5, 3662, "Anna")]

PLAIN = """
0 1.5 Anna

1.25 3.0 Ben
1:01:01.5\t1:01:02\tAnna
"""
RTTM = """;; by a diarizer
SPKR-INFO talk 1 <NA> <NA> <NA> unknown Anna <NA> <NA>
SPEAKER talk 1 0.00 1.50 <NA> <NA> Anna <NA> <NA>
SPEAKER talk 1 3661.5 0.5 <NA> <NA> Anna <NA> <NA>
SPEAKER talk 1 1.25 1.75 <NA> <NA> Ben <NA>
"""
SRT = """\ufeff1
00:00:00,000 --> 00:00:01,500
[Anna]: Good evening: welcome.

2
00:00:01,250 --> 00:00:03,000
<i>Ben: Thank you.
I am at home: at last.</i>

3
01:01:01,500 --> 01:01:02,000
Anna: Bye.
"""
VTT = """WEBVTT - an interview
Kind: captions --> none

STYLE
::cue(v[voice="Anna"]) { color: red }

NOTE Ben: 0 --> 1
it is not a cue

first
00:00.000 --> 00:01.500 align:start position:10%
<v Anna>Good evening.</v>

00:01.250 --> 00:03.000
<v.loud Ben>Thank you</v>

01:01:01.500 --> 01:01:02.000
<v Anna>Bye.
"""


@pytest.mark.parametrize("text", [PLAIN, RTTM, SRT, VTT, PLAIN.replace("\n", "\r\n"), SRT.replace("\n", "\r\n")])
def test_every_format_says_the_same(text: str):
    assert [(s.start, s.end, s.speaker) for s in parse_segments(text)] == TALK


def test_times_are_exact():
    (segment,) = parse_segments("0:00.1 12.345 Anna Maria  Meier")
    assert (segment.start, segment.end, segment.speaker) == (Fraction(1, 10), Fraction(12345, 1000), "Anna Maria Meier")


def test_two_people_in_one_subtitle_both_have_its_time():
    found = parse_segments("1\n00:00:01,000 --> 00:00:02,000\n- Anna: Yes?\n- Ben: No.\n")
    assert [(s.start, s.end, s.speaker) for s in found] == [(1, 2, "Anna"), (1, 2, "Ben")]


@pytest.mark.parametrize("opening", ["\u5b89\u5a1c\uff1a", "\u5b89\u5a1c:", "- \u5b89\u5a1c\uff1a ", "[\u5b89\u5a1c]"])
def test_chinese_subtitles_name_who_speaks_with_their_own_colon_and_without_a_space(opening: str):
    (segment,) = parse_segments(f"1\n00:00:01,000 --> 00:00:02,000\n{opening}\u4f60\u597d\uff0c\u518d\u89c1\u3002\n")
    assert segment.speaker == "\u5b89\u5a1c"


def test_a_wide_colon_in_the_middle_of_a_sentence_names_nobody():
    with pytest.raises(UserError, match="does not say who speaks"):
        parse_segments("1\n00:00:01,000 --> 00:00:02,000\n\u4ed6\u8bf4\uff0c\u6700\u540e\uff1a\u597d\u3002\n")


def test_a_second_voice_in_a_subtitle_is_known_from_another_one():
    first, second = "1\n0:01 --> 0:02\nAnna: Yes?\nBen: No.\n", "2\n0:03 --> 0:04\nBen: But why: because.\n"
    found = parse_segments(f"{first}\n{second}")
    assert [s.speaker for s in found] == ["Anna", "Ben", "Ben"]


def test_a_colon_in_the_middle_of_a_sentence_names_nobody():
    with pytest.raises(UserError, match=r"subtitle at line 2 .* does not say who speaks"):
        parse_segments("1\n00:00:01,000 --> 00:00:02,000\nHe said, at last: yes.\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "There are no segments"),
        ("WEBVTT\n\n", "Line 1 of the segments is 'WEBVTT'"),
        ("0 1 Anna\n1 2", "Line 2 of the segments is '1 2'"),
        ("0 1 Anna\n\n2 now Ben", "Line 3 of the segments has 'now' for a time"),
        ("0 1 Anna\n-2 3 Ben", "Line 2 of the segments has '-2' for a time"),
        (f"0 {'9' * 5000} Anna", "Line 1 of the segments has '999"),
        ("0 nan Anna", "Line 1 of the segments has 'nan' for a time"),
        ("0 1 Anna\n3 2 Ben", "Line 2 of the segments ends at 2 s and begins at 3 s"),
        ("0 1 Anna\n2 2 Ben", "Line 2 of the segments ends at 2 s and begins at 2 s"),
        ("SPEAKER talk 1 0 1 <NA> <NA> A\nSPEAKER talk 1 2", "Line 2 of the segments has 4 fields"),
        ("SPEAKER talk 1 zero 1 <NA> <NA> A", "Line 1 of the segments has 'zero' for a time"),
        (
            "1\n00:00:00,000 --> 00:00:01,000\nAnna: a\n\n2\n0:0:2,0 --> soon\nBen: b",
            "Line 6 of the segments has 'soon'",
        ),
        ("1\n00:00:00,000 --> 00:00:01,000\nHello.\n", "The subtitle at line 2 of the segments does not say who"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, said: str):
    with pytest.raises(UserError) as refused:
        parse_segments(text)
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)
