"""The pack's nodes. Each is an adapter: schema, checks, one call into the library."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .audio import InfiniteTalkAudioEmbeds, InfiniteTalkLoadAudio, InfiniteTalkWav2VecLoader, register_model_folder
from .model_loader import InfiniteTalkMergedModelLoader, InfiniteTalkModelLoader
from .sampler import InfiniteTalkSampler
from .save_video import SaveVideoWithAudio
from .scene import InfiniteTalkScene
from .speaker_masks import InfiniteTalkSpeakerMasks
from .split_speakers import InfiniteTalkSplitSpeakers
from .sync_plot import InfiniteTalkSyncPlot

NODES: list[type[io.ComfyNode]] = [
    InfiniteTalkWav2VecLoader,
    InfiniteTalkLoadAudio,
    InfiniteTalkAudioEmbeds,
    InfiniteTalkSplitSpeakers,
    InfiniteTalkModelLoader,
    InfiniteTalkMergedModelLoader,
    InfiniteTalkSpeakerMasks,
    InfiniteTalkScene,
    InfiniteTalkSampler,
    InfiniteTalkSyncPlot,
    SaveVideoWithAudio,
]


class InfiniteTalkExtension(ComfyExtension):
    """What ComfyUI asks the pack for."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes; their model folder is known to ComfyUI from here on."""
        register_model_folder()
        return NODES
