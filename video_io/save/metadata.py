"""The workflow and the prompt inside the file, so that dropping it on the graph editor restores the graph.

They go through a file in ffmpeg's own metadata format: as arguments they would hit the system's limit
(128 KiB per argument on Linux, 32 KiB for the whole command on Windows).
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_SPECIAL = re.compile(r"([=;#\\\n])")


def write_ffmetadata(path: Path, tags: Mapping[str, Any]) -> None:
    """Write `tags` to `path` in ffmpeg's ffmetadata format, every value as JSON, as core's nodes store them.

    The JSON is plain ASCII (other letters as \\u escapes) and strict: infinities and NaN, which the graph
    editor's parser would stumble over, become null. A value that JSON cannot hold is left out.
    """
    lines = [";FFMETADATA1"]
    for key, value in tags.items():
        try:
            text = json.dumps(_strict(value), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            log.warning("The metadata %r are not stored in the file: %s", key, error)
            continue
        lines.append(f"{_escape(_NO_TEXT.sub('?', str(key)))}={_escape(text)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def _strict(value: Any) -> Any:
    """`value` with every float that JSON has no word for replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(entry) for entry in value]
    return value
