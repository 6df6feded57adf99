"""`docs/images/architecture.svg` shows the rooms and the imports that the code has."""

from __future__ import annotations

from xml.etree import ElementTree

import architecture_picture
import pytest
from architecture_picture import GROUND, PICTURE, ROOMS, drawing, heights, read_imports

DRAW_AGAIN = "run `python tools/architecture_picture.py`"


def drawn(kind: str) -> list[dict[str, str]]:
    """The facts of all elements of a class in the committed picture."""
    tree = ElementTree.parse(PICTURE)
    return [element.attrib for element in tree.iter() if element.get("class") == kind]


def test_the_arrows_of_the_picture_are_the_imports_of_the_code():
    shown = {(arrow["data-from"], arrow["data-to"]): arrow["data-for-types"] == "true" for arrow in drawn("arrow")}
    assert shown == read_imports().arrows, DRAW_AGAIN


def test_the_rooms_of_the_picture_are_those_of_the_code_and_say_who_needs_comfyui():
    shown = {room["data-room"]: room["data-needs-comfyui"] == "true" for room in drawn("room")}
    assert shown == {room: room in read_imports().need_comfyui for room in ROOMS}, DRAW_AGAIN


def test_the_picture_is_the_one_that_would_be_drawn_today():
    assert PICTURE.read_text(encoding="utf-8") == drawing(read_imports()), DRAW_AGAIN


def test_what_everybody_may_use_uses_nobody():
    assert not {source for source, _ in read_imports().arrows} & set(GROUND)


def test_a_room_stands_above_all_that_it_imports_alone():
    arrows = read_imports().arrows
    rows = heights(arrows)
    for source, target in arrows:
        assert rows[source] > rows[target] or (target, source) in arrows


def test_a_room_without_a_place_in_the_picture_is_named(monkeypatch: pytest.MonkeyPatch):
    known = {room: words for room, words in ROOMS.items() if room != "sync"}
    monkeypatch.setattr(architecture_picture, "ROOMS", known)
    with pytest.raises(ValueError, match="give sync a place"):
        read_imports()
