"""Every node, input and output is explained in English and Chinese, and nothing is explained that does not exist.

English stands in the schemas; Chinese in `locales/zh`, in the format of ComfyUI's editor. Help pages are
`web/docs/NODE.md` (English, which the editor falls back to for every language) and `web/docs/NODE/zh.md`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "web" / "docs"
HELP_PAGES = {"en": "{node}.md", "zh": "{node}/zh.md"}

# Widgets that the editor adds; core names them in Chinese for its own nodes only.
EDITOR_WIDGETS = {
    ("InfiniteTalkSampler", "control_after_generate"),
    ("InfiniteTalkLoadAudio", "audioUI"),
    ("InfiniteTalkLoadAudio", "upload"),
}
# Lists that depend on the user's files and on core.
OPEN_LISTS = {"model", "audio", "sampler_name", "scheduler"}
CHINESE = re.compile(r"[\u4e00-\u9fff]")
NUMBER = re.compile(r"(?<![A-Za-z])\d+(?:\.\d+)?")  # not those of I2V
# The other words for lips, masks, speakers and colors, and for the node that the Chinese editor calls UNet loader.
OTHER_TERMS = (
    "\u53e3\u578b", "\u8499\u7248", "\u63a9\u7801", "\u8bf4\u8bdd\u8005", "\u8272\u5f69",
    "\u52a0\u8f7d\u6269\u6563\u6a21\u578b",
)  # fmt: skip
# The editor compiles translations as vue-i18n messages, in which these are syntax.
MESSAGE_SYNTAX = re.compile(r"[@{}|]")


@pytest.fixture(scope="module")
def schemas(comfy_core: Path) -> dict[str, Any]:
    """The schema of every node by its id."""
    import utils.install_util  # noqa: F401  (as core's main does; its nodes put another `utils` in front)
    from infinitetalk.nodes import NODES

    found = {schema.node_id: schema for schema in (node.define_schema() for node in NODES)}
    assert found, "the pack has no nodes"
    return found


def chinese(name: str) -> dict[str, Any]:
    """One of the Chinese files."""
    return json.loads((ROOT / "locales" / "zh" / name).read_text(encoding="utf-8"))


def flat(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """All texts of a translation file with the path of keys that leads to each."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, (*path, key))
        else:
            yield (*path, key), value


def english(schemas: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str | None]]:
    """All texts of the schemas, with the path under which the editor looks for a translation."""
    for node, schema in schemas.items():
        yield (node, "display_name"), schema.display_name
        yield (node, "description"), schema.description
        for put in schema.inputs:
            yield (node, "inputs", put.id, "name"), put.display_name or put.id
            yield (node, "inputs", put.id, "tooltip"), put.tooltip
        for index, output in enumerate(schema.outputs):
            yield (node, "outputs", str(index), "name"), output.display_name or output.id
            yield (node, "outputs", str(index), "tooltip"), output.tooltip


def help_page(node: str, language: str) -> str:
    return (DOCS / HELP_PAGES[language].format(node=node)).read_text(encoding="utf-8")


def test_every_node_input_and_output_has_an_english_text(schemas: dict[str, Any]):
    assert [path for path, text in english(schemas) if not (text or "").strip()] == []


def test_the_chinese_texts_are_those_of_the_nodes_no_more_and_no_less(schemas: dict[str, Any]):
    expected = {path for path, _ in english(schemas)}
    expected |= {(node, "inputs", widget, "name") for node, widget in EDITOR_WIDGETS}
    texts = dict(flat(chinese("nodeDefs.json")))
    assert sorted(expected - texts.keys()) == [], "without a Chinese text"
    assert sorted(texts.keys() - expected) == [], "a Chinese text for what does not exist"


def test_chinese_texts_are_chinese():
    texts = [*flat(chinese("nodeDefs.json")), *flat(chinese("main.json"))]
    assert [path for path, text in texts if not text.strip()] == []
    explained = [(path, text) for path, text in texts if path[-1] in ("display_name", "description", "tooltip")]
    assert [path for path, text in explained if not CHINESE.search(text)] == []


