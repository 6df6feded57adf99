"""The picture of a `SyncReport`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .canvas import Canvas, Color, Point
from .report import PICTURE_EARLY_SECONDS, PICTURE_LATE_SECONDS, SyncReport
from .sound_level import SILENT_DB

WIDTH, HEIGHT = 1280, 960
LEFT, RIGHT = 72, 1256
PAPER, PANEL, GRID = (250, 250, 248), (255, 255, 255), (222, 222, 222)
INK, FAINT = (34, 34, 34), (112, 112, 112)
WAVE, SOUND, MOUTH, MOTION, PICTURE = (
    (176, 205, 226), (0, 96, 160), (200, 60, 40), (247, 205, 190), (150, 150, 150)
)  # fmt: skip
SEAM, BAD_SEAM, SCENE = (150, 120, 190), (210, 0, 60), (20, 110, 110)
GOOD, FAIR, POOR = (60, 145, 75), (214, 160, 40), (200, 60, 40)
SMALL, NORMAL, LARGE, LINE = 13, 15, 25, 16
VISIBLE_JUMP = 2.5  # times the change in lively frames: a good seam has less than 1, a cut far more
QUIETEST_PEAK = 0.01  # a quieter wave is not drawn higher than it would be with this peak
TICK_SECONDS = (0.04, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
MOST_SEAM_LINES, MOST_SCENE_NUMBERS = 60, 40


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A rectangle of the picture in which x runs from `first` to `last` and y from `low` to `high`."""

    top: float
    bottom: float
    first: float
    last: float
    low: float = 0.0
    high: float = 1.0
    left: float = LEFT
    right: float = RIGHT

    def at(self, x: float, y: float) -> Point:
        """The point of the picture; y is held inside."""
        across = (x - self.first) / (self.last - self.first)
        up = min(max((y - self.low) / (self.high - self.low), 0), 1)
        return self.left + across * (self.right - self.left), self.bottom - up * (self.bottom - self.top)

    @property
    def columns(self) -> int:
        """Its width in pixels."""
        return round(self.right - self.left)

    def frame(self, canvas: Canvas, title: str) -> None:
        """Its empty rectangle under its title."""
        canvas.text((self.left, self.top - 6), title, NORMAL, INK, "ls")
        canvas.box((self.left, self.top), (self.right, self.bottom), PANEL, GRID)


def draw(report: SyncReport) -> Tensor:
    """Picture [1, HEIGHT, WIDTH, 3] float32, 0 to 1."""
    canvas = Canvas(WIDTH, HEIGHT, PAPER)
    seconds = float(report.frames / report.frame_rate)
    _head(canvas, report)
    sound = Panel(top=142, bottom=262, first=0, last=seconds, low=SILENT_DB, high=0)
    mouth = Panel(top=306, bottom=470, first=0, last=seconds)
    sections = Panel(top=514, bottom=606, first=0, last=seconds)
    _sound(canvas, sound, report)
    _mouth(canvas, mouth, report)
    _sections(canvas, sections, report)
    for panel in (sound, mouth):
        _seams(canvas, panel, report)
        _scenes(canvas, panel, report)
    _time_axis(canvas, sections)
    _lags(canvas, report)
    _watched(canvas, report)
    return torch.from_numpy(canvas.pixels())[None]


def _head(canvas: Canvas, report: SyncReport) -> None:
    seconds = float(report.frames / report.frame_rate)
    canvas.text((24, 20), report.verdict, LARGE, INK)
    box = "box found" if _found(report) else "whole picture" if report.automatic else "box given"
    frames = "1 frame" if report.frames == 1 else f"{report.frames} frames"
    facts = [
        f"{report.width} x {report.height}, {frames} at {float(report.frame_rate):.5g} fps, {clock(seconds, 2)}",
        f"sound {clock(report.track.seconds, 2)}",
        f"{box}: {report.box}",
    ]
    canvas.text((24, 58), "     ".join(facts), NORMAL, FAINT)
    canvas.text((24, 80), _seam_facts(report), NORMAL, FAINT)
    if report.shot is not None:
        canvas.text((24, 102), report.shot.verdict, NORMAL, FAINT)


