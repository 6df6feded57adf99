"""Windows on disk: kept bit for bit, gone on with, taken over, never shared by two jobs."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.video_io.durable import write_durably
from infinitetalk.video_io.store import frame_store, run_search, take_over
from infinitetalk.video_io.store.environment import RunLimits
from infinitetalk.video_io.store.frame_store import FrameStore
from infinitetalk.video_io.store.run_plan import KEEP_STATE_EVERY, WindowKeys

from ...support.known_frames import (
    FRAMES,
    HEIGHT,
    PIXELS,
    WIDTH,
    WINDOW,
    add_windows,
    frames_of,
    names,
    open_store,
)


def test_frames_and_state_come_back_bit_for_bit(tmp_path):
    state = {
        "float32": torch.tensor([0.1, -0.0, float("nan"), 1e-45]),
        "bfloat16": torch.rand(3, 5).to(torch.bfloat16),
        "a view": torch.arange(12).reshape(3, 4).T,
    }
    with open_store(tmp_path) as store:
        store.append(torch.from_numpy(PIXELS[:WINDOW]), state)
    with open_store(tmp_path) as store:
        loaded = store.state()
        assert np.array_equal(frames_of(store), PIXELS[:WINDOW])
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name].view(torch.uint8), tensor.contiguous().view(torch.uint8))


def test_an_unfinished_run_goes_on_after_its_last_window(tmp_path):
    with open_store(tmp_path) as store:
        assert (store.windows_done, store.state(), store.complete) == (0, None, False)
        add_windows(store, 3)
        folder = store.folder
    with open_store(tmp_path) as store:
        assert (store.folder, store.windows_done, store.frames_done) == (folder, 3, 3 * WINDOW)
        assert store.state()["step"] == 2
        add_windows(store)
        assert store.complete
        assert np.array_equal(frames_of(store), PIXELS[:FRAMES])


def test_a_finished_run_opens_complete_for_several_jobs_at_once(tmp_path):
    with open_store(tmp_path) as store:
        add_windows(store)
    with open_store(tmp_path) as first, open_store(tmp_path) as second:
        assert first.complete
        assert second.complete
        assert first.folder == second.folder
        assert np.array_equal(frames_of(first), frames_of(second))


def test_two_jobs_never_share_an_unfinished_run(tmp_path):
    with open_store(tmp_path) as first:
        add_windows(first, 2)
        with open_store(tmp_path) as second:
            assert second.folder != first.folder
            assert second.windows_done == 2, "what the first has finished is linked"
            add_windows(second, 3)
        add_windows(first)
        assert np.array_equal(frames_of(first), PIXELS[:FRAMES])


def test_the_run_with_the_most_windows_goes_on(tmp_path):
    with open_store(tmp_path) as first, open_store(tmp_path) as second:
        add_windows(first, 1)
        add_windows(second, 3)
        longest = second.folder
    with open_store(tmp_path) as store:
        assert store.folder == longest


@pytest.mark.parametrize("change", [{"fingerprint": "other"}, {"frames": FRAMES + 1}])
def test_another_fingerprint_or_length_is_another_run(tmp_path, change):
    with open_store(tmp_path) as store:
        add_windows(store, 2)
        folder = store.folder
    with open_store(tmp_path, **change) as other:
        assert other.windows_done == 0
        assert other.folder != folder
    with open_store(tmp_path) as store:
        assert store.windows_done == 2


def test_without_resume_the_run_begins_anew_in_its_folder(tmp_path):
    with open_store(tmp_path) as store:
        add_windows(store)
        folder = store.folder
    del store  # as long as it lives, the finished run is in use
    with open_store(tmp_path, resume=False) as store:
        assert (store.folder, store.windows_done) == (folder, 0)
        assert names(folder, "window-*") + names(folder, "state-*") == []


def test_without_resume_a_run_that_is_still_read_stays(tmp_path):
    with open_store(tmp_path) as store:
        add_windows(store)
        reader, folder = store.reader(), store.folder
    with open_store(tmp_path, resume=False) as store:
        assert store.folder != folder
    assert np.array_equal(frames_of(reader), PIXELS[:FRAMES])


def test_states_of_the_last_two_windows_and_of_every_eighth_are_kept(tmp_path):
    with open_store(tmp_path, frames=150) as store:
        add_windows(store, 19)
        kept = {int(name[6:11]) for name in names(store.folder, "state-*")}
    assert KEEP_STATE_EVERY == 8
    assert kept == {7, 15, 17, 18}


@pytest.mark.parametrize("motion_frames", [1, 5])
def test_the_disk_that_is_asked_for_is_what_a_run_takes(tmp_path, monkeypatch, motion_frames):
    windows, state = 30, torch.zeros(motion_frames, HEIGHT, WIDTH, 3)
    known_by = WindowKeys(keys=[str(window) for window in range(windows)], state_bytes=state.nbytes)
    usage = shutil.disk_usage(tmp_path)

    def begin(free: int) -> FrameStore:
        # A stand-in for a nearly full disk: the system cannot be asked for one of a given size everywhere.
        monkeypatch.setattr(run_search.shutil, "disk_usage", lambda folder: usage._replace(free=free))
        return open_store(tmp_path, frames=windows * WINDOW, window_keys=known_by)

    def taken() -> int:
        return sum(file.stat().st_size for file in tmp_path.rglob("*-*.*"))

    most = 0

    def written(path, data):
        nonlocal most
        crc = write_durably(path, data)
        most = max(most, taken())
        return crc

    monkeypatch.setattr(frame_store, "write_durably", written)
    with begin(free=10**9) as store:
        while not store.complete:
            store.append(PIXELS[store.frames_done :][:WINDOW], {"motion": state})
    shutil.rmtree(tmp_path)
    headers = (windows // KEEP_STATE_EVERY + 3) * 100  # names and shapes of the tensors in the files
    with pytest.raises(UserError, match="GB free but 210 frames"):
        begin(free=int(0.95 * (most - headers)))
    begin(free=int(1.05 * most)).close()


def test_a_longer_sound_takes_over_the_windows_it_shares(tmp_path):
    keys = [f"sound {window}" for window in range(30)]
    with open_store(tmp_path, frames=140, window_keys=WindowKeys(keys=keys[:20])) as store:
        add_windows(store)
        short = store.folder
    changed = [*keys[:18], *(f"other {window}" for window in range(18, 30))]
    with open_store(tmp_path, frames=200, window_keys=WindowKeys(keys=changed)) as store:
        # Windows 0 to 17 agree; the nearest state to go on from is the one after window 15.
        assert store.folder != short
        assert store.windows_done == 16
        assert store.state()["step"] == 15
        add_windows(store)
        assert np.array_equal(frames_of(store), PIXELS[:200])
    with open_store(tmp_path, frames=140, window_keys=WindowKeys(keys=keys[:20])) as store:
        assert store.complete
        assert np.array_equal(frames_of(store), PIXELS[:140])


def test_windows_taken_over_are_never_written_over(tmp_path):
    keys = [f"sound {window}" for window in range(30)]
    with open_store(tmp_path, frames=140, window_keys=WindowKeys(keys=keys)) as store:
        add_windows(store)
    first = store.folder / "window-00000.rgb"
    with open_store(tmp_path, frames=200, window_keys=WindowKeys(keys=keys)) as longer:
        shared = longer.folder / "window-00000.rgb"
    shared.write_bytes(shared.read_bytes()[:-1])  # damages the file that both runs share
    damaged = first.read_bytes()
    with open_store(tmp_path, frames=200, window_keys=WindowKeys(keys=keys)) as longer:
        assert longer.windows_done == 0
        longer.append(PIXELS[100 : 100 + WINDOW], {})
        assert np.array_equal(frames_of(longer), PIXELS[100 : 100 + WINDOW])
    assert first.read_bytes() == damaged, "the other run's new window must not land in this one"


@pytest.mark.parametrize(("start", "stop", "chunk"), [(0, 40, 1), (3, 31, 4), (6, 8, 100), (39, 40, 3), (5, 5, 2)])
def test_any_range_is_read_in_pieces_no_longer_than_asked(tmp_path, start, stop, chunk):
    with open_store(tmp_path) as store:
        add_windows(store)
        pieces = list(store.iter_frames(start, stop, chunk))
    assert all(1 <= len(piece) <= chunk for piece in pieces)
    assert sum(map(len, pieces)) == stop - start
    if pieces:
        assert np.array_equal(np.concatenate(pieces), PIXELS[start:stop])


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (5, 4), (0, FRAMES + 1)])
def test_a_range_outside_of_the_frames_is_refused_at_once(tmp_path, start, stop):
    with open_store(tmp_path) as store:
        add_windows(store)
        with pytest.raises(ValueError, match="outside"):
            store.iter_frames(start, stop)


@pytest.mark.parametrize(
    "frames",
    [
        PIXELS[:3].astype(np.float32),
        PIXELS[:3, :, :-1],
        PIXELS[:0],
        PIXELS[: FRAMES + 1],
        PIXELS[:3].transpose(0, 2, 1, 3),
    ],
    ids=["floats", "too narrow", "none", "too many", "width and height swapped"],
)
def test_frames_that_do_not_fit_are_refused_and_leave_the_run_as_it_was(tmp_path, frames):
    with open_store(tmp_path) as store:
        with pytest.raises(ValueError, match=r"window is|more than"):
            store.append(frames, {})
        assert store.windows_done == 0
        add_windows(store)
        assert store.complete


def test_nothing_can_be_added_once_the_store_is_closed_or_complete(tmp_path):
    with open_store(tmp_path) as store:
        add_windows(store, 1)
    with pytest.raises(ValueError, match="closed"):
        store.append(PIXELS[:1], {})
    with open_store(tmp_path) as store:
        add_windows(store)
        with pytest.raises(ValueError, match="complete"):
            store.append(PIXELS[:1], {})


def test_paths_with_spaces_and_other_scripts_work(tmp_path):
    root = tmp_path / "Ordner mit Leerzeichen" / "\u89c6\u9891 \u043a\u0430\u0434\u0440\u044b"
    with open_store(root) as store:
        add_windows(store)
    with open_store(root) as store:
        assert np.array_equal(frames_of(store), PIXELS[:FRAMES])


SCENES = {"a": 3, "b": 2, "c": 2}  # windows of each
KEYS = [f"{scene} {window}" for scene, count in SCENES.items() for window in range(count)]
CUTS = {3, 5}


def open_share(root, share: slice | None = None, keys: list[str] = KEYS, **more):
    """A store of the three scenes, or of some of their windows."""
    share = share or slice(0, len(keys))
    frames = WINDOW * len(keys[share])
    return open_store(root, frames=frames, window_keys=WindowKeys(keys=keys, cuts=CUTS, share=share), **more)


def make(store, share: slice, count: int = 100) -> None:
    """Append windows with the pixels that they have in the whole video."""
    while not store.complete and store.windows_done < count:
        window = share.start + store.windows_done
        store.append(PIXELS[window * WINDOW : (window + 1) * WINDOW], {"step": torch.tensor(window)})


A, B, C = slice(0, 3), slice(3, 5), slice(5, 7)


def test_the_whole_takes_over_the_scenes_of_any_runs_without_a_copy(tmp_path):
    folders = []
    for share in (C, A, B):
        with open_share(tmp_path, share) as store:
            make(store, share)
            folders.append(store.folder)
    with open_share(tmp_path) as whole:
        assert whole.complete
        assert np.array_equal(frames_of(whole), PIXELS[: 7 * WINDOW])
        assert all(path.stat().st_nlink == 2 for path in whole.folder.glob("window-*"))
    assert whole.folder not in folders


def test_a_run_that_is_being_written_gives_what_it_has_and_again_when_it_has_more(tmp_path):
    with open_share(tmp_path, A) as first, open_share(tmp_path, B) as second:
        make(first, A, 1)
        with open_share(tmp_path) as whole:
            assert whole.windows_done == 1
            assert whole.state()["step"] == 0
            make(second, B)
            assert whole.take_over() == 0, "the first scene is not finished"
            make(first, A)
            assert whole.take_over() == 4
            assert whole.state() is None, "the next one begins with a cut"
            make(whole, slice(0, 7))
            assert np.array_equal(frames_of(whole), PIXELS[: 7 * WINDOW])
    with open_share(tmp_path, C) as last:
        assert last.complete, "a part takes over from the whole"
        assert np.array_equal(frames_of(last), PIXELS[5 * WINDOW : 7 * WINDOW])


def test_a_scene_is_gone_on_with_only_from_a_window_whose_state_is_there(tmp_path):
    with open_share(tmp_path, A) as part:
        make(part, A, 2)
        (part.folder / "state-00001.safetensors").unlink()
        with open_share(tmp_path) as whole:
            assert whole.windows_done == 1
            assert whole.state()["step"] == 0


def test_a_damaged_window_of_another_run_is_not_taken_over(tmp_path):
    for share in (A, B):
        with open_share(tmp_path, share) as part:
            make(part, share)
    file = part.folder / "window-00001.rgb"
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.unlink()
    file.write_bytes(data)
    with open_share(tmp_path) as whole:
        assert whole.windows_done == 4
        make(whole, slice(0, 7))
        assert np.array_equal(frames_of(whole), PIXELS[: 7 * WINDOW])
    assert file.read_bytes() == data


def canceled_at(read: int):
    """A user who presses Cancel while so many finished windows have been read."""
    counted = iter(range(read))

    def check() -> None:
        if next(counted, None) is None:
            raise KeyboardInterrupt

    return check


def test_a_job_can_be_canceled_while_finished_windows_are_read(tmp_path):
    for share in (A, B):
        with open_share(tmp_path, share) as part:
            make(part, share)
    with pytest.raises(KeyboardInterrupt):  # in the middle of those of the parts
        open_share(tmp_path, check=canceled_at(3))
    with open_share(tmp_path, check=canceled_at(100)) as whole:
        assert whole.windows_done == 5
    with pytest.raises(KeyboardInterrupt):  # in the middle of its own
        open_share(tmp_path, check=canceled_at(3))
    with open_share(tmp_path) as again:
        assert (again.folder, again.windows_done) == (whole.folder, 5)


def test_a_scene_that_changed_leaves_the_others_as_they_were(tmp_path):
    with open_share(tmp_path) as whole:
        make(whole, slice(0, 7))
    changed = [key.replace("b", "other") for key in KEYS]
    with open_share(tmp_path, keys=changed) as whole:
        assert whole.windows_done == 3
        assert whole.state() is None
        make(whole, slice(0, 7), 5)
        assert whole.take_over() == 2
        assert whole.complete


def test_runs_of_the_same_video_are_kept_while_a_part_of_it_is_made(tmp_path):
    for share in (A, B):
        with open_share(tmp_path, share) as part:
            make(part, share)
    del part
    with open_share(tmp_path, C, limits=RunLimits(max_age_days=-1, max_total_bytes=0)) as part:
        make(part, C)
    with open_share(tmp_path) as whole:
        assert whole.complete


def test_finished_runs_of_other_videos_are_read_only_once(tmp_path, monkeypatch):
    with open_share(tmp_path, keys=[f"other {key}" for key in KEYS]) as other:
        make(other, slice(0, 7))
    read = []
    load = take_over.load_manifest
    monkeypatch.setattr(take_over, "load_manifest", lambda folder: read.append(folder) or load(folder))
    with open_share(tmp_path) as whole:
        read.clear()
        for window in range(1, 4):
            make(whole, slice(0, 7), window)
            assert whole.take_over() == 0
    assert read == [other.folder]
