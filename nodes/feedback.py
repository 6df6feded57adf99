"""Text on a node in the graph editor."""

from __future__ import annotations

import logging

from server import PromptServer

log = logging.getLogger(__name__)


def say(node_id: str | None, text: str) -> None:
    """Write a sentence on a node and into the log."""
    log.info("InfiniteTalk: %s", text)
    show_text(node_id, text)


def show_text(node_id: str | None, text: str) -> None:
    """Write on a node; where the graph runs without a server there is nobody to read it."""
    if node_id is not None and getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.send_progress_text(text, node_id)
