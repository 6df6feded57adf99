"""What the user may set by environment variables: where finished frames lie, how long, and what may stay in RAM."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError

FOLDER_VARIABLE = "INFINITETALK_RUNS_FOLDER"
"""Folder of all runs."""
DAYS_VARIABLE = "INFINITETALK_RUNS_MAX_DAYS"
"""Runs that nobody used for so long are cleared."""
GIGABYTES_VARIABLE = "INFINITETALK_RUNS_MAX_GB"
"""Old runs together keep at most so much disk."""
RAM_SHARE_VARIABLE = "INFINITETALK_IMAGE_RAM_SHARE"
"""An IMAGE larger than this share of the free RAM is kept on disk."""

DEFAULT_DAYS = 14.0
DEFAULT_GIGABYTES = 100.0  # at 832x480 and 25 fps about 50 minutes of video
DEFAULT_RAM_SHARE = 0.25
LARGEST_LIMIT = 1e9  # days, or gigabytes: as good as none


@dataclass(frozen=True)
class RunLimits:
    """How long and how much is kept of runs that are not in use."""

    max_age_days: float = DEFAULT_DAYS
    max_total_bytes: int = int(DEFAULT_GIGABYTES * 10**9)


def runs_folder(default: Path) -> Path:
    """Where the runs lie.

    Raises:
        UserError: the home folder of somebody who is not known.
    """
    chosen = os.environ.get(FOLDER_VARIABLE, "").strip()
    if not chosen:
        return default
    try:
        return Path(chosen).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"The environment variable {FOLDER_VARIABLE} is {chosen!r}, whose home folder is not known: write the "
            "whole path."
        ) from error


def run_limits() -> RunLimits:
    """The limits that the user has set.

    Raises:
        UserError: a value that is no number.
    """
    days = _number(DAYS_VARIABLE, DEFAULT_DAYS)
    return RunLimits(days, int(_number(GIGABYTES_VARIABLE, DEFAULT_GIGABYTES) * 10**9))


def image_ram_share() -> float:
    """Share of the free RAM up to which an IMAGE stays in RAM.

    Raises:
        UserError: a value that is no number.
    """
    return _number(RAM_SHARE_VARIABLE, DEFAULT_RAM_SHARE)


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= LARGEST_LIMIT:
        raise UserError(
            f"The environment variable {variable} is {text!r}, and a number from 0 to {LARGEST_LIMIT:g} is needed: set "
            f"it to {default:g}, or remove it."
        )
    return number
