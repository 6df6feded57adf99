"""Scenes on the frames of a video, the pauses that they begin in, and the parts that machines share."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from infinitetalk.errors import UserError
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.wanvideo.parts import Part, balanced
from infinitetalk.wanvideo.pauses import Pause, pauses_of, snapped
from infinitetalk.wanvideo.pictures import Pictures
from infinitetalk.wanvideo.windows import plan_windows

FPS, FRAMES, MOTION = Fraction(25), 500, 9


@pytest.fixture(autouse=True)
def _core(comfy_core):
    """Scenes hold core's conditionings."""


def heard(*pauses: tuple[int, int], frames: int = FRAMES) -> torch.Tensor:
    audible = torch.ones(frames, dtype=torch.bool)
    for start, stop in pauses:
        audible[start:stop] = False
    return audible


def picture(value: float = 0.5, height: int = 32, width: int = 48) -> torch.Tensor:
    return torch.full((1, height, width, 3), value)


def first_scene(pictures: Pictures | None = None):
    from infinitetalk.wanvideo.scenes import Scene

    pictures = pictures or Pictures(ImageFrames(picture(), FPS), FPS, FRAMES, (32, 48))
    return Scene(start=0, pictures=pictures, positive=["own"], negative=["not"])


def plan(*wishes: dict, audible=(), pictures: Pictures | None = None):
    from infinitetalk.wanvideo.scenes import SceneWish, Storyboard

    board = Storyboard(FRAMES, FPS, audible or [heard()], MOTION)
    return board.plan(first_scene(pictures), [SceneWish(**wish) for wish in wishes])


def test_a_scene_keeps_what_it_does_not_name():
    scenes = plan(
        {"start": 4.0, "image": picture(0.1)},
        {"start": 8.0, "positive": ["new"]},
        {"start": 12.0, "image": picture(0.9)},
    )
    assert [scene.start for scene in scenes] == [0, 100, 200, 300]
    assert [float(scene.pictures.at(scene.start)[0, 0, 0, 0]) for scene in scenes] == pytest.approx(
        [0.5, 0.1, 0.1, 0.9], abs=0.003
    )
    assert [scene.positive for scene in scenes] == [["own"], ["own"], ["new"], ["new"]]
    assert [scene.negative for scene in scenes] == [["not"]] * 4


def test_a_picture_of_another_size_covers_the_videos_and_the_node_says_so():
    from infinitetalk.wanvideo.scenes import told

    wide = picture(0.2, 40, 200)
    wide[:, :, 65:135] = 0.8  # the middle is all that the crop leaves
    (_, scene) = plan({"start": 4.0, "image": wide})
    assert torch.allclose(scene.pictures.at(100), torch.full((1, 32, 48, 3), 0.8), atol=0.01)
    assert told(scene, 2, FPS).endswith("; its picture of 200 × 40 is scaled and cropped to 48 × 32")


@pytest.mark.parametrize(
    ("pauses", "asked", "found"),
    [
        ([(90, 98)], 100, 94),
        ([(90, 96)], 100, None),  # 0.24 s
        ([(90, 98), (101, 111)], 100, 106),
        ([(50, 57)], 100, None),  # 1.76 s away
        ([(130, 150)], 100, 137),  # no farther than 1.5 s, and in the pause all the same
        ([(0, 500)], 100, 137),
        ([], 100, None),
    ],
)
def test_a_start_moves_to_the_middle_of_the_nearest_pause(pauses, asked, found):
    assert snapped(asked, pauses_of([heard(*pauses)], FPS), FPS) == found


def test_a_pause_of_two_voices_is_one_of_both():
    voices = [heard((10, 40), (100, 140)), heard((30, 60), (120, 128))]
    assert pauses_of(voices, FPS) == [Pause(30, 40), Pause(120, 128)]


@given(st.lists(st.booleans(), min_size=20, max_size=200), st.integers(0, 199))
def test_a_moved_start_lies_where_nobody_speaks(audible, asked):
    voice = torch.tensor(audible)
    found = snapped(min(asked, len(audible) - 1), pauses_of([voice], FPS), FPS)
    assert found is None or not audible[found]


def test_scenes_move_into_pauses_unless_told_not_to():
    from infinitetalk.wanvideo.scenes import told

    audible = [heard((104, 114))]
    moved, unmoved = (plan({"start": 4.0, "snap_to_pause": snap}, audible=audible)[1] for snap in (True, False))
    assert (moved.start, unmoved.start) == (109, 100)
    assert told(moved, 2, FPS) == "Scene 2 begins at 4.36 s (frame 109), moved by +0.36 s into a pause"
    assert told(unmoved, 2, FPS) == "Scene 2 begins at 4.00 s (frame 100)"
    (_, without) = plan({"start": 4.0})
    assert told(without, 2, FPS).endswith(", since there is no pause within 1.5 s")


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        (
            [{"start": 20.0}],
            "begins at 20 s, but the video ends at 20.00 s and its last frame begins at 19.96 s: set",
        ),
        (
            [{"start": 19.97}],
            "begins at 19.97 s, but the video ends at 20.00 s and its last frame begins at 19.96 s: set",
        ),
        ([{"start": 4.0}, {"start": 4.0}], "Two scenes begin at 4 s"),
        ([{"start": 5.0}, {"start": 4.0}], "at 4 s comes after the one at 5 s"),
        ([{"start": -1.0}], "start is -1"),
        ([{"start": float("nan")}], "start is nan"),
        ([{"start": float("inf")}], "start is inf"),
        ([{"start": 0.0}], "start is 0, but there the sampler's own"),
        ([{"start": 4.0, "transition": "fade"}], "no transition 'fade'"),
        ([{"start": 4.0, "image": torch.zeros(2, 8, 8, 3)}], "holds 2 pictures"),
        ([{"start": 0.2, "transition": "continue"}], "continues 5 frames after a cut.*start it at 0.36 s or later"),
        (
            [{"start": 4.0}, {"start": 4.2, "transition": "continue"}],
            "at 4.2 s continues 5 frames after a cut.*start it at 4.36 s",
        ),
    ],
)
def test_what_cannot_be_is_refused(wishes, sentence):
    with pytest.raises(UserError, match=sentence):
        plan(*wishes)


