"""The notes beside an example: what to do, in two languages, and the models with their folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from editor_graph import EditorGraph

FOLDER = Path(__file__).resolve().parent / "note_texts"
LANGUAGES = {"en": "What to do", "zh": "怎么用"}
WIDTH = 480


@dataclass(frozen=True)
class Notes:
    """The notes of one example.

    `name` is that of its texts in `note_texts/`, `settings` stand below the models, `heights` are those of the notes in
    English, in Chinese and, if there are models, of that with models and settings.
    """

    name: str
    settings: str | None
    heights: tuple[int, ...]


def add_notes(graph: EditorGraph, notes: Notes) -> None:
    """Make the first column of a graph that has all of its nodes."""
    texts = {
        title: (FOLDER / f"{notes.name}.{language}.md").read_text("utf-8") for language, title in LANGUAGES.items()
    }
    if notes.settings is not None:
        texts["Models and settings · 模型和设置"] = _table_of_models(graph) + notes.settings
    graph.column(WIDTH)
    for (title, text), height in zip(texts.items(), notes.heights, strict=True):
        graph.put(graph.note(title, text), height)


def _table_of_models(graph: EditorGraph) -> str:
    models = {file["name"]: file for node in graph.nodes for file in node.models}
    rows = [f"| `{f['directory']}` | [{f['name'].removesuffix('.safetensors')}]({f['url']}) |" for f in models.values()]
    return "\n".join(["## Models · 模型", "", "| folder in `models` · 文件夹 | |", "|---|---|", *rows, ""])
