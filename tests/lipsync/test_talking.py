"""A cartoon that nobody trained on says what nobody trained on: its mouth follows, on a real server, in the saved file.

Everything is as a user does it: picture and sound are uploaded, the shipped graph is queued, and the MP4 that it saved
is decoded and measured against its own sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
from cartoon_models import MOTION_FRAMES, WINDOW_FRAMES
from comfy_client import ComfyClient
from evaluation import measure
from evaluation.clips import Clip, talking_prompt, two_speakers_prompt
from evaluation.finished import decode, run
from talking_picture import CARTOON_SAMPLER
from training.speech import RATE

CLIPS, SECONDS = 3, 6
FRAMES = SECONDS * measure.FPS
WINDOWS = measure.windows_of(FRAMES, WINDOW_FRAMES, MOTION_FRAMES)


@dataclass(frozen=True)
class Talk:
    """A clip, and what is in the file that was made of it."""

    clip: Clip
    frames: np.ndarray
    """uint8 `[FRAMES, SIZE, SIZE, 3]`."""
    drive: np.ndarray
    """Opening that the file's sound asks for, `[FRAMES]`."""

    @classmethod
    def made(cls, client: ComfyClient, clip: Clip, folder: Path, **sampler: float) -> Talk:
        file, _ = run(client, talking_prompt(client, clip, folder, **sampler))
        decoded = decode(file)
        assert len(decoded.frames) == FRAMES
        return cls(clip, decoded.frames, measure.opening_for(decoded.sound, decoded.sample_rate, FRAMES))

    @cached_property
    def opening(self) -> np.ndarray:
        """Of the mouth, `[FRAMES]`."""
        return measure.mouth_opening(self.frames, self.clip.face)

    @cached_property
    def psnr(self) -> np.ndarray:
        """Of all but the mouth, `[FRAMES]` dB."""
        return measure.outside_psnr(self.frames, self.clip.face)


@pytest.fixture(scope="module")
def talks(speaker: None, client: ComfyClient, tmp_path_factory: pytest.TempPathFactory) -> list[Talk]:
    folder = tmp_path_factory.mktemp("clips")
    return [Talk.made(client, Clip.held_out(number, SECONDS), folder) for number in range(CLIPS)]


def test_the_mouths_follow_the_sound(talks: list[Talk]):
    r = [measure.pearson(talk.opening, talk.drive) for talk in talks]
    assert np.mean(r) >= measure.MEAN_R, r
    assert min(r) >= measure.LEAST_R, r


def test_they_are_neither_early_nor_late_in_any_window(talks: list[Talk]):
    for talk in talks:
        assert abs(measure.correlation_over_lags(talk.opening, talk.drive).best_lag) <= measure.LAG_FRAMES
        lags = measure.window_lags(talk.opening, talk.drive, WINDOWS)
        assert all(lag is None or abs(lag) <= measure.LAG_FRAMES for lag in lags), lags


def test_the_last_window_is_as_good_as_the_first(talks: list[Talk]):
    openings, drives = [talk.opening for talk in talks], [talk.drive for talk in talks]
    first, last = (measure.r_within(openings, drives, [WINDOWS[index]] * CLIPS) for index in (0, -1))
    assert last >= first - measure.WORSE_AT_END


def test_the_sound_of_another_clip_does_not_fit_at_any_time(talks: list[Talk]):
    pairs = [(talk, other) for talk in talks for other in talks if other is not talk]
    shifts = (0, FRAMES // 3, FRAMES // 2)
    r = [measure.pearson(talk.opening, np.roll(other.drive, shift)) for talk, other in pairs for shift in shifts]
    assert np.mean(r) < measure.OTHER_R, r


@pytest.mark.parametrize("late", [-5, 5])
def test_a_shifted_sound_is_found_out(talks: list[Talk], late: int):
    for talk in talks:
        lag = measure.correlation_over_lags(talk.opening, np.roll(talk.drive, -late)).best_lag
        assert abs(lag - late) <= measure.LAG_FRAMES


def test_the_mouths_are_closed_in_silence(talks: list[Talk]):
    for talk in talks:
        assert measure.opening_in_silence(talk.opening, talk.drive) <= measure.IN_SILENCE


def test_everything_else_stays_as_it_is(talks: list[Talk]):
    for talk in talks:
        assert talk.psnr.mean() >= measure.OUTSIDE_DB
        assert talk.psnr[WINDOWS[0]].mean() - talk.psnr[WINDOWS[-1]].mean() <= measure.LOST_DB


def test_two_speakers_follow_their_own_voices(speaker: None, client: ComfyClient, tmp_path: Path):
    pair = Clip.held_out(CLIPS, SECONDS), Clip.held_out(CLIPS + 1, SECONDS)
    file, _ = run(client, two_speakers_prompt(client, pair, tmp_path))
    faces, drives = zip(*((clip.face, measure.opening_for(clip.sound, RATE, FRAMES)) for clip in pair), strict=True)
    for own_r, others_r in measure.r_of_two_speakers(decode(file).frames, faces, drives):
        assert own_r >= measure.OWN_R
        assert others_r < measure.OTHERS_R


def test_four_steps_of_lcm_talk_too(speaker: None, client: ComfyClient, tmp_path: Path):
    """SoulX-FlashTalk's settings, with fresh noise at every step, on the weights of the demo."""
    clip = Clip.held_out(0, SECONDS)
    talk = Talk.made(
        client, clip, tmp_path, steps=4, sampler_name="lcm", scheduler="simple", shift=5.0, color_correction=1.0
    )
    assert measure.pearson(talk.opening, talk.drive) >= measure.MEAN_R
    assert abs(measure.correlation_over_lags(talk.opening, talk.drive).best_lag) <= measure.LAG_FRAMES


def test_more_audio_guidance_opens_the_mouth_wider(talks: list[Talk], client: ComfyClient, tmp_path: Path):
    more = [Talk.made(client, talk.clip, tmp_path, audio_cfg=2 * CARTOON_SAMPLER["audio_cfg"]) for talk in talks]
    usual_opening, wider = (np.mean([t.opening[t.drive > measure.OPEN].mean() for t in made]) for made in (talks, more))
    assert usual_opening < wider
