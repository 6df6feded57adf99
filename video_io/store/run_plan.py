"""The run that a job wants: which windows, and how each of them is recognized in other runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .manifest import Manifest, RunSpec, WindowRecord, next_chain_hash

KEEP_STATE_EVERY = 8
"""Every so many windows the state is kept for good.

What that costs: a state is 9 motion frames of float32, as large as 36 frames of 8 bits, and 8 windows of 81 frames add
8 · 72 = 576 frames to the video. 36 / 576 is 6 % of the frames' space; with 41 motion frames it is half.
"""

FRESH_STATES = 2
"""The states of so many windows at the end are there as well: one to go on from, one should that be damaged."""


@dataclass(frozen=True, kw_only=True)
class WindowKeys:
    """How the windows of a video are known.

    Attributes:
        keys: for each window of the whole video a text that covers what decides its pixels beyond the fingerprint and
            the windows before it (its sound, its picture, its number of frames).
        cuts: windows that need nothing of the ones before them, beside the first: the chain begins anew with each.
        share: the windows that the run is about; None: all.
        state_bytes: size of the state that is kept after a window.
    """

    keys: Sequence[str]
    cuts: Collection[int] = ()
    share: slice | None = None
    state_bytes: int = 0


@dataclass(frozen=True)
class RunPlan:
    """The run that a job wants. Without `known_by`, the fingerprint covers everything."""

    spec: RunSpec
    known_by: WindowKeys | None = None
    check: Callable[[], None] = field(default=lambda: None, compare=False)
    """Called before each finished window is read, and a long video has hundreds of gigabytes of them; may raise to
    stop."""

    @cached_property
    def family(self) -> tuple[str, ...]:
        """The chain hashes of all windows of the whole video that the run may be a share of."""
        hashes: list[str] = []
        if self.known_by is not None:
            for index, key in enumerate(self.known_by.keys):
                begins = index == 0 or index in self.known_by.cuts
                hashes.append(next_chain_hash(self.spec.first_chain_hash() if begins else hashes[-1], key))
        return tuple(hashes)

    @cached_property
    def hashes(self) -> tuple[str, ...] | None:
        """The chain hashes of the run's own windows; None where their number is not known."""
        if self.known_by is None:
            return None
        return self.family if self.known_by.share is None else self.family[self.known_by.share]

    @property
    def digest(self) -> str:
        """Sixteen hex digits that tell one video from another, also where all settings are the same."""
        windows = " ".join(self.hashes or ())
        return next_chain_hash(self.spec.first_chain_hash(), f"{self.spec.frames} {windows}")[:16]

    def bytes_left(self, windows_done: int, frames_done: int) -> int:
        """Disk that the rest of the run takes when so much of it is there: for its frames, and for its states, of which
        one more than stays is there while a window is written."""
        frames_left = self.spec.frames - frames_done
        if frames_left <= 0:
            return 0
        frames_bytes = frames_left * self.spec.frame_bytes
        if self.known_by is None or self.hashes is None:
            return frames_bytes
        states = (len(self.hashes) - windows_done) // KEEP_STATE_EVERY + FRESH_STATES + 1
        return frames_bytes + states * self.known_by.state_bytes

    def chain_hash(self, window: int, hash_before: str | None) -> str:
        """Chain hash of window `window`, after that of the one before (None: it is the first); empty beyond the end."""
        if self.hashes is not None:
            return self.hashes[window] if window < len(self.hashes) else ""
        return next_chain_hash(hash_before or self.spec.first_chain_hash(), f"{window} of {self.spec.frames} frames")

    def begins_chain(self, window: int) -> bool:
        """Whether window `window` of the run needs no state of the one before it."""
        if self.known_by is None:
            return window == 0
        return window == 0 or window + self._first in self.known_by.cuts

    def common_windows(self, manifest: Manifest) -> int:
        """How many windows at the beginning of `manifest` are the first ones of this run."""
        chain_hash = None
        for common, record in enumerate(manifest.windows):
            chain_hash = self.chain_hash(common, chain_hash)
            if record.chain_hash != chain_hash:
                return common
        return len(manifest.windows)

    def goes_on(self, manifest: Manifest) -> bool:
        """Whether `manifest` is of this very run, so that its folder can be continued."""
        return manifest.spec == self.spec and self.common_windows(manifest) == len(manifest.windows)

    def wanted(self, manifest: Manifest) -> list[WindowRecord]:
        """The windows of another run that are this run's, too, wherever they stand."""
        common = self.common_windows(manifest)
        return [record for at, record in enumerate(manifest.windows) if at < common or record.chain_hash in self._own]

    def is_related(self, manifest: Manifest) -> bool:
        """Whether another run has windows of the video that this run is a share of."""
        return any(record.chain_hash in self._all for record in manifest.windows)

    @cached_property
    def _own(self) -> frozenset[str]:
        return frozenset(self.hashes or ())

    @cached_property
    def _all(self) -> frozenset[str]:
        return frozenset(self.family)

    @property
    def _first(self) -> int:
        share = None if self.known_by is None else self.known_by.share
        return 0 if share is None or share.start is None else share.start
