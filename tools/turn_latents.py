"""Turns the latents of the demo's models towards the colors of ComfyUI's preview: `python tools/turn_latents.py`.

The VAE and the transformer are written anew. Their videos stay the same but for rounding, and for the noise, which is
another sample of the same kind. `train_vae` turns what it exports: this is for models that were trained before it did.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import in_process  # noqa: F401  (makes the demo's modules importable)
from cartoon_models import BASE_I2V, FOLDER, VAE
from safetensors.torch import load_file
from training.preview_colors import turn_for, turned_transformer, turned_vae
from training.talk_data import load_vae
from training.talk_model import write_half


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=FOLDER, help="a models folder with both files")
    models = parser.parse_args().models
    turn = turn_for(load_vae(models / VAE))
    vae = turned_vae(load_file(models / VAE), turn)
    transformer = turned_transformer(load_file(models / BASE_I2V), turn)
    write_half(vae, models / VAE)
    write_half(transformer, models / BASE_I2V)


if __name__ == "__main__":
    main()
