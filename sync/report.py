"""What can be said about picture and sound of one video: the numbers behind the plot, and a sentence about them.

The way to them: the picture becomes cells of luma (`cells.py`) and the sound a loudness per frame (`loudness.py`). The
region that changes in step with the loudness is looked for, or given (`motion.py`), and of the ways in which it changes
the one that agrees best at any lag is taken for the opening of the mouth. How well it agrees is told beside what
unrelated signals of the same kind would reach by chance (`correlation.py`), for the whole and for stretches of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..video_io.read.audio_source import AudioSource
from ..video_io.read.frame_source import FrameSource
from .box import WHOLE_PICTURE, Box
from .cells import Cells, LumaGrid, watch
from .correlation import at_lags, chance_level, pearson
from .motion import Region, common_change, detrended_signal, find_region, modes_of_change, motion_energy
from .shot import Shot, compare
from .sound_level import STEADY_DB, SoundTrack, measure

PICTURE_CELLS, BOX_CELLS = 64, 16  # along the longer side
WAVE_COLUMNS = 2048
TREND_SECONDS = 4.0
MAX_LAG_SECONDS, MAX_LAG_FRAMES = 1.0, 60
MIN_FRAMES = 12
SECTION_SECONDS, MAX_SECTIONS = 3.0, 24
SPEECH_PERCENTILES = (5, 95)  # levels beyond are those of the neighbors' last or first sounds
DRIFT_SECONDS = 0.1
# ITU-R BT.1359: viewers notice sound from 45 ms before the picture or 125 ms after it on.
PICTURE_LATE_SECONDS, PICTURE_EARLY_SECONDS = 0.045, 0.125
# Independent tries among which the best is taken, for the level of chance. Lags: 2 s are 20 stretches of 0.1 s, over
# which speech is like itself. Times the ways of changing (`motion.MODES`) in a given box, times about 10 places where a
# mouth may be in a picture.
TRIES_OF_LAG, TRIES_IN_BOX, TRIES_IN_PICTURE = 20, 60, 600
SEAM_NEIGHBORS = 12
LIVELY_PERCENTILE = 90  # of the changes around a seam: mouths move in bursts, so more than the middle one is usual
STILL_CHANGE = 0.4  # levels of luma; a jump of the whole picture is seen from about two and a half times as much on


@dataclass(frozen=True, kw_only=True)
class Section:
    """A stretch of the video, frames `start` to `stop`.

    correlation: at the lag of the whole video; None where the sound is too steady to compare.
    lag: its own best lag in frames; None where that can be chance.
    """

    start: int
    stop: int
    correlation: float | None
    lag: int | None


@dataclass(frozen=True)
class Seam:
    """The first frame of a window, and the change of the picture there over that in the lively frames around it."""

    frame: int
    jump: float


@dataclass(frozen=True)
class Agreement:
    """How the opening of the mouth goes with the loudness.

    opening: [frames], of any scale, rising with the loudness.
    by_lag: correlation at the lags -max_lag … max_lag.
    chance: correlation that unrelated signals like these reach.
    """

    opening: np.ndarray
    by_lag: np.ndarray
    chance: float

    @property
    def max_lag(self) -> int:
        """Largest lag that was tried, in frames."""
        return len(self.by_lag) // 2

    @property
    def lag(self) -> int:
        """Best lag in frames; positive: the picture is later than the sound."""
        return int(np.argmax(self.by_lag)) - self.max_lag

    @property
    def best(self) -> float:
        """Correlation at the best lag."""
        return float(self.by_lag.max())

    @property
    def unshifted(self) -> float:
        """Correlation at lag 0."""
        return float(self.by_lag[self.max_lag])

    @property
    def certain(self) -> bool:
        """Whether it is more than chance."""
        return self.best > self.chance


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """Everything that the plot shows.

    Attributes:
        width, height: of the video in pixels.
        rate: frames per second.
        track: the sound on the frames.
        still: a frame of the video [h, w, 1 or 3] float32, 0 to 1, perhaps smaller.
        box, automatic: the part of the picture that is watched, and whether it was found or given.
        motion: mean change of luma (0 to 255) in the box from the frame before, [frames].
        common_change: the change that most of the picture shares, [frames].
        agreement: None where there is nothing to compare.
        sections, seams: see there; no sections without an agreement.
        scenes: first frames of the scenes after the first.
        shot: the comparison with the source of a dubbed video; None without one.
    """

    width: int
    height: int
    frame_rate: Fraction
    track: SoundTrack
    still: np.ndarray
    box: Box
    automatic: bool
    motion: np.ndarray
    common_change: np.ndarray
    agreement: Agreement | None
    sections: list[Section]
    seams: list[Seam]
    scenes: list[int]
    shot: Shot | None = None

    @property
    def frames(self) -> int:
        """Length of the video."""
        return len(self.motion)

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        if self.frames < MIN_FRAMES:
            return f"Too short: {self.frames} of the {MIN_FRAMES} frames that a comparison needs"
        if self.track.silent:
            return "Silence: there is no sound to compare the picture with"
        if self.track.steady:
            return f"Steady sound: its level changes by less than {STEADY_DB:g} dB, so there is nothing to compare"
        if self.agreement is None:
            return f"No motion: the picture stands still{'' if self.automatic else ' in the box'}"
        return self._compared(self.agreement)

    @property
    def drift(self) -> tuple[int, int] | None:
        """Usual lags of the first and the last third of the sections, in frames.

        None where they agree, or where half of the sections there have no certain lag.
        """
        third = math.ceil(len(self.sections) / 3)
        ends = self.sections[:third], self.sections[len(self.sections) - third :]
        lags = [[section.lag for section in end if section.lag is not None] for end in ends]
        if len(self.sections) < 3 or min(map(len, lags)) <= third / 2:
            return None
        first, last = (round(float(np.median(end))) for end in lags)
        return (first, last) if abs(last - first) > max(1, DRIFT_SECONDS * self.frame_rate) else None

    def _compared(self, agreement: Agreement) -> str:
        lag, best = agreement.lag, agreement.best
        if self.drift:
            first, last = self.drift
            return f"Drift: the lag goes from {first:+d} to {last:+d} frames, see the sections (above 0: picture late)"
        if not agreement.certain:
            return f"No clear agreement: the best r = {best:.2f} can be chance (it is below {agreement.chance:.2f})"
        seconds = float(lag / self.frame_rate)
        shift = f"{abs(lag)} {'frame' if abs(lag) == 1 else 'frames'} ({abs(seconds):.2f} s)"
        side = "late" if lag > 0 else "early"
        if abs(lag) > 1 and not -PICTURE_EARLY_SECONDS <= seconds <= PICTURE_LATE_SECONDS:
            more = " or more" if abs(lag) == agreement.max_lag else ""
            return f"Picture {side} by {shift}{more}: r = {best:.2f} there, {agreement.unshifted:.2f} at lag 0"
        where = f"the picture {shift} {side}" if lag else "at lag 0"
        return f"In sync: mouth and sound agree, r = {best:.2f} {'with ' if lag else ''}{where}"


def analyze(
    source: FrameSource,
    sound: AudioSource,
    box: Box | None,
    seams: Sequence[int] = (),
    *,
    shot: FrameSource | None = None,
    scenes: Sequence[int] = (),
    folder: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    check: Callable[[], None] = lambda: None,
) -> SyncReport:
    """Compare the motion of the mouth with the loudness of the sound.

    Frames and sound are read once, piece by piece; RAM holds some 150 MiB at any length.

    Args:
        source: the picture.
        sound: the sound, from the same time 0.
        box: where to look; None: where the picture goes with the sound.
        seams: first frames of the windows that the video is made of.
        shot: the video that this one dubs, to be compared outside of the box.
        scenes: first frames of its scenes; where one begins, no seam is judged.
        folder: for a temporary file of 9 kB per frame (the system's own folder if None).
        progress: called with frames done and frames in all; may raise to stop.
        check: called often; may raise to stop.

    Raises:
        UserError: frames or sound cannot be read or hold values that are not numbers.
    """
    grids = [LumaGrid(source.height, source.width, WHOLE_PICTURE, PICTURE_CELLS)]
    if box is not None:
        grids.append(LumaGrid(source.height, source.width, box, BOX_CELLS))
    watched = watch(source, grids, folder, progress)
    picture = _all_of(watched.cells[0])
    frames, frame_rate = len(picture.cells), source.frame_rate
    track = measure(sound, frames, frame_rate, WAVE_COLUMNS, check)
    reach = max(1, round(TREND_SECONDS / 2 * frame_rate))
    max_lag = min(round(MAX_LAG_SECONDS * frame_rate), MAX_LAG_FRAMES, frames // 4)
    comparable = frames >= MIN_FRAMES and not track.silent and not track.steady
    region = _all_of(watched.cells[-1])
    if box is None and comparable:
        region = find_region(region.cells, track.loudness(), max_lag, reach) or region
    tries = TRIES_IN_PICTURE if box is None else TRIES_IN_BOX
    agreement = _agreement(region, track, max_lag, reach, tries) if comparable else None
    changes = common_change(picture)
    size = source.height, source.width
    kept = None
    if shot is not None:
        cells = watched.cells[0]
        kept = compare(cells, size, frame_rate, shot, region.box, reach, folder=folder, progress=progress)
    return SyncReport(
        width=source.width,
        height=source.height,
        frame_rate=frame_rate,
        track=track,
        still=watched.still,
        box=region.box,
        automatic=box is None,
        motion=motion_energy(region),
        common_change=changes,
        agreement=agreement,
        sections=_sections(agreement, track, frame_rate, reach) if agreement else [],
        seams=[Seam(frame, _jump(changes, frame)) for frame in seams if 0 < frame < frames and frame not in scenes],
        scenes=[frame for frame in scenes if 0 < frame < frames],
        shot=kept,
    )


def _all_of(cells: Cells) -> Region:
    return Region(cells, np.arange(cells.rows * cells.columns), cells.box)


def _agreement(region: Region, track: SoundTrack, max_lag: int, reach: int, tries: int) -> Agreement | None:
    """Of the ways in which the region changes, the one that goes best with the loudness; None if nothing moves."""
    loudness = detrended_signal(track.loudness(), reach)
    found = []
    for mode in modes_of_change(region, reach):
        by_lag = at_lags(mode, loudness, max_lag)
        sign = 1 if by_lag.max() >= -by_lag.min() else -1  # whether opening makes cells brighter or darker is open
        found.append(Agreement(sign * mode, sign * by_lag, chance_level(mode, loudness, reach, tries)))
    return max(found, key=lambda agreement: agreement.best, default=None)


def _sections(agreement: Agreement, track: SoundTrack, frame_rate: Fraction, reach: int) -> list[Section]:
    """Equal stretches of about three seconds, longer ones where there would be too many."""
    opening, loudness = agreement.opening, detrended_signal(track.loudness(), reach)
    seconds = len(opening) / frame_rate
    count = min(max(1, round(seconds / Fraction(SECTION_SECONDS))), MAX_SECTIONS, len(opening))
    edges = [len(opening) * i // count for i in range(count + 1)]
    sections = []
    for start, stop in pairwise(edges):
        here = slice(start, stop)
        if np.ptp(np.percentile(track.level[here], SPEECH_PERCENTILES)) < STEADY_DB:
            sections.append(Section(start=start, stop=stop, correlation=None, lag=None))
            continue
        by_lag = at_lags(opening, loudness, min(agreement.max_lag, (stop - start) // 4), start, stop)
        certain = by_lag.max() > chance_level(opening, loudness, reach, TRIES_OF_LAG, stop - start)
        lag = int(np.argmax(by_lag)) - len(by_lag) // 2 if certain else None
        correlation = pearson(opening, loudness, agreement.lag, start, stop)
        sections.append(Section(start=start, stop=stop, correlation=correlation, lag=lag))
    return sections


def _jump(changes: np.ndarray, frame: int) -> float:
    """How much more the picture changes at `frame` than around it; below 1 nothing is seen of the seam.

    Args:
        changes: median change of luma from the frame before, [frames], see `common_change`.
        frame: first frame of a window.
    """
    around = np.concatenate((changes[max(1, frame - SEAM_NEIGHBORS) : frame], changes[frame + 1 :][:SEAM_NEIGHBORS]))
    lively = float(np.percentile(around, LIVELY_PERCENTILE)) if len(around) else 0.0
    return float(max(changes[frame], STILL_CHANGE) / max(lively, STILL_CHANGE))
