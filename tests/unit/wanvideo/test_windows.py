"""Windows and the audio they hear: every case of the reference, and what we do where the reference is wrong."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from infinitetalk.errors import UserError
from infinitetalk.wanvideo.windows import audio_window, latent_frames, plan_windows
from safetensors.torch import load_file

window_lengths = st.integers(1, 20).map(lambda n: 4 * n + 1)


@pytest.fixture(scope="module")
def cases(golden_dir):
    return json.loads((golden_dir / "audio_windows.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tensors(golden_dir):
    return load_file(golden_dir / "audio_windows.safetensors")


def wanted_frames(case):
    return min(min(case["audio_lengths"]), case["max_frames_num"])


def equal_lengths(case):
    """Two voices always come with one length here, padded with real silence; the reference's other cases are bugs."""
    return len(set(case["audio_lengths"])) == 1


def test_windows_and_frames_are_the_references(cases):
    checked = 0
    for case in cases:
        if "error" in case or not equal_lengths(case):
            continue
        windows = plan_windows(wanted_frames(case), case["frame_num"], case["motion_frame"])
        assert [[window.start, window.stop] for window in windows] == case["windows"]
        kept = [[w.index, w.kept.start, w.kept.stop - 1] for w in windows]
        assert kept == case["returned_window_first_last"]
        assert sum(last - first + 1 for _, first, last in kept) == case["frames_returned"]
        checked += 1
    assert checked > 30


def test_mirrored_embeddings_are_the_references(cases, tensors):
    checked = 0
    for case in cases:
        for k, (start, stop) in enumerate(case.get("windows", [])):
            golden = tensors.get(f"case{case['case']}_window{k}")
            if golden is None or not equal_lengths(case):
                continue
            for speaker, length in enumerate(case["audio_lengths"]):
                features = tensors[f"full_{speaker + 1}"][:length]
                ours = audio_window(features, features[:0], start, stop - start, "mirror")
                assert torch.equal(ours, golden[speaker]), f"case {case['case']} window {k}"
                checked += 1
    assert checked > 10


def test_clips_that_the_reference_refuses_work(cases):
    refused = [case for case in cases if "error" in case and equal_lengths(case)]
    assert refused
    for case in refused:
        (window,) = plan_windows(wanted_frames(case), case["frame_num"], case["motion_frame"])
        assert window.kept.stop == wanted_frames(case)


def test_real_silence_follows_the_end_and_its_last_row_stays():
    features, silence = torch.arange(6.0).reshape(6, 1, 1), torch.tensor([100.0, 101.0]).reshape(2, 1, 1)
    heard = audio_window(features, silence, 3, 5)[:, :, 0, 0]
    assert heard.tolist() == [
        [1, 2, 3, 4, 5],
        [2, 3, 4, 5, 100],
        [3, 4, 5, 100, 101],
        [4, 5, 100, 101, 101],
        [5, 100, 101, 101, 101],
    ]


def test_before_the_beginning_the_first_embedding_is_repeated():
    features = torch.arange(6.0).reshape(6, 1, 1)
    assert audio_window(features, features[:0], 0, 2)[:, :, 0, 0].tolist() == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3]]


@given(frames=st.integers(1, 2000), window=window_lengths, motion=window_lengths)
def test_kept_frames_cover_the_video_once(frames, window, motion):
    if motion >= window:
        with pytest.raises(UserError, match="motion_frames"):
            plan_windows(frames, window, motion)
        return
    windows = plan_windows(frames, window, motion)
    covered = [w.start + i for w in windows for i in range(w.kept.start, w.kept.stop)]
    assert covered == list(range(frames))
    assert all(w.repeated == (motion if w.index else 0) and w.frames == window for w in windows)
    assert all(later.start + motion == earlier.stop for earlier, later in pairwise(windows))


def test_a_scene_cut_starts_a_window_of_its_own():
    windows = plan_windows(60, 17, 5, cuts=[20, 50])
    assert [(w.start, w.repeated, w.surplus, w.scene) for w in windows] == [
        (0, 0, 0, 0),
        (12, 5, 9, 0),
        (20, 0, 0, 20),
        (32, 5, 0, 20),
        (44, 5, 11, 20),
        (50, 0, 7, 50),
    ]
    covered = [w.start + i for w in windows for i in range(w.kept.start, w.kept.stop)]
    assert covered == list(range(60))


@pytest.mark.parametrize(
    ("window", "motion", "named"),
    [(80, 9, "window_frames is 80"), (81, 10, "motion_frames is 10"), (81, 81, "motion_frames is 81"), (0, 1, "is 0")],
)
def test_lengths_that_would_make_the_picture_jump_are_refused(window, motion, named):
    with pytest.raises(UserError, match=named):
        plan_windows(100, window, motion)


def test_latent_frames_of_a_window():
    assert [latent_frames(frames) for frames in (1, 5, 9, 81)] == [1, 2, 3, 21]
