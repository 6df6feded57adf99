"""What `docs/` and CONTRIBUTING.md say of the code is there: files, folders, names and links."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ABOUT_THE_CODE = [ROOT / "docs" / name for name in ("architecture.md", "glossary.md")]
LIBRARY = ("audio", "nodes", "sync", "video_io", "wanvideo")
# Folders with files of which a text speaks as of `example_workflows/NAME.json`.
FOLDERS = (
    *LIBRARY,
    "benchmarks",
    "cluster",
    "demo",
    "docs",
    "example_workflows",
    "locales",
    "tests",
    "tools",
    "web",
    ".github",
    ".ci",
)
MADE_WHEN_RUN = ("demo/output/",)
QUOTED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)\)")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
STAND_INS = re.compile(r"\b(NAME|NODE|VERSION|FILE)\b")


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def quoted_paths(page: Path) -> list[str]:
    """What a page puts in backticks and is a path in the repository."""
    words = [word for quoted in QUOTED.findall(text_of(page)) for word in quoted.split()]
    paths = [word.rstrip(",") for word in words if word.partition("/")[0] in FOLDERS and "/" in word]
    return [path for path in paths if path not in MADE_WHEN_RUN]


@cache
def words_of_the_code() -> frozenset[str]:
    """All names in the library and its nodes."""
    files = [*ROOT.glob("*.py"), *(file for folder in LIBRARY for file in (ROOT / folder).rglob("*.py"))]
    return frozenset(word for file in files for word in re.findall(r"\w+", file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_folder_that_a_page_names_exists(page: Path):
    missing = [path for path in quoted_paths(page) if not list(ROOT.glob(STAND_INS.sub("*", path.rstrip("/"))))]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file(page: Path):
    assert [link for link in LINK.findall(text_of(page)) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", ABOUT_THE_CODE, ids=lambda page: page.name)
def test_every_name_that_a_page_gives_to_a_thing_is_in_the_code(page: Path):
    named = {word for word in QUOTED.findall(text_of(page)) if NAME.fullmatch(word)}
    unknown = {name for name in named if not set(name.split(".")) <= words_of_the_code() and not (ROOT / name).exists()}
    assert unknown == set()


def test_the_architecture_names_every_room():
    text = text_of(ROOT / "docs" / "architecture.md")
    rooms = {file.parent.relative_to(ROOT).as_posix() for folder in LIBRARY for file in (ROOT / folder).rglob("*.py")}
    rooms -= {"sync"}  # it has no part in the making of a video
    assert [room for room in sorted(rooms) if f"{room}/" not in text and f"{room}`" not in text] == []
