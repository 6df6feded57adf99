"""Known mouths and voices: which lag, which region, which sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import infinitetalk.sync.cells
import numpy as np
import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.sync.box import Box
from infinitetalk.sync.report import MIN_FRAMES

from ...support.talking_faces import (
    HEIGHT,
    MOUTH,
    MOUTH_OPEN,
    MOUTH_WIDTH,
    SAMPLE_RATE,
    WIDTH,
    report_on,
    talking,
    voice,
)

SECONDS = 6
MOUTH_BOX = Box(*(np.array([MOUTH[0] - 20, MOUTH[1] - 16, 40, 32]) / [WIDTH, HEIGHT, WIDTH, HEIGHT]))
FACE_BOX = Box(82 / WIDTH, 12 / HEIGHT, 76 / WIDTH, 100 / HEIGHT)
CURTAIN_BOX = Box(0, 0, 0.33, 1)


def clip(fps: float, late: int = 0) -> tuple[torch.Tensor, dict[str, Any]]:
    """A lively face whose mouth is some frames late, and its voice; the caller may change both."""
    return drawn(fps, late).clone(), voice(SECONDS, 1).audio


@cache
def drawn(fps: float, late: int) -> torch.Tensor:
    return talking(voice(SECONDS, 1).opening(round(SECONDS * fps), fps, late))


@pytest.mark.parametrize("fps", [12, 25, 30, 60])
@pytest.mark.parametrize("late", [0, 5, -5])
def test_the_lag_of_a_shifted_picture_is_found_exactly(fps: float, late: int):
    report = report_on(*clip(fps, late), fps)
    assert report.agreement.lag == late
    assert report.agreement.certain
    assert report.agreement.best > 0.85
    assert [section.lag for section in report.sections] == [late, late]


@pytest.mark.parametrize(
    ("late", "sentence"),
    [
        (0, "In sync: mouth and sound agree, r = {best:.2f} at lag 0"),
        (1, "In sync: mouth and sound agree, r = {best:.2f} with the picture 1 frame (0.04 s) late"),
        (-3, "In sync: mouth and sound agree, r = {best:.2f} with the picture 3 frames (0.12 s) early"),
        (2, "Picture late by 2 frames (0.08 s): r = {best:.2f} there, {unshifted:.2f} at lag 0"),
        (-5, "Picture early by 5 frames (0.20 s): r = {best:.2f} there, {unshifted:.2f} at lag 0"),
    ],
)
def test_the_verdict_names_the_side_and_the_shift(late: int, sentence: str):
    report = report_on(*clip(25, late))
    agreement = report.agreement
    assert report.verdict == sentence.format(best=agreement.best, unshifted=agreement.unshifted)


@pytest.mark.parametrize("seed", range(2, 8))
@pytest.mark.parametrize("fps", [12, 25])
@pytest.mark.parametrize("box", [None, MOUTH_BOX])
def test_another_voice_does_not_agree(seed: int, fps: float, box: Box | None):
    images, _ = clip(fps)
    report = report_on(images, voice(SECONDS, seed).audio, fps, box=box)
    assert report.agreement.best < 0.6
    assert report.verdict.startswith("No clear agreement")


@pytest.mark.parametrize("late", [0, 5])
def test_the_mouth_is_found_beside_a_swaying_curtain_and_blinking_eyes(late: int):
    box = report_on(*clip(25, late)).box
    left, top, right, bottom = box.x * WIDTH, box.y * HEIGHT, (box.x + box.w) * WIDTH, (box.y + box.h) * HEIGHT
    assert left < MOUTH[0] < right
    assert top < MOUTH[1] < bottom
    assert MOUTH_WIDTH * 0.5 < right - left < MOUTH_WIDTH * 1.5
    assert MOUTH_OPEN * 0.3 < bottom - top < MOUTH_OPEN * 1.8


@pytest.mark.parametrize("box", [MOUTH_BOX, FACE_BOX])
def test_a_given_box_is_watched_even_if_eyes_blink_in_it(box: Box):
    report = report_on(*clip(25, 5), box=box)
    assert report.box == box
    assert not report.automatic
    assert report.agreement.lag == 5
    assert report.agreement.best > 0.85


def test_a_box_beside_the_mouth_does_not_agree():
    report = report_on(*clip(25), box=CURTAIN_BOX)
    assert report.motion.mean() > 1, "the curtain sways"
    assert not report.agreement.certain


def test_bright_teeth_agree_as_a_dark_mouth_does():
    images, audio = clip(25, 5)
    negative, positive = report_on(1 - images, audio), report_on(images, audio)
    assert negative.agreement.lag == 5
    assert negative.agreement.best == pytest.approx(positive.agreement.best, abs=0.01)


def test_slow_changes_of_the_light_do_not_matter():
    images, audio = clip(25, 5)
    light = 1 - 0.5 * torch.linspace(0, 1, len(images))[:, None, None, None]
    assert report_on(images * light, audio).agreement.lag == 5


def test_a_growing_lag_shows_in_the_sections():
    fps, seconds = 25, 18
    spoken = voice(seconds, 3)
    late = np.linspace(0, 8, seconds * fps).round()
    openings = [spoken.opening(seconds * fps, fps, lag)[frame] for frame, lag in enumerate(late)]
    report = report_on(talking(np.array(openings)), spoken.audio, fps, box=MOUTH_BOX)
    assert len(report.sections) == 6
    for section in report.sections:
        assert section.lag == pytest.approx(late[section.start : section.stop].mean(), abs=1)
    assert report.drift == (2, 6), "medians of the first and the last two"
    assert report.verdict.startswith("Drift: the lag goes from +2 to +6 frames")


def test_a_section_without_speech_has_no_correlation():
    images, audio = clip(25)
    audio["waveform"][..., 3 * SAMPLE_RATE :] = 0
    first, second = report_on(images, audio).sections
    assert first.correlation > 0.8
    assert (second.correlation, second.lag) == (None, None)


def test_a_mouth_that_stops_while_the_voice_goes_on_has_no_correlation():
    images, audio = clip(25)
    images[75:] = images[75]
    first, second = report_on(images, audio, box=MOUTH_BOX).sections
    assert first.correlation > 0.8
    assert second.correlation < 0.3
    assert second.lag is None


def test_sections_get_longer_where_there_would_be_too_many():
    spoken = voice(120, 4)
    openings = torch.from_numpy(spoken.opening(3000, 25)).float()
    report = report_on(openings[:, None, None, None].expand(-1, 8, 8, 3), spoken.audio)
    assert len(report.sections) == 24
    assert [report.sections[0].start, report.sections[-1].stop] == [0, 3000]


@pytest.mark.parametrize("step", [0.0, 0.06])
def test_a_seam_counts_as_a_jump_only_where_the_picture_jumps(step: float):
    images, audio = clip(25)
    images[81:] = (images[81:] + step).clamp(0, 1)
    (seam,) = report_on(images, audio, seams=[81]).seams
    assert seam.frame == 81
    assert (seam.jump > 2.5) == bool(step)


def test_seams_outside_of_the_video_are_none():
    images, audio = clip(25)
    assert [seam.frame for seam in report_on(images, audio, seams=[0, 17, len(images)]).seams] == [17]


def quiet(images: torch.Tensor, audio: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    return images, {**audio, "waveform": torch.zeros_like(audio["waveform"])}


def hum(images: torch.Tensor, audio: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    time = torch.arange(audio["waveform"].shape[-1]) / SAMPLE_RATE
    return images, {**audio, "waveform": 0.3 * torch.sin(2 * torch.pi * 1000 * time)[None, None]}


def still(images: torch.Tensor, audio: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    return images[:1].expand(len(images), -1, -1, -1), audio


def first_frame(images: torch.Tensor, audio: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    return images[:1], audio


def few_frames(images: torch.Tensor, audio: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    return images[: MIN_FRAMES - 1], audio


def numbers(thing: Any) -> list[np.ndarray]:
    """All numbers in a report."""
    if is_dataclass(thing):
        return [array for field in fields(thing) for array in numbers(getattr(thing, field.name))]
    if isinstance(thing, list):
        return [array for entry in thing for array in numbers(entry)]
    return [] if thing is None else [np.asarray(thing, dtype=float)]


@pytest.mark.parametrize(
    ("spoil", "box", "verdict"),
    [
        (quiet, None, "Silence: there is no sound to compare the picture with"),
        (hum, None, "Steady sound: its level changes by less than 3 dB, so there is nothing to compare"),
        (still, None, "No motion: the picture stands still"),
        (still, MOUTH_BOX, "No motion: the picture stands still in the box"),
        (first_frame, None, "Too short: 1 of the 12 frames that a comparison needs"),
        (few_frames, MOUTH_BOX, "Too short: 11 of the 12 frames that a comparison needs"),
    ],
)
def test_where_there_is_nothing_to_compare_a_sentence_says_why(spoil: Any, box: Box | None, verdict: str):
    report = report_on(*spoil(*clip(25)), box=box)
    assert report.verdict == verdict
    assert report.agreement is None
    assert report.sections == []
    assert all(np.isfinite(array).all() for array in numbers(report))


def test_the_shortest_video_that_can_be_compared_gives_numbers():
    images, audio = clip(25)
    report = report_on(images[:MIN_FRAMES], audio)
    assert report.agreement is not None
    assert all(np.isfinite(array).all() for array in numbers(report))


def test_slides_that_last_longer_than_a_section_have_one_each_at_most():
    random = torch.Generator().manual_seed(1)
    report = report_on(
        torch.rand(MIN_FRAMES, 48, 64, 3, generator=random), {**voice(SECONDS, 1).audio, "sample_rate": 2000}, 0.2
    )
    assert len(report.sections) == MIN_FRAMES
    assert all(section.stop - section.start == 1 for section in report.sections)


def test_the_blocks_in_which_cells_are_read_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    images, audio = clip(25, 5)
    whole = report_on(images, audio)
    monkeypatch.setattr(infinitetalk.sync.cells, "BLOCK_FRAMES", 7)
    pieces = report_on(images, audio)
    assert pieces.box == whole.box
    np.testing.assert_allclose(pieces.motion, whole.motion, rtol=1e-5)
    np.testing.assert_allclose(pieces.agreement.by_lag, whole.agreement.by_lag, atol=1e-4)


def test_what_is_not_a_number_is_refused():
    images, audio = clip(25)
    audio["waveform"][..., 16_000] = float("nan")
    with pytest.raises(UserError, match=r"sample at 1\.000 s that is not a number"):
        report_on(images, audio)


MEMORY_TEST = """
import json, resource, sys
from fractions import Fraction

