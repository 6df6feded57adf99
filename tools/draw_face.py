"""Draws the demo's picture as the faces that its models were trained on; they never saw this one.

`.venv/bin/python tools/draw_face.py` writes `demo/media/face.png`.
"""

from __future__ import annotations

import numpy as np
from in_process import ROOT
from PIL import Image
from training.faces import Face, Motion, render

TARGET = ROOT / "demo" / "media" / "face.png"
SEED = 2_000_008  # far from those of the training, which are below a million
SIDE = 512


def main() -> None:
    """Write the picture."""
    face = Face.random(np.random.default_rng(SEED))
    (picture,) = render(face, Motion.still(1), SIDE)
    Image.fromarray(picture).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
