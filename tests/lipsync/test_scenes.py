"""Two cartoons that nobody trained on take turns in one talk: each is its picture, and its mouth follows.

`INFINITETALK_TEST_SCENES=30` makes a talk of that many seconds, which a quick run of the tests has no time for.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from cartoon_models import MOTION_FRAMES, WINDOW_FRAMES
from comfy_client import ComfyClient
from evaluation import measure
from evaluation.clips import Clip, talking_prompt, uploaded_picture
from evaluation.finished import decode, run

from ..support.storyboard import with_scenes

SECONDS = float(os.environ.get("INFINITETALK_TEST_SCENES", 4.8))
FRAMES = round(SECONDS * measure.FPS)
STARTS = (SECONDS * 0.55, SECONDS * 0.83)
SILENCE = 10 ** (-50 / 20)
"""What a quiet room may give, full scale being 1."""
FIRST_FRAME_DB = 28.0
"""What the small VAE leaves of a picture."""


@dataclass(frozen=True)
class Story:
    """What is in the file of a talk in three scenes."""

    scenes: list[tuple[slice, Clip]]
    frames: np.ndarray
    drive: np.ndarray
    """Opening of the mouth that the sound asks for, `[frames]`."""
    level: np.ndarray
    """Root mean square of the sound, `[frames]`."""

    def windows(self) -> list[tuple[slice, Clip]]:
        """The frames that each window adds, and whose face is seen there."""
        return [
            (slice(scene.start + part.start, scene.start + part.stop), clip)
            for scene, clip in self.scenes
            for part in measure.windows_of(scene.stop - scene.start, WINDOW_FRAMES, MOTION_FRAMES)
        ]


@pytest.fixture(scope="module")
def story(speaker: None, client: ComfyClient, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    first, second = Clip.held_out(5, SECONDS), Clip.held_out(1, 2.0)
    prompt = talking_prompt(client, first, folder)
    for name, clip in (("one", first), ("other", second)):
        prompt[name] = {"class_type": "LoadImage", "inputs": {"image": uploaded_picture(client, [clip], folder)}}
    prompt = with_scenes(
        prompt,
        {"start": STARTS[0], "image": ["other", 0], "snap_to_pause": True},
        {"start": STARTS[1], "image": ["one", 0], "snap_to_pause": True},
    )
    file, result = run(client, prompt)
    said = [e.data["text"] for e in result.events if e.kind == "progress_text"]
    begins = [int(found[1]) for text in said if (found := re.match(r"Scene \d begins at .* \(frame (\d+)\)", text))]
    edges = [0, *begins, FRAMES]
    made = decode(file)
    drive = measure.opening_for(made.sound, made.sample_rate, FRAMES)
    scenes = [slice(start, stop) for start, stop in pairwise(edges)]
    samples = np.array_split(made.sound.reshape(len(made.sound), -1)[:, 0], FRAMES)
    level = np.array([np.sqrt(np.mean(frame**2)) for frame in samples])
    return Story(list(zip(scenes, [first, second, first], strict=True)), made.frames, drive, level)


def test_the_video_is_as_long_as_the_speech_to_the_frame(story: Story):
    assert len(story.frames) == FRAMES


def test_every_scene_begins_with_its_picture(story: Story):
    for scene, clip in story.scenes:
        error = np.mean((story.frames[scene.start].astype(float) - clip.picture()) ** 2)
        assert 10 * np.log10(255**2 / error) >= FIRST_FRAME_DB


def test_no_word_is_cut(story: Story):
    for scene, _ in story.scenes[1:]:
        assert max(story.level[scene.start - 1 : scene.start + 1]) <= SILENCE, scene


def test_the_mouth_follows_in_every_scene(story: Story):
    r = [measure.pearson(opening(story, scene, clip), story.drive[scene]) for scene, clip in story.scenes]
    assert min(r) >= measure.LEAST_R, r
    assert np.mean(r) >= measure.MEAN_R, r


def test_the_mouth_follows_in_every_window_as_well_as_in_one_scene(story: Story):
    r = [
        measure.r_within([opening(story, scene, clip)], [story.drive[scene]], [shifted(window, scene)])
        for scene, clip in story.scenes
        for window, _ in story.windows()
        if scene.start <= window.start < scene.stop and np.std(story.drive[window]) >= measure.MOVING
    ]
    print("r of every window:", [round(value, 2) for value in r])  # noqa: T201
    assert min(r) >= measure.LEAST_R, r
    assert np.mean(r) >= measure.MEAN_R, r


def opening(story: Story, frames: slice, clip: Clip) -> np.ndarray:
    return measure.mouth_opening(story.frames[frames], clip.face)


def shifted(window: slice, scene: slice) -> slice:
    return slice(window.start - scene.start, window.stop - scene.start)
