"""Who takes what a node gives, in the graph that is running."""

from __future__ import annotations

from typing import Any


def is_taken(prompt: dict[str, Any], node_id: str | None, output: int) -> bool:
    """Whether any node of an API prompt takes an output (its index) of a node.

    Nodes for loops put copies of a node into the graph while it runs, which the prompt does not know.
    """
    return any(
        isinstance(value, list) and value[:2] == [node_id, output]
        for node in prompt.values()
        for value in node["inputs"].values()
    )
