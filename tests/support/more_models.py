"""Tiny models beside those of the demo: files that must be refused, and a LoRA."""

from __future__ import annotations

from pathlib import Path

import tiny_models
from tiny_models import TinyWan, TinyWav2Vec

T2V = "tiny_wan2.1_t2v.safetensors"
OTHER_WIDTH = "tiny_wan2.1_i2v_wide.safetensors"
LARGE_WAV2VEC = "tiny_wav2vec2_large.safetensors"
LORA = "tiny_lora.safetensors"


def write_more_models(models: Path) -> None:
    """Models for the refusals, and a LoRA, which also lies where InfiniteTalk weights are expected."""
    base = TinyWan()
    tiny_models.write(models / "diffusion_models" / T2V, tiny_models.wan_transformer(TinyWan(in_channels=16), 11))
    tiny_models.write(models / "diffusion_models" / OTHER_WIDTH, tiny_models.wan_transformer(TinyWan(dim=384), 12))
    tiny_models.write(models / "wav2vec2" / LARGE_WAV2VEC, tiny_models.wav2vec(TinyWav2Vec(hidden=192), 13))
    for folder in ("loras", "model_patches"):
        tiny_models.write(models / folder / LORA, tiny_models.lora(base, 14))
