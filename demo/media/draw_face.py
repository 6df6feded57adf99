"""Draws `face.png`, the demo's picture, as the faces that its models were trained on; they never saw this one.

`python demo/media/draw_face.py`, in the demo's environment (it needs numpy and Pillow).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "training"))

from faces import Face, Motion, render  # noqa: E402

SEED = 2_000_008  # far from those of the training, which are below a million
SIDE = 512


def main() -> None:
    """Write the picture."""
    face = Face.random(np.random.default_rng(SEED))
    (picture,) = render(face, Motion.still(1), SIDE)
    Image.fromarray(picture).save(HERE / "face.png", optimize=True)


if __name__ == "__main__":
    main()
