"""What the Registry, the Manager and pip read about the pack is right and agrees."""

from __future__ import annotations

import ast
import re
import sys
from typing import Any

from environment import ROOT, find_core

from ..support.registry import packed_files


def requirement_lines() -> list[str]:
    """The lines as the Manager takes them, each for one `pip install`."""
    return [line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() if line.strip()]


def test_requirements_are_those_of_the_project(project: dict[str, Any]):
    assert requirement_lines() == project["project"]["dependencies"]


def test_each_requirement_line_is_one_package_that_needs_no_compiler():
    # The Manager gives every line to pip by itself: no options, no other files, no comments behind.
    for line in requirement_lines():
        assert re.fullmatch(r"[a-z][a-z0-9_.-]*(>=\d+(\.\d+)*)?", line), line


def test_torch_is_left_to_comfyui():
    assert not [line for line in requirement_lines() if line.startswith("torch")]


def test_every_module_from_elsewhere_is_required_or_comes_with_comfyui():
    required = {module_of(line) for line in requirement_lines()}
    core = find_core()
    from_core = {module_of(line) for line in (core / "requirements.txt").read_text(encoding="utf-8").splitlines()}
    from_core |= {file.stem for file in core.iterdir() if file.suffix == ".py" or file.is_dir()}
    imported = {
        module.partition(".")[0]
        for file in packed_files()
        if file.endswith(".py") and not file.startswith("docs/")
        for module in modules_from_elsewhere(file)
    }

    assert imported - required - from_core == set()
    assert required - imported == set(), "required, but nothing imports it"


def module_of(requirement: str) -> str:
    """The module that a requirement's line brings."""
    name = re.split(r"[^A-Za-z0-9_.-]", requirement.strip(), maxsplit=1)[0].replace("-", "_")
    return {"Pillow": "PIL"}.get(name, name)


def modules_from_elsewhere(file: str) -> set[str]:
    """Modules that a file imports by absolute names, anywhere in it, without the standard library."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}


def test_the_registry_gets_what_it_shows(project: dict[str, Any]):
    comfy, urls = project["tool"]["comfy"], project["project"]["urls"]

    assert re.fullmatch(r"[a-z][a-z0-9-]*", project["project"]["name"])
    assert "comfy" not in project["project"]["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["project"]["version"])
    assert project["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert comfy["PublisherId"]
    assert comfy["DisplayName"]
    assert comfy["requires-comfyui"] == ">=0.3.75"
    assert all(url.startswith(urls["Repository"]) for url in urls.values())


def test_the_icon_is_where_the_registry_looks_for_it(project: dict[str, Any]):
    from PIL import Image

    repository = project["project"]["urls"]["Repository"].removeprefix("https://github.com/")
    address, _, path = project["tool"]["comfy"]["Icon"].partition("/main/")

    assert address == f"https://raw.githubusercontent.com/{repository}"
    with Image.open(ROOT / path) as icon:
        assert icon.width == icon.height == 400  # the most that the Registry takes