def test_chinese_texts_have_one_term_for_one_thing():
    pages = [ROOT / "README.zh-CN.md", *(ROOT / "locales" / "zh").glob("*.json"), *DOCS.glob("*/zh.md")]
    pages += (ROOT / "tools" / "examples" / "note_texts").glob("*.zh.md")
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    others = [(page.name, word) for page, text in texts.items() for word in OTHER_TERMS if word in text]
    assert others == []


def test_the_editor_shows_chinese_texts_as_they_are_written():
    texts = [*flat(chinese("nodeDefs.json")), *flat(chinese("main.json"))]
    assert [path for path, text in texts if MESSAGE_SYNTAX.search(text)] == []


def test_a_number_in_an_english_text_is_also_in_the_chinese_one(schemas: dict[str, Any]):
    texts = dict(flat(chinese("nodeDefs.json")))
    lost = {
        path: numbers
        for path, text in english(schemas)
        if (numbers := set(NUMBER.findall(text)) - set(NUMBER.findall(texts[path])))
    }
    assert lost == {}


def test_categories_and_own_socket_types_have_chinese_names(schemas: dict[str, Any]):
    from infinitetalk.nodes import sockets

    own = {
        kind.io_type
        for kind in (
            sockets.Wav2Vec,
            sockets.InfiniteTalkModel,
            sockets.InfiniteTalkAudio,
            sockets.InfiniteTalkScenes,
        )
    }
    used = {put.io_type for schema in schemas.values() for put in [*schema.inputs, *schema.outputs]}
    assert own <= used
    main = chinese("main.json")
    assert main.keys() == {"nodeCategories", "dataTypes"}
    assert main["nodeCategories"].keys() == {part for s in schemas.values() for part in s.category.split("/")}
    assert main["dataTypes"].keys() == {kind for kind in used if kind.startswith("INFINITETALK_")} == own


def test_core_hands_the_chinese_texts_to_the_editor(comfy_core: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import environment
    import folder_paths
    import utils.install_util  # noqa: F401
    from app.custom_node_manager import CustomNodeManager

    environment.link_pack(tmp_path)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "custom_nodes", ([str(tmp_path)], set()))
    served = CustomNodeManager().build_translations()["zh"]
    assert served == {**chinese("main.json"), "nodeDefs": chinese("nodeDefs.json")}


@pytest.mark.parametrize("language", HELP_PAGES)
def test_every_node_has_a_help_page_that_names_each_input_and_each_choice(schemas: dict[str, Any], language: str):
    unnamed = []
    for node, schema in schemas.items():
        page = help_page(node, language)
        for put in schema.inputs:
            choices = [] if put.id in OPEN_LISTS else getattr(put, "options", None) or []
            unnamed += [(node, word) for word in (put.id, *choices) if f"`{word}`" not in page]
    assert unnamed == []


def test_every_help_page_names_each_output(schemas: dict[str, Any]):
    texts = dict(flat(chinese("nodeDefs.json")))
    unnamed = []
    for path, name in english(schemas):
        if path[1:2] == ("outputs",) and path[-1] == "name":
            unnamed += [path for row in [f"| `{name}` |"] if row not in help_page(path[0], "en")]
            unnamed += [path for row in [f"| {texts[path]} |"] if row not in help_page(path[0], "zh")]
    assert unnamed == []


def test_help_pages_call_nodes_and_inputs_as_the_editor_does(schemas: dict[str, Any]):
    texts = dict(flat(chinese("nodeDefs.json")))
    for node, schema in schemas.items():
        assert help_page(node, "en").splitlines()[0] == f"# {schema.display_name}"
        assert help_page(node, "zh").splitlines()[0] == f"# {texts[node, 'display_name']}"


def test_there_is_no_help_page_for_a_node_that_does_not_exist(schemas: dict[str, Any]):
    wanted = {DOCS / page.format(node=node) for node in schemas for page in HELP_PAGES.values()}
    assert {path for path in DOCS.rglob("*") if path.is_file()} == wanted
