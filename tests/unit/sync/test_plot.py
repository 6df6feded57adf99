"""The picture: nothing is cut, nothing overlaps, marks are where they belong."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from infinitetalk.sync import plot
from infinitetalk.sync.box import Box
from infinitetalk.sync.canvas import SCALE, Canvas
from infinitetalk.sync.report import SyncReport, analyze
from infinitetalk.video_io.read.audio_source import TensorAudio
from infinitetalk.video_io.read.image_frames import ImageFrames
from PIL import ImageFont

from ...support.plot_marks import marked_columns, marks_stand_at
from ...support.talking_faces import report_on, talking, voice

Text = tuple[str, tuple[float, float, float, float]]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Text]:
    """Every text that is drawn and the rectangle that its letters fill."""
    texts: list[Text] = []

    class WatchedCanvas(Canvas):
        def text(self, at: Any, text: str, size: float, color: Any, anchor: str = "la") -> None:
            font = ImageFont.load_default(size * SCALE)
            box = self._pen.textbbox((at[0] * SCALE, at[1] * SCALE), text, font, anchor)
            if text:
                texts.append((text, tuple(side / SCALE for side in box)))
            super().text(at, text, size, color, anchor)

    monkeypatch.setattr(plot, "Canvas", WatchedCanvas)
    return texts


def of_noise(frames: int, fps: float, width: int = 16, height: int = 16, seams: Any = (), **options: Any) -> SyncReport:
    """Pictures and a sound that have nothing in common, of any length and shape."""
    random = torch.Generator().manual_seed(1)
    images = torch.rand(frames, height, width, 1, generator=random)
    beat = (torch.arange(int(frames / fps * 2000) + 1) // 500 % 2).float()
    sound = {"waveform": (torch.rand(len(beat), generator=random) * beat)[None, None], "sample_rate": 2000}
    source = ImageFrames(images, Fraction(fps).limit_denominator(1001))
    return analyze(source, TensorAudio(sound), options.pop("box", None), seams)


def of_face(late: int, *, seconds: float = 14, silent: bool = False, **options: Any) -> SyncReport:
    spoken = voice(seconds, 1)
    audio = spoken.audio
    if silent:
        audio["waveform"] = audio["waveform"] * 0
    return report_on(talking(spoken.opening(round(25 * seconds), 25, late)), audio, **options)


REPORTS = {
    "in sync, with seams": lambda: of_face(0, seams=[81, 153, 225, 297]),
    "late": lambda: of_face(5, box=Box(0.51234, 0.51234, 0.31234, 0.31234)),
    "early": lambda: of_face(-25),
    "silent": lambda: of_face(0, silent=True),
    "one frame": lambda: of_noise(1, 25),
    "few frames": lambda: of_noise(5, 1000),
    "one pixel": lambda: of_noise(60, 25, 1, 1),
    "very wide": lambda: of_noise(60, 24000 / 1001, 900, 2),
    "very tall": lambda: of_noise(60, 59.94, 2, 900),
    "no agreement": lambda: of_noise(250, 25),
    "a rate of one": lambda: of_noise(40, 1),
    "a slow rate": lambda: of_noise(20, 0.01),
    "hours": lambda: of_noise(30_000, 2.5, seams=range(81, 30_000, 72)),
    "a quarter of an hour": lambda: of_noise(22_500, 25, seams=range(81, 22_500, 72)),
}


@pytest.mark.parametrize("name", REPORTS)
def test_no_text_is_cut_or_covers_another(written: list[Text], name: str):
    picture = plot.draw(REPORTS[name]())
    assert picture.shape == (1, plot.HEIGHT, plot.WIDTH, 3)
    assert picture.dtype == torch.float32
    assert 0 <= picture.min() <= picture.max() <= 1
    cut = [text for text, (x0, y0, x1, y1) in written if min(x0, y0) < 8 or x1 > plot.WIDTH - 8 or y1 > plot.HEIGHT - 8]
    assert cut == []
    covering = [
        (a, b)
        for (a, (ax0, ay0, ax1, ay1)), (b, (bx0, by0, bx1, by1)) in combinations(written, 2)
        if ax0 < bx1 and bx0 < ax1 and ay0 < by1 and by0 < ay1
    ]
    assert covering == []


def test_the_sentence_and_the_numbers_are_written_out(written: list[Text]):
    report = of_face(5, seams=[81])
    plot.draw(report)
    texts = [text for text, _ in written]
    agreement = report.agreement
    assert report.verdict in texts
    assert f"best r = {agreement.best:.2f} at lag +5; r = {agreement.unshifted:.2f} at lag 0" in texts
    assert [text for text in texts if str(report.box) in text]
    assert [text for text in texts if "350 frames at 25 fps, 0:14.00" in text and "192 x 128" in text]
    assert texts.count("lag +5") == len(report.sections)


def levels(picture: torch.Tensor) -> np.ndarray:
    """A plot as uint8 [H, W, 3]."""
    return (picture[0] * 255).round().to(torch.uint8).numpy()


@pytest.mark.parametrize("seams", [[], [100], [81, 153, 225, 297]])
def test_seams_are_marked_at_their_time(seams: list[int]):
    picture = levels(plot.draw(of_face(0, seams=seams)))
    assert marks_stand_at(marked_columns(picture, plot.SEAM), seams, 350)


def test_scenes_are_marked_and_no_seam_is_judged_there():
    report = of_face(0, seams=[81, 153, 225], scenes=[153, 400])
    picture = levels(plot.draw(report))
    assert marks_stand_at(marked_columns(picture, plot.SCENE), [153], 350)
    assert marks_stand_at(marked_columns(picture, plot.SEAM), [81, 225], 350)


def test_a_seam_at_which_the_picture_jumps_is_red():
    spoken = voice(14, 1)
    images = talking(spoken.opening(350, 25))
    images[153:] = (images[153:] + 0.08).clamp(0, 1)
    picture = levels(plot.draw(report_on(images, spoken.audio, seams=[81, 153])))
    assert marks_stand_at(marked_columns(picture, plot.SEAM), [81], 350)
    assert marks_stand_at(marked_columns(picture, plot.BAD_SEAM), [153], 350)


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [(0, 0, "0:00"), (59.999, 2, "1:00.00"), (61.5, 1, "1:01.5"), (3600, 0, "1:00:00"), (7325.25, 2, "2:02:05.25")],
)
def test_times_are_written_as_on_a_clock(seconds: float, decimals: int, text: str):
    assert plot.clock(seconds, decimals) == text
