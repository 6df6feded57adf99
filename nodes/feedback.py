"""What a node shows while it works: text and a progress bar."""

from __future__ import annotations

import logging
from collections.abc import Callable

import comfy.model_management
import comfy.utils
from server import PromptServer

from ..errors import plain_lines, plain_text

log = logging.getLogger(__name__)


def say(node_id: str | None, text: str) -> None:
    """Write a sentence on a node and into the log."""
    log.info("InfiniteTalk: %s", plain_text(text))
    show_text(node_id, text)


def show_text(node_id: str | None, text: str) -> None:
    """Write on a node; where the graph runs without a server there is nobody to read it."""
    if node_id is not None and getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.send_progress_text(plain_lines(text), node_id)


def progress_callback() -> Callable[[int, int], None]:
    """Core's progress bar as a callback (steps done, steps in all) that also lets an interrupt through."""
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report
