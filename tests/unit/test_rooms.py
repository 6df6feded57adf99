"""Who may import whom: the floors of CONTRIBUTING.md, and the arrows between the rooms of `video_io`."""

from __future__ import annotations

from pathlib import PurePath

import pytest
from import_map import COMFYUI, imported_at_once, imports_of, library_files, module_name, room_of

# What each floor or room may import from the pack, beside itself. Who is not named here holds no code of the library.
SHARED = ("errors", "spool", "timebase", "weight_files")
MAY_IMPORT = {
    "errors": (),
    "weight_files": ("errors",),
    "timebase": ("errors",),
    "spool": ("errors",),
    "audio": (*SHARED, "video_io.read"),
    "video_io": SHARED,  # its own files, which all of its rooms may use
    "video_io.read": (*SHARED, "video_io"),
    "video_io.save": (*SHARED, "video_io", "video_io.read"),
    "video_io.store": (*SHARED, "video_io", "video_io.read", "video_io.save"),
    "sync": (*SHARED, "video_io", "video_io.read"),
    "wanvideo": (*SHARED, "audio", "video_io", "video_io.read", "video_io.store", "wanvideo.model"),
    "wanvideo.model": (*SHARED, "wanvideo"),
    "wanvideo.resume": (*SHARED, "video_io", "video_io.store", "wanvideo", "wanvideo.model"),
    "nodes": (
        *SHARED,
        *("audio", "sync", "video_io", "video_io.read", "video_io.save", "video_io.store"),
        *("wanvideo", "wanvideo.model", "wanvideo.resume"),
    ),
}
WITHOUT_COMFYUI = ("errors", "timebase", "spool", "weight_files", "audio", "sync", "video_io")
FILES = library_files()
PACK_ITSELF = PurePath("__init__.py")


@pytest.mark.parametrize("file", [file for file in FILES if file != PACK_ITSELF], ids=str)
def test_a_file_imports_only_what_its_room_may(file: PurePath):
    room = room_of(module_name(file), MAY_IMPORT)
    assert room in MAY_IMPORT, f"{file} lies in no known room"
    for found in imports_of(file):
        assert room_of(found.module, MAY_IMPORT) in (room, *MAY_IMPORT[room]), f"{file}:{found.line} {found.module}"


@pytest.mark.parametrize("file", [f for f in FILES if f.with_suffix("").parts[0] in WITHOUT_COMFYUI], ids=str)
def test_these_floors_load_without_comfyui(file: PurePath):
    assert not COMFYUI & set(imported_at_once(file))


def test_the_pack_itself_loads_its_nodes_only_when_comfyui_asks():
    assert [found.module for found in imports_of(PACK_ITSELF)] == ["nodes.InfiniteTalkExtension"]
    assert not (COMFYUI | {"torch", "numpy"}) & set(imported_at_once(PACK_ITSELF))


def test_the_rooms_are_those_that_hold_files():
    rooms = {room_of(module_name(file), MAY_IMPORT) for file in FILES} - {"__init__"}
    assert rooms | {"timebase"} == set(MAY_IMPORT)
