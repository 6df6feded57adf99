"""The shipped talking picture, made small enough for tiny models on a CPU."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from environment import ROOT
from talking_picture import NEEDED_MODELS

if TYPE_CHECKING:
    from .editor import Editor, Graph

Models = dict[tuple[str, str], str]
"""Names of model files by node type and widget."""

NOT_TINY = ("CLIPLoader", "CLIPTextEncode", "CLIPVisionLoader", "LoraLoaderModelOnly")


def load(name: str) -> Graph:
    """One of the example workflows."""
    return json.loads((ROOT / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))


def make_small(editor: Editor, seconds: float, models: Models = NEEDED_MODELS, **sampler: Any) -> None:
    """Change the open talking picture: tiny models, no text and CLIP encoder, little speech, other sampler settings."""
    editor.remove(*NOT_TINY)
    editor.connect("UNETLoader", 0, "InfiniteTalkSampler", "model")
    for (node_type, widget), file in models.items():
        editor.set_widgets(node_type, **{widget: Path(file).name})
    # Speech and a seed of its own, or the server would answer the second editor with what the first one made.
    chance = uuid.uuid4().time_low
    editor.set_widgets("InfiniteTalkLoadAudio", start_time=chance % 1000 / 1000, duration=seconds)
    editor.set_widgets("InfiniteTalkSampler", resolution="custom", seed=chance, **sampler)
