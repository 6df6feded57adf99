"""Makes the modules of `cluster/` importable, behind everything else."""

from __future__ import annotations

import sys

from environment import ROOT

sys.path.append(str(ROOT / "cluster"))