def _found(report: SyncReport) -> bool:
    return report.automatic and report.agreement is not None


def _seam_facts(report: SyncReport) -> str:
    scenes = f" {len(report.scenes) + 1} scenes (full lines, numbered)." if report.scenes else ""
    return _of_windows(report) + scenes


def _of_windows(report: SyncReport) -> str:
    if not report.seams:
        return "No window seams are known of this video."
    worst = max(report.seams, key=lambda seam: seam.jump)
    where = f"{clock(float(worst.frame / report.frame_rate), 2)} (frame {worst.frame})"
    return (
        f"Window seams (dashed; red: a jump): {len(report.seams)}. All the picture changes there at most "
        f"{worst.jump:.1f} times as much as in lively frames around, at {where}."
    )


def _sound(canvas: Canvas, panel: Panel, report: SyncReport) -> None:
    panel.frame(canvas, "Sound")
    _legend(canvas, panel, [("wave", WAVE), ("level in dBFS per frame", SOUND)])
    for level in (-60, -40, -20):
        _rule(canvas, panel, level, f"{level}")
    track = report.track
    peak = max(track.high.max(), -track.low.min(), QUIETEST_PEAK)
    wave = replace(panel, last=len(track.low), low=-peak, high=peak)
    for column, (low, high) in enumerate(zip(track.low, track.high, strict=True)):
        if high > low:
            canvas.line([wave.at(column + 0.5, low), wave.at(column + 0.5, high)], WAVE)
    _curve(canvas, panel, track.level, SOUND)


def _mouth(canvas: Canvas, panel: Panel, report: SyncReport) -> None:
    title = "Mouth and loudness"
    if report.frames > panel.columns:
        title += f" (means of about {report.frames / panel.columns:.0f} frames)"
    panel.frame(canvas, title)
    legend = [("motion in the box", MOTION), ("change of all the picture", PICTURE)]
    most = max(_usual_most(report.motion), _usual_most(report.common_change)) * 2
    if most > 0:
        motion = replace(panel, low=0, high=most)
        _bars(canvas, motion, report.motion, MOTION)
        _curve(canvas, motion, report.common_change, PICTURE)
    if report.agreement is not None:
        legend += [("loudness", SOUND), ("opening of the mouth", MOUTH)]
        _curve(canvas, _fitted(panel, report.track.loudness()), report.track.loudness(), SOUND)
        _curve(canvas, _fitted(panel, report.agreement.opening), report.agreement.opening, MOUTH, 2)
    _legend(canvas, panel, legend)


def _sections(canvas: Canvas, panel: Panel, report: SyncReport) -> None:
    panel.frame(canvas, "Correlation in sections, and below it the lag of each where it is certain")
    for level in (0.5, 1):
        _rule(canvas, panel, level, f"{level:g}")
    for section in report.sections:
        left, right = (panel.at(float(frame / report.frame_rate), 0)[0] for frame in (section.start, section.stop))
        if section.correlation is None:
            text = _fitting(canvas, right - left, "no speech", "-")
            canvas.text(((left + right) / 2, panel.bottom - 6), text, SMALL, FAINT, "ms")
        else:
            _bar_of_section(canvas, panel, section.correlation, section.lag, left, right)


def _bar_of_section(canvas: Canvas, panel: Panel, r: float, lag: int | None, left: float, right: float) -> None:
    color = GOOD if r >= 0.6 else FAIR if r >= 0.3 else POOR
    _, top = panel.at(panel.first, max(r, 0.02))
    canvas.box((left + 2, top), (right - 2, panel.bottom), color)
    lines = [_fitting(canvas, right - left, f"{r:.2f}", f"{r:.1f}")]
    if lag is not None:
        lines.append(_fitting(canvas, right - left, f"lag {_signed(lag)}", _signed(lag)))
    inside = panel.bottom - top > LINE * len(lines) + 4
    first = top + LINE if inside else top - 5 - LINE * (len(lines) - 1)
    for index, line in enumerate(lines):
        at = ((left + right) / 2, first + index * LINE)
        canvas.text(at, line, SMALL, PANEL if inside else INK, "ms")


