"""`filename_prefix`: its variables, and whether a file can be named so."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ...errors import UserError
from .workspace import WORKSPACE_PREFIX

LONGEST_NAME_BYTES = 255  # of ext4, APFS and NTFS alike
MOST_FOLDERS = 64
COUNTER_TEXT = "_00001_"

_DATE = re.compile(r"%date:([^%]*)%")
_DATE_PART = re.compile(r"yyyy|yy|MM?|dd?|hh?|mm?|ss?")
_NODE_VALUE = re.compile(r"%([^%.\n]+)\.([^%\n]+)%")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_NOT_IN_WINDOWS_NAMES = re.compile(r'[<>:"|?*]')
_NOT_IN_VALUES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')
_WINDOWS_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def expand_prefix(
    prefix: str, width: int, height: int, now: datetime.datetime, prompt: Mapping[str, Any] | None = None
) -> str:
    """`prefix` with ComfyUI's variables filled in.

    `%date:yyyy-MM-dd%` (letters yyyy yy M MM d dd h hh m mm s ss), `%year%` … `%second%`, `%width%`, `%height%`
    (pixels), and `%Node.widget%`: the widget's value in the node of that title or type in `prompt` (API
    format). The graph editor fills in dates and nodes only for core's own nodes, and an API client has no
    editor at all, so it is done here. Variables that are not known stay as they are.
    """
    text = _DATE.sub(lambda match: format_date(match.group(1), now), prefix)
    simple = {
        "width": str(width),
        "height": str(height),
        "year": f"{now.year}",
        "month": f"{now.month:02}",
        "day": f"{now.day:02}",
        "hour": f"{now.hour:02}",
        "minute": f"{now.minute:02}",
        "second": f"{now.second:02}",
    }
    for name, value in simple.items():
        text = text.replace(f"%{name}%", value)
    return _NODE_VALUE.sub(lambda match: _node_value(match, prompt or {}), text)


def format_date(pattern: str, now: datetime.datetime) -> str:
    """`now` written as the graph editor's `%date:…%` does: yyyy yy MM M dd d hh h mm m ss s (24 hours)."""
    parts = {"M": now.month, "d": now.day, "h": now.hour, "m": now.minute, "s": now.second}

    def part(match: re.Match[str]) -> str:
        letters = match.group()
        if letters[0] == "y":
            return f"{now.year:04}"[-len(letters) :]
        return str(parts[letters[0]]).rjust(len(letters), "0")

    return _DATE_PART.sub(part, pattern)


def _node_value(match: re.Match[str], prompt: Mapping[str, Any]) -> str:
    """The value that `%Node.widget%` stands for, fit for a file name; the variable itself if there is none."""
    title, widget = match.groups()
    nodes = [node for node in prompt.values() if isinstance(node, Mapping)]
    named = [node for node in nodes if _mapping(node.get("_meta")).get("title") == title]
    for node in named + [node for node in nodes if node.get("class_type") == title]:
        value = _mapping(node.get("inputs")).get(widget)
        if isinstance(value, str | int | float):
            return _NOT_IN_VALUES.sub("_", str(value))
    return match.group()


def _mapping(value: Any) -> Mapping[str, Any]:
    """What an API client sent where a mapping belongs."""
    return value if isinstance(value, Mapping) else {}


def check_prefix(prefix: str) -> None:
    """Refuse a prefix that cannot become a file inside the output folder.

    Raises:
        UserError: it is empty, leaves the output folder, or holds what file names cannot have.
    """
    parts = prefix_parts(prefix)
    if not parts:
        raise UserError(f"filename_prefix {prefix!r} names no file: give a name such as InfiniteTalk/talk.")
    if prefix.strip().startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", prefix) or ".." in parts:
        raise UserError(
            f"filename_prefix {prefix!r} leads out of the output folder: give a name inside it, without a drive, "
            "a leading slash or '..'."
        )
    if len(parts) > MOST_FOLDERS:
        raise UserError(f"filename_prefix has {len(parts) - 1} folders in each other: {MOST_FOLDERS} are the most.")
    for part in parts:
        _check_part(part)


def check_template(prefix: str) -> None:
    """As `check_prefix`, for a prefix whose variables are not filled in yet."""
    expanded = expand_prefix(prefix, 0, 0, datetime.datetime.now())
    check_prefix(_NODE_VALUE.sub("value", expanded))


def _check_part(part: str) -> None:
    """Refuse a folder's or file's name that the system cannot have."""
    windows = os.name == "nt"
    if part.lower().startswith(WORKSPACE_PREFIX):
        raise UserError(
            f"filename_prefix leads into a folder {WORKSPACE_PREFIX}…, which is for videos in the making and is "
            "cleared: choose another name."
        )
    if any("\ud800" <= letter <= "\udfff" for letter in part):
        raise UserError("filename_prefix holds half of a character (a surrogate), which no name can have: remove it.")
    if _CONTROL.search(part):
        raise UserError(f"filename_prefix holds a line break or another control character ({part!r}): remove it.")
    if windows and (_NOT_IN_WINDOWS_NAMES.search(part) or _WINDOWS_DEVICES.fullmatch(part) or part[-1] in ". "):
        raise UserError(f"filename_prefix holds {part!r}, which Windows cannot use as a name: choose another.")
    length = len(os.fsencode(part)) + len(COUNTER_TEXT) + len(".webm")
    if length > LONGEST_NAME_BYTES:
        raise UserError(
            f"The name {part[:20]}… in filename_prefix is {length} bytes long with its counter, and file systems "
            f"take {LONGEST_NAME_BYTES}: shorten it."
        )


def prefix_parts(prefix: str) -> list[str]:
    """Folder and file names of a prefix; `\\` separates as `/` does, so that Windows users' graphs travel."""
    return [part for part in PurePosixPath(prefix.replace("\\", "/")).parts if part not in ("", ".", "/")]
