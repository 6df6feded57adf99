"""What a node shows while it works: text and a progress bar."""

from __future__ import annotations

import logging
from collections.abc import Callable

import comfy.model_management
import comfy.utils
from server import PromptServer

from ..errors import plain_lines, plain_text

log = logging.getLogger(__name__)

AS_TEXT = str.maketrans("<>", "‹›")
"""Editors show what is written on a node as HTML, and a file can be called by any."""


def say(node_id: str | None, text: str) -> None:
    """Write a sentence on a node and into the log."""
    log.info("InfiniteTalk: %s", plain_text(text))
    show_text(node_id, text)


def show_text(node_id: str | None, text: str) -> None:
    """Write on a node, for the client that has queued the job."""
    server = server_of_client()
    if node_id is not None and server is not None:
        server.send_progress_text(plain_lines(text).translate(AS_TEXT), node_id, server.client_id)


def server_of_client() -> PromptServer | None:
    """The server, where a client has queued the running job and can be told: in other graphs an id is another node.

    None where nobody has said who he is, or where the graph runs without a server.
    """
    server = getattr(PromptServer, "instance", None)
    return None if server is None or server.client_id is None else server


def progress_callback() -> Callable[[int, int], None]:
    """Core's progress bar as a callback (steps done, steps in all) that also lets an interrupt through."""
    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report
