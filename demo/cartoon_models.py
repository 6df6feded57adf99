"""The shipped models that really talk: tiny ones, trained on drawn faces and synthetic voices.

`demo/models/README.md` says how they were made and what they cannot do; `tools/train_vae.py` and
`tools/train_talk.py` make them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from environment import ROOT

FOLDER = ROOT / "demo" / "models"

BASE_I2V = "diffusion_models/cartoon_wan2.1_i2v.safetensors"
VAE = "vae/cartoon_wan2.1_vae.safetensors"
INFINITETALK = "model_patches/cartoon_infinitetalk.safetensors"
WAV2VEC = "wav2vec2/cartoon_wav2vec2.safetensors"

SIDE = 96  # pixels of the pictures that they were trained on
WINDOW_FRAMES = 33
TRAINED_MOTION_FRAMES = 9
MOTION_FRAMES = 5
"""Of a video. It wears out half as fast as with 9: what a window does not take over cannot be wrong."""


def copy_models(models: Path) -> None:
    """Copy the four files into a ComfyUI models folder."""
    for name in (BASE_I2V, VAE, INFINITETALK, WAV2VEC):
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(FOLDER / name, models / name)
