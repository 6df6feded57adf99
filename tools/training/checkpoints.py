"""Stopping a training at any moment and going on later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save(file: Path, trained: dict[str, Any], **progress: float) -> None:
    """Write the states of models and optimisers with some numbers; the file appears when it is complete."""
    partial = file.with_suffix(".partial")
    states = {name: part.state_dict() for name, part in trained.items()}
    torch.save({"states": states, "progress": progress}, partial)
    partial.replace(file)


def load(file: Path, trained: dict[str, Any]) -> dict[str, float]:
    """Read the states back into the same models and optimisers; returns the numbers."""
    saved = torch.load(file, weights_only=True)
    for name, part in trained.items():
        part.load_state_dict(saved["states"][name])
    return saved["progress"]
