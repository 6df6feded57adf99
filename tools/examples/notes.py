"""The notes beside an example: what to do, in two languages, and the models with their folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from examples.editor_graph import EditorGraph

FOLDER = Path(__file__).resolve().parent / "note_texts"
LANGUAGES = ("en", "zh")
WIDTH = 480


@dataclass(frozen=True)
class Notes:
    """The notes of one example.

    `name` is that of its texts in `note_texts/`, `settings` that of the table below its models (None: there are none),
    `heights` are those of the notes in English, in Chinese and, if there are models, of that with models and settings.
    """

    name: str
    settings: str | None
    heights: tuple[int, ...]


def add_notes(graph: EditorGraph, notes: Notes) -> None:
    """Make the first column of a graph that has all of its nodes."""
    titles = json.loads(_text("titles.json"))
    texts = {titles[language]: _text(f"{notes.name}.{language}.md") for language in LANGUAGES}
    if notes.settings is not None:
        texts[titles["settings"]] = _table_of_models(graph) + _text(f"{notes.settings}.settings.md")
    graph.column(WIDTH)
    for (title, text), height in zip(texts.items(), notes.heights, strict=True):
        graph.put(graph.note(title, text), height)


def _table_of_models(graph: EditorGraph) -> str:
    models = {file["name"]: file for node in graph.nodes for file in node.models}
    rows = [f"| `{f['directory']}` | [{f['name'].removesuffix('.safetensors')}]({f['url']}) |" for f in models.values()]
    return _text("models.md").format(rows="\n".join(rows))


def _text(name: str) -> str:
    """A file of `note_texts/`: all that is Chinese lies there."""
    return (FOLDER / name).read_text(encoding="utf-8")
