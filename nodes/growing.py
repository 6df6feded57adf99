"""A video of the finished windows, in the output folder and on the node, while the sampler makes the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import folder_paths

from ..video_io.read.long_sound import Audio
from ..video_io.store.growing_video import GrowingVideo
from .feedback import server_of_client

SUBFOLDER = "InfiniteTalk"
EVENT = "infinitetalk.growing_video"
"""What web/growing_video.js listens to."""


def growing_video_on(node_id: str | None, sound: Audio | None, say: Callable[[str], None]) -> GrowingVideo:
    """The video of a node, shown in the editor that has queued the job."""

    def show(path: Path | None) -> None:
        server = server_of_client()
        if server is None or node_id is None:
            return
        file = path and {"filename": path.name, "subfolder": SUBFOLDER, "type": "output"}
        server.send_sync(EVENT, {"node": node_id, "file": file}, server.client_id)

    return GrowingVideo(Path(folder_paths.get_output_directory()) / SUBFOLDER, sound, show, say)
