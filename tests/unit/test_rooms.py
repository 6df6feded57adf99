"""Who may import whom: the floors of CONTRIBUTING.md, and the arrows between the rooms of `video_io`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMFYUI = {"comfy", "comfy_api", "comfy_extras", "comfyui_version", "folder_paths", "latent_preview", "nodes", "server"}

# What each floor or room may import from the pack, beside itself. Who is not named here holds no code of the library.
SHARED = ("errors", "spool", "timebase")
MAY_IMPORT = {
    "errors": (),
    "timebase": ("errors",),
    "spool": ("errors",),
    "audio": SHARED,
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
WITHOUT_COMFYUI = ("errors", "timebase", "spool", "audio", "sync", "video_io")
FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("", "audio", "nodes", "sync", "video_io", "wanvideo")
    for path in (ROOT.glob("*.py") if folder == "" else (ROOT / folder).rglob("*.py"))
)


def room_of(module: str) -> str:
    """`video_io.store.manifest` -> `video_io.store`; a module of no room is its own (`errors`)."""
    names = module.split(".")
    return next((room for n in (2, 1) if (room := ".".join(names[:n])) in MAY_IMPORT), names[0])


def imports_of(file: Path) -> Iterator[tuple[str, ast.stmt]]:
    """Modules of the pack that a file imports, at any depth and for types too, as `folder.module`."""
    package = file.parent.parts
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            name = ".".join((*base, *(node.module or "").split("."))).strip(".")
            is_module = (ROOT / f"{name.replace('.', '/')}.py").is_file()
            yield from [(name, node)] if is_module else [(f"{name}.{n.name}".strip("."), node) for n in node.names]


def imported_at_once(file: Path) -> Iterator[str]:
    """Names of other packages that are imported when the module is: not in functions, not for types alone."""
    waiting: list[ast.AST] = [ast.parse((ROOT / file).read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        for_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]
        waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("file", [file for file in FILES if file != Path("__init__.py")], ids=str)
def test_a_file_imports_only_what_its_room_may(file):
    room = room_of(".".join(file.with_suffix("").parts))
    assert room in MAY_IMPORT, f"{file} lies in no known room"
    for module, node in imports_of(file):
        assert room_of(module) in (room, *MAY_IMPORT[room]), f"{file}:{node.lineno} imports {module}"


@pytest.mark.parametrize("file", [f for f in FILES if room_of(f.with_suffix("").parts[0]) in WITHOUT_COMFYUI], ids=str)
def test_these_floors_load_without_comfyui(file):
    assert not COMFYUI & set(imported_at_once(file))


def test_the_pack_itself_loads_its_nodes_only_when_comfyui_asks():
    assert [module for module, _ in imports_of(Path("__init__.py"))] == ["nodes.InfiniteTalkExtension"]
    assert not (COMFYUI | {"torch", "numpy"}) & set(imported_at_once(Path("__init__.py")))


def test_the_rooms_are_those_that_hold_files():
    rooms = {room_of(".".join(file.with_suffix("").parts)) for file in FILES} - {"__init__"}
    assert rooms | {"timebase"} == set(MAY_IMPORT)