def test_two_scenes_that_move_into_one_pause_are_refused():
    with pytest.raises(UserError, match=r"at 4 s and 5 s both begin in the pause at 4.56 s"):
        plan({"start": 4.0}, {"start": 5.0}, audible=[heard((110, 119))])


def test_two_scenes_with_one_frame_are_refused():
    with pytest.raises(
        UserError, match=r"at 4.01 s and 4.02 s both begin with the frame at 4.04 s: .* farther apart.$"
    ):
        plan({"start": 4.01, "snap_to_pause": False}, {"start": 4.02, "snap_to_pause": False})


def video_with_cuts(*cuts: int) -> Pictures:
    frames = np.zeros((FRAMES, 8, 12, 3), np.float32)
    for number, (start, stop) in enumerate(pairwise([0, *cuts, FRAMES])):
        frames[start:stop] = (number % 4) / 4
    return Pictures(ImageFrames(torch.from_numpy(frames), FPS), FPS, FRAMES, (32, 48))


def test_cuts_of_a_source_video_are_scenes_until_another_picture_is_shown():
    pictures = video_with_cuts(50, 150, 300, 400)
    scenes = plan({"start": 4.0, "positive": ["new"]}, {"start": 10.0, "image": picture()}, pictures=pictures)
    assert [(scene.start, scene.positive[0]) for scene in scenes] == [
        (0, "own"), (50, "own"), (100, "new"), (150, "new"), (250, "new")
    ]  # fmt: skip


def test_a_scene_that_would_go_on_where_the_source_video_cuts_begins_with_that_cut():
    from infinitetalk.wanvideo.scenes import told

    wishes = [{"start": start, "transition": "continue", "snap_to_pause": False} for start in (2.0, 4.0)]
    scenes = plan(*wishes, pictures=video_with_cuts(50))
    assert [(scene.start, scene.is_cut) for scene in scenes] == [(0, True), (50, True), (100, False)]
    assert [told(scene, 2, FPS).endswith("the source video has one there") for scene in scenes[1:]] == [True, False]


def test_a_scene_that_goes_on_repeats_the_motion_frames_and_counts_on_from_the_cut():
    windows = plan_windows(120, 17, 5, cuts=[60], continued=[30, 90])
    kept = [window.start + at for window in windows for at in range(window.kept.start, window.kept.stop)]
    assert kept == list(range(120))
    assert [(w.start, w.repeated, w.scene, w.cut, w.place) for w in windows] == [
        (0, 0, 0, 0, 0), (12, 5, 0, 0, 1), (24, 5, 0, 0, 2), (25, 5, 30, 0, 3), (37, 5, 30, 0, 4), (49, 5, 30, 0, 5),
        (60, 0, 60, 60, 0), (72, 5, 60, 60, 1), (84, 5, 60, 60, 2), (85, 5, 90, 60, 3), (97, 5, 90, 60, 4),
        (109, 5, 90, 60, 5),
    ]  # fmt: skip


def test_seeds_know_the_scene_and_nothing_before_it():
    from infinitetalk.wanvideo.sampling import window_seed

    one_scene = plan_windows(60, 17, 5)
    before = [int(np.random.SeedSequence([7, k]).generate_state(1, np.uint64)[0]) for k in range(len(one_scene))]
    assert [window_seed(7, window) for window in one_scene] == before
    late = [w for w in plan_windows(100, 17, 5, cuts=[20, 40]) if w.cut == 40]
    assert [window_seed(7, w) for w in late] == [
        window_seed(7, w) for w in plan_windows(100, 17, 5, cuts=[13, 40]) if w.cut == 40
    ]
    every = [window_seed(7, w) for w in plan_windows(100, 17, 5, cuts=[20, 40])]
    assert len(set(every)) == len(every)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 15))
def test_shares_are_whole_in_order_and_as_even_as_can_be(sizes, count):
    shares = balanced(sizes, count)
    assert len(shares) == count
    assert [index for share in shares for index in share] == list(range(len(sizes)))
    assert sum(1 for share in shares if share) == min(count, len(sizes))
    largest = max(sum(sizes[share.start : share.stop]) for share in shares)
    assert largest == smallest_possible(sizes, count)


def smallest_possible(sizes: list[int], count: int) -> int:
    """The largest share of the best way to divide, by trying all."""
    best = {0: 0}
    for _ in range(count):
        best = {
            stop: min(max(best[start], sum(sizes[start:stop])) for start in best if start <= stop)
            for stop in range(len(sizes) + 1)
        }
    return best[len(sizes)]


@pytest.mark.parametrize("text", ["0/3", "4/3", "x", "1", "1/", "-1/3", "1.5/3", "1/0", "1/2/3"])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(UserError, match=r"part is '.*write it so, or leave it empty"):
        Part.parse(text)


def test_a_part_is_read():
    assert Part.parse(" 2 / 8 ") == Part(2, 8)
    assert Part.parse("  ") is None


def test_the_windows_of_parts_are_those_of_whole_scenes():
    windows = plan_windows(400, 17, 5, cuts=[100, 200], continued=[150])
    shares = [windows[Part(number, 4).of(windows)] for number in range(1, 5)]
    assert [window for share in shares for window in share] == windows
    assert [sorted({window.cut for window in share}) for share in shares] == [[0], [100], [200], []]
