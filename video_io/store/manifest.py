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
LARGEST_NUMBER = 2**32  # pixels of a side, frames


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """What a run is about. Two runs with the same spec and window keys give the same pixels.

    Attributes:
        fingerprint: everything that decides the pixels of all windows alike (models, settings, pictures …).
        width, height: pixels.
        frame_rate: frames per second.
        frames: length of the finished video.
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
        """The spec that a manifest holds.

        Raises:
            ValueError, KeyError, TypeError: it is none.
        """
        names = ("fingerprint", "width", "height", "frames")
        if not isinstance(fields["fps"], int | float):  # a fraction of a text can take for ever: "1e999999999"
            raise TypeError("its frame rate is no number")
        return cls(**{name: fields[name] for name in names}, frame_rate=exact_frame_rate(fields["fps"]))

    def first_chain_hash(self) -> str:
        """Start of the chain of window keys: what all windows share, without the length."""
        return _digest(self.fingerprint, str(self.width), str(self.height), repr(float(self.frame_rate)))


@dataclass(frozen=True, kw_only=True)
class SavedState:
    """A state file: its size in bytes and its CRC-32."""

    size_bytes: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class WindowRecord:
    """One complete window.

    Attributes:
        chain_hash: digest of the chain of keys up to this window, see `next_chain_hash`.
        frames: how many it adds to the video.
        crc32: of the frame file.
        state: what the window after it needs; None where it is not kept.
    """

    chain_hash: str
    frames: int
    crc32: int
    state: SavedState | None

    def to_json(self) -> dict[str, Any]:
        """The window in the manifest, where the hash has been called `link` since the first release."""
        state = None if self.state is None else asdict(self.state)
        return {"link": self.chain_hash, "frames": self.frames, "crc32": self.crc32, "state": state}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> WindowRecord:
        """The window that a manifest holds.

        Raises:
            KeyError, TypeError: it is none.
        """
        state = None if fields["state"] is None else SavedState(**fields["state"])
        return cls(chain_hash=fields["link"], frames=fields["frames"], crc32=fields["crc32"], state=state)


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

        Raises:
            OSError: the manifest itself cannot be written; the old one still holds.
        """
        windows = [window.to_json() for window in self.windows]
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


def next_chain_hash(chain_hash: str, window_key: str) -> str:
    """Chain hash of a window: the digest of the one before it and of the window's own key."""
    return _digest(chain_hash, window_key)


def _parse(path: Path) -> Manifest:
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"it is larger than {MAX_MANIFEST_BYTES} bytes")
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    if document.get("format") != FORMAT or document.get("version") != VERSION:
        raise ValueError(f"its format is {document.get('format')!r} {document.get('version')!r}")
    spec = RunSpec.from_json(document["spec"])
    windows = tuple(WindowRecord.from_json(entry) for entry in document["windows"])
    manifest = Manifest(spec, windows)
    whole_numbers = (spec.width, spec.height, spec.frames, *(window.frames for window in windows))
    if not all(type(number) is int and 0 < number <= LARGEST_NUMBER for number in whole_numbers):
        raise ValueError(f"its sizes are not whole numbers from 1 to {LARGEST_NUMBER}")
    if not isinstance(spec.fingerprint, str) or manifest.frames_done > spec.frames:
        raise ValueError("its values contradict each other")
    return manifest


def _digest(*parts: str) -> str:
    """SHA-256 over the parts, each with its length, so that no two lists of parts look alike."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()