root, minutes = sys.argv[1], int(sys.argv[2])
sys.path.append(f"{root}/tools")
import in_process
in_process.load_pack()
import numpy as np
from infinitetalk.sync.plot import draw
from infinitetalk.sync.report import analyze

class Video:
    count, height, width, channels, frame_rate = minutes * 1500, 72, 128, 3, Fraction(25)
    def frames(self):
        noise = np.random.default_rng(0).integers(0, 256, (50, self.height, self.width, 3), np.uint8)
        for index in range(self.count):
            yield noise[index % 50]

class Noise:
    sample_rate, channels, notes = 8000, 1, ()
    def blocks(self):
        random = np.random.default_rng(1)
        for _ in range(minutes * 60):
            yield random.uniform(-1, 1, (8000, 1)) * random.random()

draw(analyze(Video(), Noise(), None))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(peak / (2**20 if sys.platform == "darwin" else 2**10)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the peak of a process's memory is asked of POSIX")
def test_a_long_video_needs_hardly_more_memory_than_a_short_one():
    root = Path(__file__).resolve().parents[3]

    def peak_mb(minutes: int) -> float:
        command = [sys.executable, "-I", "-c", MEMORY_TEST, str(root), str(minutes)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    short, long = peak_mb(1), peak_mb(12)  # 18,000 frames of 36 × 64 cells are 158 MiB
    assert long - short < 60
