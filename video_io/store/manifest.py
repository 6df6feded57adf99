"""The manifest of a run folder: which windows of frames are complete, and how to tell that they are whole."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ...timebase import exact_frame_rate
from ..durable import replace_durably

log = logging.getLogger(__name__)

FORMAT = "infinitetalk-frames"
VERSION = 1
MANIFEST_NAME = "manifest.json"
BACKUP_NAME = "manifest.backup.json"
MAX_MANIFEST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class RunSpec:
    """What a run is about. Two runs with the same spec and window keys give the same pixels.

    fingerprint: everything that decides the pixels of all windows alike (models, settings, pictures …).
    width, height: pixels. frame_rate: frames per second. frames: length of the finished video.
    """

    fingerprint: str
    width: int
    height: int
    frame_rate: Fraction
    frames: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one 8-bit RGB frame."""
        return self.width * self.height * 3

    def to_json(self) -> dict[str, Any]:
        """The spec in the manifest; `from_json` gives the same spec again, rates included."""
        return {
            "fingerprint": self.fingerprint,
            "width": self.width,
            "height": self.height,
            "fps": float(self.frame_rate),
            "frames": self.frames,
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> RunSpec:
        """The spec that a manifest holds. Raises ValueError, KeyError or TypeError for another one."""
        names = ("fingerprint", "width", "height", "frames")
        return cls(**{name: fields[name] for name in names}, frame_rate=exact_frame_rate(fields["fps"]))

    def first_link(self) -> str:
        """Start of the chain of window keys: what all windows share, without the length."""
        return _digest(self.fingerprint, str(self.width), str(self.height), repr(float(self.frame_rate)))


@dataclass(frozen=True)
class SavedState:
    """A state file: its size in bytes and its CRC-32."""

    size_bytes: int
    crc32: int


@dataclass(frozen=True)
class WindowRecord:
    """One complete window: link in the chain of keys, number of frames, CRC-32 of the frame file, state."""

    link: str
    frames: int
    crc32: int
    state: SavedState | None


@dataclass(frozen=True)
class Manifest:
    """The complete windows of a run, in order. Immutable: each new window makes a new manifest."""

    spec: RunSpec
    windows: tuple[WindowRecord, ...] = ()

    @property
    def frames_done(self) -> int:
        """Frames in the complete windows."""
        return sum(window.frames for window in self.windows)

    @property
    def complete(self) -> bool:
        """Whether all frames of the finished video are there."""
        return self.frames_done == self.spec.frames

    def cut(self, windows: int) -> Manifest:
        """The same run with its first `windows` windows only."""
        return replace(self, windows=self.windows[:windows])

    def with_window(self, window: WindowRecord, expired: int | None) -> Manifest:
        """The run with one more window, and without the state of the window number `expired`."""
        kept = tuple(replace(old, state=None) if index == expired else old for index, old in enumerate(self.windows))
        return replace(self, windows=(*kept, window))

    def save(self, folder: Path) -> None:
        """Write the manifest in one step, and then its backup in another: one of them is whole at any moment.

        Raises OSError when the manifest itself cannot be written; then the old one still holds.
        """
        windows = [asdict(window) for window in self.windows]
        document = {"format": FORMAT, "version": VERSION, "spec": self.spec.to_json(), "windows": windows}
        data = json.dumps(document, indent=1).encode()
        replace_durably(folder / MANIFEST_NAME, data)
        try:
            replace_durably(folder / BACKUP_NAME, data)
        except OSError as error:
            log.warning("The backup of the manifest in %s is one window old: %s", folder, error)


def load_manifest(folder: Path) -> Manifest | None:
    """The manifest of `folder`, or its backup where that is damaged; None (and a log line) without either."""
    for name in (MANIFEST_NAME, BACKUP_NAME):
        path = folder / name
        try:
            return _parse(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("Ignored the damaged or foreign manifest %s: %s", path, error)
    return None


def next_link(link: str, window_key: str) -> str:
    """Link of a window: the digest of the link before it and the window's own key."""
    return _digest(link, window_key)


def _parse(path: Path) -> Manifest:
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"it is larger than {MAX_MANIFEST_BYTES} bytes")
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    if document.get("format") != FORMAT or document.get("version") != VERSION:
        raise ValueError(f"its format is {document.get('format')!r} {document.get('version')!r}")
    spec = RunSpec.from_json(document["spec"])
    windows = tuple(_parse_window(entry) for entry in document["windows"])
    manifest = Manifest(spec, windows)
    whole_numbers = (spec.width, spec.height, spec.frames, *(window.frames for window in windows))
    if not all(type(number) is int and number > 0 for number in whole_numbers):
        raise ValueError("its sizes are not positive whole numbers")
    if not isinstance(spec.fingerprint, str) or manifest.frames_done > spec.frames:
        raise ValueError("its values contradict each other")
    return manifest


def _parse_window(entry: dict) -> WindowRecord:
    state = entry["state"]
    fields = {**entry, "state": SavedState(**state) if state is not None else None}
    return WindowRecord(**fields)


def _digest(*parts: str) -> str:
    """SHA-256 over the parts, each with its length, so that no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