def _lags(canvas: Canvas, report: SyncReport) -> None:
    agreement = report.agreement
    most = max(agreement.max_lag if agreement else round(report.frame_rate), 1)
    panel = Panel(top=700, bottom=896, first=-most, last=most, low=-1, high=1, right=760)
    panel.frame(canvas, "Correlation over lag")
    early, late = (
        max(-most, min(most, float(s * report.frame_rate))) for s in (-PICTURE_EARLY_SECONDS, PICTURE_LATE_SECONDS)
    )
    canvas.box(panel.at(early, -1), panel.at(late, 1), (234, 244, 234))
    for level in (-1, -0.5, 0, 0.5, 1):
        _rule(canvas, panel, level, f"{level:g}")
    middle = (panel.left + panel.right) / 2
    canvas.text((panel.left, 902), f"{-most}", SMALL, FAINT, "ma")
    canvas.text((panel.right, 902), f"+{most} frames", SMALL, FAINT, "ra")
    canvas.text((middle, 902), "0", SMALL, FAINT, "ma")
    canvas.text((middle, 924), "picture early  <   green: nobody notices   >  picture late", SMALL, FAINT, "ma")
    if agreement is None:
        canvas.text((middle, 798), "nothing to compare", NORMAL, FAINT, "mm")
        return
    for level in (agreement.chance, -agreement.chance):
        canvas.line([panel.at(-most, level), panel.at(most, level)], FAIR)
    lags = range(-agreement.max_lag, agreement.max_lag + 1)
    canvas.line([panel.at(lag, r) for lag, r in zip(lags, agreement.by_lag, strict=True)], MOUTH, 2)
    x, y = panel.at(agreement.lag, agreement.best)
    canvas.box((x - 4, y - 4), (x + 4, y + 4), MOUTH)
    best = f"best r = {agreement.best:.2f} at lag {_signed(agreement.lag)}; r = {agreement.unshifted:.2f} at lag 0"
    canvas.text((panel.right, panel.top - 6), best, NORMAL, MOUTH, "rs")
    chance = panel.at(0, min(agreement.chance, 0.8))[1]
    canvas.text((panel.left + 6, chance - 3), "chance", SMALL, FAIR, "ls")


def _watched(canvas: Canvas, report: SyncReport) -> None:
    """A frame of the video with the box."""
    left, top, most_wide, most_high = 800, 700, RIGHT - 800, 224
    scale = min(most_wide / report.width, most_high / report.height)
    wide, high = max(1, round(report.width * scale)), max(1, round(report.height * scale))
    title = "What is watched (where the picture goes with the sound)" if _found(report) else "What is watched"
    canvas.text((left, top - 6), title, NORMAL, INK, "ls")
    canvas.paste(report.still, (left, top), (wide, high))
    box = report.box
    corner, opposite = (left + box.x * wide, top + box.y * high), (
        left + (box.x + box.w) * wide, top + (box.y + box.h) * high
    )  # fmt: skip
    canvas.box((corner[0] - 1, corner[1] - 1), (opposite[0] + 1, opposite[1] + 1), None, PANEL, 3)
    canvas.box(corner, opposite, None, MOUTH, 1.5)


def _seams(canvas: Canvas, panel: Panel, report: SyncReport) -> None:
    """Marks at the first frames of windows; only at the top where they are too many to see through."""
    many = len(report.seams) > MOST_SEAM_LINES
    for seam in report.seams:
        x, _ = panel.at(float(seam.frame / report.frame_rate), 0)
        visible = seam.jump >= VISIBLE_JUMP
        bottom = panel.top + 6 if many and not visible else panel.bottom
        canvas.dashed(x, panel.top, bottom, BAD_SEAM if visible else SEAM)


def _scenes(canvas: Canvas, panel: Panel, report: SyncReport) -> None:
    """A line where a scene begins, with its number at the top while there is room for it."""
    for number, frame in enumerate(report.scenes, start=2):
        x, _ = panel.at(float(frame / report.frame_rate), 0)
        column = math.floor(x) + 0.5
        canvas.line([(column, panel.top), (column, panel.bottom)], SCENE, 2)
        if len(report.scenes) <= MOST_SCENE_NUMBERS:
            canvas.text((x + 3, panel.top + 2), str(number), SMALL, SCENE)


