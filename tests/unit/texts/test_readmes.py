"""README.md and README.zh-CN.md say the same in the same order, and what they show is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
ORDER = ["Install", "Models", "Run", "Workflows"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
GIBIBYTE = 2**30 / 1e9
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SIZE = re.compile(r"\d+(?:\.\d+)? GB")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def parts(page: Path) -> list[str]:
    """The sections of a page, the part before the first heading among them."""
    return re.split(r"^## .+$", read(page), flags=re.MULTILINE)


def rows(section: str) -> list[int]:
    """For each row of a section's tables its number of columns."""
    return [line.count("|") for line in section.splitlines() if line.startswith("|")]


def test_both_have_the_same_sections_with_the_same_pictures_and_links():
    english, chinese = parts(ENGLISH), parts(CHINESE)
    assert len(english) == len(chinese)
    for ours, theirs in zip(english[1:], chinese[1:], strict=True):
        assert LINK.findall(ours) == LINK.findall(theirs)
    pictures = [[link for link in LINK.findall(part[0]) if link.endswith(".jpg")] for part in (english, chinese)]
    assert pictures[0] == pictures[1] != []


def test_both_have_the_same_tables_and_commands():
    for ours, theirs in zip(parts(ENGLISH), parts(CHINESE), strict=True):
        assert rows(ours) == rows(theirs)
        assert re.findall(r"```.*?```", ours, re.DOTALL) == re.findall(r"```.*?```", theirs, re.DOTALL)


def test_both_give_the_same_sizes():
    assert len(SIZE.findall(read(ENGLISH))) > 10
    assert SIZE.findall(read(ENGLISH)) == SIZE.findall(read(CHINESE))


def test_the_weights_that_a_card_holds_are_those_of_both_fp16_files():
    base, infinitetalk = (
        float(re.search(rf"^\| {row}.*?(\d+\.\d) GB \|", read(ENGLISH), re.MULTILINE)[1])
        for row in (r"Wan 2\.1 I2V 14B, 480p .*fp16", r"InfiniteTalk, two voices")
    )
    said = int(re.search(r"^(\d+) GB of that are weights", read(ENGLISH), re.MULTILINE)[1])
    assert said == round((base + infinitetalk) / GIBIBYTE)  # the table's peaks are in GiB


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=lambda page: page.name)
def test_the_templates_are_looked_for_where_the_editor_lists_them(page: Path):
    """Below the name of the folder in `custom_nodes`: git takes the repository's, the Manager the Registry's."""
    cloned = re.search(r"^git clone \S+/(\S+)$", read(page), re.MULTILINE)[1]
    published = re.search(r'^name = "(\S+)"$', read(ROOT / "pyproject.toml"), re.MULTILINE)[1]
    run = parts(page)[1 + ORDER.index("Run")]
    assert {f"`{cloned}`", f"`{published}`"} <= set(re.findall(r"`[^`\n]+`", run))


def test_finished_windows_take_the_same_room_on_every_page():
    pages = [ENGLISH, ROOT / "web" / "docs" / "InfiniteTalkSampler.md"]
    pages.append(ROOT / "tools" / "examples" / "note_texts" / "long_narration.en.md")
    assert [re.findall(r"(\d+) MB per second of", read(page)) for page in pages] == [["33"]] * len(pages)


def test_a_reader_installs_gets_the_models_and_runs_in_this_order():
    assert HEADING.findall(read(ENGLISH))[1 : 1 + len(ORDER)] == ORDER


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=lambda page: page.name)
def test_what_a_readme_links_in_the_repository_is_there(page: Path):
    linked = [link for link in LINK.findall(read(page)) if "://" not in link]
    assert linked
    assert [link for link in linked if not (ROOT / link).exists()] == []


def test_the_models_of_the_readme_are_those_of_the_talking_examples():
    for name in (
        "talking_picture",
        "talking_picture_lightx2v",
        "two_speakers",
        "two_speakers_found_faces",
        "dubbing",
        "long_narration",
        "storyboard",
    ):
        graph = (ROOT / "example_workflows" / f"{name}.json").read_text(encoding="utf-8")
        urls = set(re.findall(r'"url": "([^"]+)"', graph))
        assert urls, name
        for url in urls:
            assert url.removesuffix("?download=true") in read(ENGLISH)
