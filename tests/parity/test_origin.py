"""A file is called by what it calls itself, and a model of four steps is not run with forty without a word."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest
from safetensors.torch import load_file, save_file

from ..support.merged_models import gguf_file

FLASHTALK = "SoulX-FlashTalk"
WORKFLOWS = Path(__file__).parents[2] / "example_workflows" / "api"


@pytest.fixture(scope="module")
def parts(golden_dir):
    return load_file(golden_dir / "dit.safetensors"), load_file(golden_dir / "infinitetalk.safetensors")


def origin_of(path):
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    return load_infinitetalk(path).model.origin


def merged(parts, path: Path, title: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({**parts[0], **parts[1]}, path, metadata={"modelspec.title": title} if title else None)
    return path


def test_flashtalk_by_its_header(comfy_core, parts, tmp_path, caplog):
    caplog.set_level("INFO")
    assert origin_of(merged(parts, tmp_path / "model.safetensors", "SoulX-FlashTalk 14B")).name == FLASHTALK
    assert any("model.safetensors is SoulX-FlashTalk" in record.getMessage() for record in caplog.records)


def test_flashtalk_by_a_ggufs_name(comfy_core, parts, tmp_path):
    write = gguf_file(gguf.GGMLQuantizationType.F16, "SoulX FlashTalk 14B")
    assert origin_of(write(tmp_path, {**parts[0], **parts[1]})).name == FLASHTALK


@pytest.mark.parametrize("name", ["SoulX-FlashTalk-14B_bf16.safetensors", "SoulX-FlashTalk-14B/model.safetensors"])
def test_flashtalk_by_its_file_or_folder(comfy_core, parts, tmp_path, name):
    assert origin_of(merged(parts, tmp_path / name)).name == FLASHTALK


def test_what_a_header_says_counts_more_than_a_file_name(comfy_core, parts, tmp_path):
    path = merged(parts, tmp_path / "flashtalk.safetensors", "InfiniteTalk single, merged")
    assert origin_of(path).name.startswith("InfiniteTalk")


def test_skyreels_is_refused_by_its_name(comfy_core, parts, tmp_path):
    from infinitetalk.errors import UserError

    with pytest.raises(UserError, match=r"is SkyReels V3 A2V, which has InfiniteTalk's layout but a loop .* lacks"):
        origin_of(merged(parts, tmp_path / "SkyReels-V3-A2V-19B" / "model.safetensors"))


def test_a_merged_model_without_a_name_may_be_flashtalk(comfy_core, parts, tmp_path):
    origin = origin_of(merged(parts, tmp_path / "model.safetensors"))
    assert "does not say its name" in origin.name
    assert origin.advice.startswith("If it is SoulX-FlashTalk")


def test_infinitetalks_own_file_needs_no_advice(comfy_core, golden_dir):
    assert origin_of(golden_dir / "infinitetalk.safetensors").advice == ""


def test_forty_steps_with_guidance_on_flashtalk_are_noticed(comfy_core):
    from infinitetalk.wanvideo.model.origin import FLASHTALK as FLASHTALK_ORIGIN
    from infinitetalk.wanvideo.model.origin import FLASHTALK_SETTINGS, INFINITETALK, UNNAMED
    from infinitetalk.wanvideo.settings import SamplerSettings

    usual = SamplerSettings()
    told = FLASHTALK_ORIGIN.misfit(usual)
    found = "is distilled to 4 steps without guidance, but the sampler has 40 steps, text_cfg 5, audio_cfg 4."
    assert told.startswith(f"SoulX-FlashTalk {found}")
    for name, value in FLASHTALK_SETTINGS.items():
        assert f"{name} {value:g}" in told if isinstance(value, float) else f"{name} {value}" in told
    assert FLASHTALK_ORIGIN.misfit(SamplerSettings(**FLASHTALK_SETTINGS)) is None
    assert FLASHTALK_ORIGIN.misfit(SamplerSettings(**{**FLASHTALK_SETTINGS, "audio_cfg": 2.0})) is not None
    assert INFINITETALK.misfit(usual) is None
    assert UNNAMED.misfit(usual) is None


def test_the_template_has_flashtalks_settings(comfy_core):
    from infinitetalk.wanvideo.model.origin import FLASHTALK_SETTINGS

    template = json.loads((WORKFLOWS / "talking_picture_flashtalk.json").read_text(encoding="utf-8"))
    (sampler,) = [node["inputs"] for node in template.values() if node["class_type"] == "InfiniteTalkSampler"]
    assert {name: sampler[name] for name in FLASHTALK_SETTINGS} == dict(FLASHTALK_SETTINGS)