def _time_axis(canvas: Canvas, panel: Panel) -> None:
    step = next((step for step in TICK_SECONDS if panel.last / step <= 12), TICK_SECONDS[-1])
    decimals = 2 if step < 0.1 else 1 if step < 1 else 0
    for tick in np.arange(0, panel.last + step * 1e-6, step):
        x, _ = panel.at(tick, 0)
        canvas.line([(x, panel.bottom), (x, panel.bottom + 5)], FAINT)
        if x < RIGHT - 40 or tick == 0:
            canvas.text((x, panel.bottom + 8), clock(tick, decimals), SMALL, FAINT, "ma")
    canvas.text((panel.right, panel.bottom + 8), "time", SMALL, FAINT, "ra")


def _curve(canvas: Canvas, panel: Panel, values: np.ndarray, color: Color, width: float = 1.5) -> None:
    """Values per frame, each in the middle of its frame."""
    points = [panel.at(x, y) for x, y in _per_column(panel, values)]
    if len(points) == 1:
        points = [panel.at(panel.first, values[0]), panel.at(panel.last, values[0])]
    canvas.line(points, color, width)


def _bars(canvas: Canvas, panel: Panel, values: np.ndarray, color: Color) -> None:
    """Values per frame as a filled area."""
    columns = _per_column(panel, values)
    half = (panel.last - panel.first) / len(columns) / 2
    for x, y in columns:
        canvas.box(panel.at(x - half, panel.low), panel.at(x + half, y), color)


def _per_column(panel: Panel, values: np.ndarray) -> list[Point]:
    """Middles and means of equal stretches: every frame, or every column of pixels where there are more frames."""
    count = min(panel.columns, len(values))
    edges = np.arange(count) * len(values) // count
    middles = panel.first + (np.arange(count) + 0.5) / count * (panel.last - panel.first)
    means = np.add.reduceat(values, edges) / np.diff(np.append(edges, len(values)))
    return list(zip(middles, means, strict=True))


def _rule(canvas: Canvas, panel: Panel, level: float, label: str) -> None:
    _, y = panel.at(panel.first, level)
    canvas.line([(panel.left + 1, y), (panel.right - 1, y)], GRID)
    canvas.text((panel.left - 8, y), label, SMALL, FAINT, "rm")


def _legend(canvas: Canvas, panel: Panel, entries: list[tuple[str, Color]]) -> None:
    """Names and colors above the panel's right end."""
    x = panel.right
    for name, color in reversed(entries):
        x -= canvas.text_width(name, SMALL)
        canvas.text((x, panel.top - 7), name, SMALL, INK, "ls")
        canvas.box((x - 18, panel.top - 15), (x - 6, panel.top - 7), color)
        x -= 36


def _usual_most(values: np.ndarray) -> float:
    """The highest value but for a few outliers, such as cuts."""
    return float(np.percentile(values, 98))


def _fitted(panel: Panel, values: np.ndarray) -> Panel:
    """The panel with a scale that the values fill, but for a few outliers."""
    low, high = np.percentile([y for _, y in _per_column(panel, values)], (1, 99))
    return replace(panel, low=low, high=max(high, low + 1e-12))


def _signed(lag: int) -> str:
    return f"{lag:+d}" if lag else "0"


def _fitting(canvas: Canvas, width: float, *texts: str) -> str:
    """The first text that fits the width, else none."""
    return next((text for text in texts if canvas.text_width(text, SMALL) <= width - 6), "")


def clock(seconds: float, decimals: int = 0) -> str:
    """Seconds as m:ss, with decimals if wanted, or h:mm:ss from an hour on."""
    units = round(seconds * 10**decimals)
    minutes, rest = divmod(units, 60 * 10**decimals)
    hours, minutes = divmod(minutes, 60)
    written = f"{rest / 10**decimals:0{3 + decimals if decimals else 2}.{decimals}f}"
    return f"{hours}:{minutes:02}:{written}" if hours else f"{minutes}:{written}"
