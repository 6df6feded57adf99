"""Who imports whom in the pack, read from the sources: nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("audio", "nodes", "sync", "video_io", "wanvideo")
"""Where the library and its nodes lie, beside the modules of the root."""
COMFYUI = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "comfyui_version",
    "folder_paths",
    "latent_preview",
    "nodes",
    "server",
}
"""Names under which ComfyUI's own modules are imported."""


@dataclass(frozen=True)
class Import:
    """One import of a module of the pack.

    Attributes:
        module: what is imported, as `folder.module`, or `folder.module.name` where the name may be a module too.
        line: where it stands in the file.
        for_types: whether only a type checker follows it.
    """

    module: str
    line: int
    for_types: bool


def library_files() -> list[PurePath]:
    """All modules of the library and its nodes, relative to the root."""
    found = [*ROOT.glob("*.py"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))]
    return sorted(file.relative_to(ROOT) for file in found)


def module_name(file: PurePath) -> str:
    """`video_io/store/manifest.py` -> `video_io.store.manifest`; of a package its folder's name."""
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str, rooms: Iterable[str]) -> str:
    """`video_io.store.manifest` -> `video_io.store`; a module of no room is its own (`errors`)."""
    names, known = module.split("."), set(rooms)
    return next((room for n in (2, 1) if (room := ".".join(names[:n])) in known), names[0])


def imports_of(file: PurePath) -> Iterator[Import]:
    """Modules of the pack that a file imports, at any depth and for types too."""
    package = file.parent.parts
    tree = _parsed(file)
    for_types = {id(inner) for node in ast.walk(tree) if _is_for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            name = ".".join((*base, *(node.module or "").split("."))).strip(".")
            is_module = (ROOT / f"{name.replace('.', '/')}.py").is_file()
            for module in [name] if is_module else [f"{name}.{alias.name}".strip(".") for alias in node.names]:
                yield Import(module, node.lineno, id(node) in for_types)


def imported_at_once(file: PurePath) -> Iterator[str]:
    """Names of other packages that are imported when the module is: not in functions, not for types alone."""
    waiting: list[ast.AST] = [_parsed(file)]
    while waiting:
        node = waiting.pop()
        if _is_for_types(node) or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]
        waiting.extend(ast.iter_child_nodes(node))


def _parsed(file: PurePath) -> ast.Module:
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
