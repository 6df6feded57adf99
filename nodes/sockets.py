"""The pack's own socket types."""

from __future__ import annotations

from comfy_api.latest import io

Wav2Vec = io.Custom("INFINITETALK_WAV2VEC")
InfiniteTalkModel = io.Custom("INFINITETALK_MODEL")
InfiniteTalkAudio = io.Custom("INFINITETALK_AUDIO")
InfiniteTalkScenes = io.Custom("INFINITETALK_SCENES")

CATEGORY = "InfiniteTalk"
