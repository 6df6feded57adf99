"""Who has not installed requirements.txt reads what to do, whichever package a node meets first."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from infinitetalk.errors import UserError


@pytest.mark.parametrize("module", ["soxr", "pyloudnorm", "gguf", "einops"])
def test_a_package_that_is_not_installed_is_named_with_the_command_that_installs_it(
    comfy_core: Path, monkeypatch: pytest.MonkeyPatch, module: str
):
    from infinitetalk.nodes.checked import missing_packages_named

    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    sentence = rf"^The Python package {module} is not installed: run .* -m pip install -r"
    with pytest.raises(UserError, match=sentence), missing_packages_named():
        importlib.import_module(module)


def test_a_node_says_so(comfy_core: Path, monkeypatch: pytest.MonkeyPatch):
    from infinitetalk.nodes.split_speakers import InfiniteTalkSplitSpeakers

    def imports(**_: object) -> None:
        import soxr  # noqa: F401

    monkeypatch.setattr(InfiniteTalkSplitSpeakers, "run", imports)
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(UserError, match="soxr is not installed"):
        InfiniteTalkSplitSpeakers.execute(audio={}, segments="0 1 Anna", speakers="")


def test_another_pack_s_package_is_not_ours_to_name(comfy_core: Path):
    from infinitetalk.nodes.checked import missing_packages_named

    with pytest.raises(ModuleNotFoundError), missing_packages_named():
        importlib.import_module("a_package_of_another_pack")
