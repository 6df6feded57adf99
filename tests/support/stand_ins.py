"""Tiny models under the names of the real ones: so every example runs as it is shipped, but for sizes and steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import tiny_models
from examples.media import write_media
from tiny_models import TinyInfiniteTalk, TinyWan, TinyWav2Vec

from .tiny_animate import wan_animate
from .tiny_encoder_weights import EXTENSION, clip_vision, text_encoder
from .tiny_face_detector import face_detector

if TYPE_CHECKING:
    from tiny_models import Weights

SPEECH_SECONDS = 1.0

STAND_INS: dict[str, Callable[[], Weights]] = {
    "diffusion_models/wan2.1_i2v_480p_14B_fp8_scaled": lambda: tiny_models.wan_transformer(TinyWan(), 1),
    "diffusion_models/wan2.1_t2v_1.3B_fp16": lambda: tiny_models.wan_transformer(TinyWan(in_channels=16), 11),
    "diffusion_models/Wan2_2-Animate-14B_fp8_e4m3fn_scaled_KJ": lambda: wan_animate(20),
    "model_patches/wan2.1_infiniteTalk_single_fp16": lambda: tiny_models.infinitetalk(TinyInfiniteTalk(), 2),
    "model_patches/wan2.1_infiniteTalk_multi_fp16": lambda: tiny_models.infinitetalk(TinyInfiniteTalk(), 22),
    "audio_encoders/wav2vec2-chinese-base_fp16": lambda: tiny_models.wav2vec(TinyWav2Vec(), 3),
    "vae/wan_2.1_vae": lambda: tiny_models.wan_vae(4, 4),
    "loras/lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16": lambda: tiny_models.lora(TinyWan(), 14),
    "text_encoders/umt5_xxl_fp8_e4m3fn_scaled": lambda: text_encoder(23),
    "clip_vision/clip_vision_h": lambda: clip_vision(24),
    "detection/mediapipe_face_fp32": face_detector,
}


FLASHTALK = "SoulX-FlashTalk-14B"


def write_flashtalk(folder: Path) -> None:
    """A merged model in shards: the base and the audio part of the other stand-ins."""
    import torch

    from .merged_models import shards

    weights = tiny_models.wan_transformer(TinyWan(), 1) | tiny_models.infinitetalk(TinyInfiniteTalk(), 2)
    shards(folder, {name: torch.from_numpy(values) for name, values in weights.items()})


def write_stand_ins(base: Path) -> None:
    """Fill a ComfyUI base folder with models, media, and the extension that lets core load the small encoders."""
    write_media(base / "input", SPEECH_SECONDS)
    for name, make in STAND_INS.items():
        tiny_models.write(base / "models" / f"{name}.safetensors", make())
    write_flashtalk(base / "models" / "diffusion_models" / FLASHTALK)
    shutil.copytree(EXTENSION, base / "custom_nodes" / EXTENSION.name)
