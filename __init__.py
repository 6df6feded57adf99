"""InfiniteTalk for ComfyUI: a picture and speech in, a talking video of any length out.

ComfyUI calls `comfy_entrypoint`; nothing else is imported before that, so that loading the pack costs nothing
and the library packages (`audio`, `video_io`) can be used without ComfyUI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    """Hand ComfyUI the nodes of this pack."""
    from .nodes import InfiniteTalkExtension

    return InfiniteTalkExtension()
