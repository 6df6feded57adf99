"""What `comfy-test lint` asks of the sources, so that they stay clean without it."""

from __future__ import annotations

import re

from environment import ROOT

from ..support.registry import tracked_files


def not_cp1252(text: str) -> set[str]:
    """Characters that Windows' Western code page lacks."""
    return {character for character in text if not character.encode("cp1252", "ignore")}


def test_every_character_of_a_python_file_can_be_shown_on_a_windows_console():
    texts = {file: (ROOT / file).read_text(encoding="utf-8") for file in tracked_files() if file.endswith(".py")}
    assert {file: found for file, text in texts.items() if (found := not_cp1252(text))} == {}


def test_the_editors_extensions_are_under_the_packs_name():
    for file in (ROOT / "web").glob("*.js"):
        for name in re.findall(r'registerExtension\(\{\s*name: "([^"]+)"', file.read_text(encoding="utf-8")):
            assert name.startswith("infinitetalk.")
