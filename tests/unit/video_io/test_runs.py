"""Clearing old runs: by age and size, never one in use, never what is not ours."""

from __future__ import annotations

import gc
import os
import shutil
import time
from pathlib import Path

import pytest
from infinitetalk.errors import UserError
from infinitetalk.video_io.store import environment
from infinitetalk.video_io.store import run_folders as runs
from infinitetalk.video_io.store.environment import RunLimits
from infinitetalk.video_io.store.run_folders import LOCK_NAME, clean_old_runs, folder_bytes, run_folders
from infinitetalk.video_io.store.run_plan import WindowKeys
from infinitetalk.video_io.store.stored_video import StoredVideo

from ...support.known_frames import add_windows, frames_of, open_store

DAY = 86400


def make_run(root: Path, name: str, days_ago: float = 0.0, windows: int = 1000) -> Path:
    with open_store(root, fingerprint=name) as store:
        add_windows(store, windows)
        folder = store.folder
    last_use = time.time() - days_ago * DAY
    os.utime(folder / LOCK_NAME, (last_use, last_use))
    return folder


def test_runs_older_than_the_limit_go_and_younger_ones_stay(tmp_path):
    old, young = make_run(tmp_path, "old", days_ago=15), make_run(tmp_path, "young", days_ago=13)
    size = folder_bytes(old)
    assert clean_old_runs(tmp_path, max_age_days=14) >= size - 4
    assert not old.exists()
    assert young.exists()


def test_too_large_a_sum_takes_finished_runs_first_and_the_oldest_of_them(tmp_path):
    unfinished = make_run(tmp_path, "unfinished", days_ago=3, windows=4)
    older, newer = make_run(tmp_path, "older", days_ago=2), make_run(tmp_path, "newer", days_ago=1)
    limit = folder_bytes(unfinished) + folder_bytes(newer)
    clean_old_runs(tmp_path, max_total_bytes=limit)
    assert not older.exists()
    assert newer.exists()
    assert unfinished.exists()
    clean_old_runs(tmp_path, max_total_bytes=0)
    assert run_folders(tmp_path) == []


def test_a_run_that_a_job_writes_is_never_cleared(tmp_path):
    with open_store(tmp_path) as store:
        add_windows(store, 2)
        assert clean_old_runs(tmp_path, max_age_days=-1, max_total_bytes=0) == 0
        add_windows(store)
        assert store.complete


def test_a_run_is_cleared_only_when_the_last_video_over_it_is_gone(tmp_path):
    with open_store(tmp_path) as store:
        add_windows(store)
        video = StoredVideo(store, None)
    del store
    part = video.as_trimmed(0.2, 0.4)
    del video
    gc.collect()
    assert clean_old_runs(tmp_path, max_age_days=-1) == 0
    assert frames_of(part).shape[0] == 10
    del part
    gc.collect()
    assert clean_old_runs(tmp_path, max_age_days=-1) > 0
    assert list(tmp_path.iterdir()) == []


def test_the_marker_of_a_dead_reader_does_not_keep_a_run(tmp_path):
    folder = make_run(tmp_path, "run")
    (folder / "use-0123456789abcdef.lock").touch()
    (folder / "temporary-left-by-it.mp4").touch()
    clean_old_runs(tmp_path, max_age_days=-1)
    assert not folder.exists()


def test_runs_to_keep_are_kept(tmp_path):
    kept, other = make_run(tmp_path, "kept", days_ago=99), make_run(tmp_path, "other", days_ago=99)
    assert run_folders(tmp_path, "kept") == [kept]
    clean_old_runs(tmp_path, keep=run_folders(tmp_path, "kept"))
    assert kept.exists()
    assert not other.exists()


@pytest.mark.parametrize("lock", [False, True])
def test_folders_that_are_not_runs_are_never_touched(tmp_path, lock):
    strangers = [tmp_path / name for name in ("run-1", "holiday", "run-0123456789abcdef-x", ".hidden")]
    if not lock:
        strangers.append(tmp_path / "run-0123456789abcdef-1")  # our kind of name, but nothing of ours in it
    for folder in strangers:
        folder.mkdir()
        (folder / "window-00000.rgb").write_text("precious")
        if lock:
            (folder / LOCK_NAME).touch()
    (tmp_path / "run-0123456789abcdef-7").write_text("a file")
    clean_old_runs(tmp_path, max_age_days=-1, max_total_bytes=0)
    assert all((folder / "window-00000.rgb").read_text() == "precious" for folder in strangers)
    assert (tmp_path / "run-0123456789abcdef-7").exists()


def test_files_that_are_not_ours_survive_in_a_run_folder(tmp_path):
    folder = make_run(tmp_path, "run", days_ago=99)
    (folder / "notes.txt").write_text("precious")
    clean_old_runs(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_link_to_a_run_elsewhere_is_not_followed(tmp_path):
    folder = make_run(tmp_path / "elsewhere", "run", days_ago=99)
    root = tmp_path / "root"
    root.mkdir()
    try:
        (root / folder.name).symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("symbolic links are not allowed here")
    clean_old_runs(root)
    assert (folder / "manifest.json").exists()


def test_a_time_in_the_future_counts_from_now_on(tmp_path, monkeypatch):
    folder = make_run(tmp_path, "run", days_ago=-1000)
    clean_old_runs(tmp_path)
    assert folder.exists()
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + 15 * DAY)
    clean_old_runs(tmp_path)
    assert not folder.exists()


def test_a_file_that_cannot_be_deleted_now_breaks_nothing(tmp_path, monkeypatch):
    # Stands in for Windows, where a file that some program has open cannot be deleted.
    folder = make_run(tmp_path, "run", days_ago=99)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "window-00002.rgb":
            raise PermissionError(13, "The process cannot access the file")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    clean_old_runs(tmp_path)
    assert [path.name for path in folder.glob("window-*")] == ["window-00002.rgb"]
    monkeypatch.undo()
    with open_store(tmp_path, fingerprint="run") as store:
        add_windows(store)
        assert store.complete


def test_a_root_that_is_not_there_is_nothing_to_clear(tmp_path):
    assert clean_old_runs(tmp_path / "nowhere", keep=run_folders(tmp_path / "nowhere", "x")) == 0


def test_another_server_that_clears_at_the_same_time_breaks_nothing(tmp_path, monkeypatch):
    # The moment between listing and locking a run cannot be met by chance, so it is made.
    folder = make_run(tmp_path, "run", days_ago=99)
    claim = runs.claim

    def claim_too_late(path: Path) -> None:
        shutil.rmtree(path)
        return claim(path)

    monkeypatch.setattr(runs, "claim", claim_too_late)
    assert clean_old_runs(tmp_path) == 0
    assert not folder.exists()


def with_free_disk(monkeypatch, root: Path, free_bytes: int) -> None:
    """Stands in for a nearly full disk that gets what is deleted under `root`."""
    usage = shutil.disk_usage(root)
    taken_before = sum(map(folder_bytes, run_folders(root)))

    def usage_now(folder):
        return usage._replace(free=free_bytes + taken_before - sum(map(folder_bytes, run_folders(root))))

    monkeypatch.setattr(runs.shutil, "disk_usage", usage_now)


def test_finished_runs_make_room_for_a_new_one_the_oldest_first_and_unfinished_ones_stay(tmp_path, monkeypatch):
    unfinished = make_run(tmp_path, "unfinished", days_ago=9, windows=4)
    older, newer = make_run(tmp_path, "older", days_ago=2), make_run(tmp_path, "newer", days_ago=1)
    with_free_disk(monkeypatch, tmp_path, 2000)  # 40 frames of 6x4 need 2,880 bytes

    with open_store(tmp_path, fingerprint="new", limits=RunLimits()):
        assert not older.exists()
        assert newer.exists()
        assert unfinished.exists()


def test_nothing_is_cleared_for_a_job_that_is_finished_already(tmp_path, monkeypatch):
    other, own = make_run(tmp_path, "other", days_ago=2), make_run(tmp_path, "own", days_ago=3)
    with_free_disk(monkeypatch, tmp_path, 0)

    with open_store(tmp_path, fingerprint="own", limits=RunLimits()) as store:
        assert store.folder == own
        assert store.complete
    assert other.exists()


@pytest.mark.parametrize("is_read", [True, False])
def test_without_resume_finished_runs_make_room_for_windows_that_are_there_but_not_taken(
    tmp_path, monkeypatch, is_read
):
    keys = WindowKeys(keys=[f"window {number}" for number in range(6)])
    other = make_run(tmp_path, "other", days_ago=2)
    with open_store(tmp_path, fingerprint="own", window_keys=keys) as store:
        add_windows(store)
        own, reader = store.folder, store.reader() if is_read else None
    del store
    with_free_disk(monkeypatch, tmp_path, 500)  # 40 frames of 6x4 need 2,880 bytes

    with open_store(tmp_path, fingerprint="own", window_keys=keys, resume=False, limits=RunLimits()) as store:
        assert store.windows_done == 0
        assert (store.folder != own) == is_read  # a run that nobody reads gives its own space
        assert other.exists() != is_read
    del reader


def test_the_run_to_go_on_with_is_kept_however_old_it_is(tmp_path):
    own, other = make_run(tmp_path, "own", 99, windows=2), make_run(tmp_path, "other", 99, windows=2)

    with open_store(tmp_path, fingerprint="own", limits=RunLimits(max_total_bytes=0)) as store:
        assert (store.folder, store.windows_done) == (own, 2)
    assert not other.exists()


def test_other_runs_of_the_same_settings_are_passed_over_without_their_locks(tmp_path, monkeypatch):
    # On storage that machines share a lock takes seconds, and a cluster leaves thousands of such runs.
    others = [make_run(tmp_path, "settings", windows=2)]
    with open_store(tmp_path, fingerprint="settings", frames=30) as store:
        others.append(store.folder)
    locked = []
    claim = runs.claim
    monkeypatch.setattr(runs, "claim", lambda folder: locked.append(folder) or claim(folder))

    with open_store(tmp_path, fingerprint="settings", frames=20) as store:
        assert store.folder not in others
        assert locked == [store.folder]


def test_the_limits_come_from_the_environment(monkeypatch, tmp_path):
    assert environment.run_limits() == RunLimits(14.0, 100 * 10**9)
    monkeypatch.setenv("INFINITETALK_RUNS_MAX_DAYS", "2.5")
    monkeypatch.setenv("INFINITETALK_RUNS_MAX_GB", "0.5")
    monkeypatch.setenv("INFINITETALK_IMAGE_RAM_SHARE", "0")
    monkeypatch.setenv("INFINITETALK_RUNS_FOLDER", str(tmp_path / "fast disk"))
    assert environment.run_limits() == RunLimits(2.5, 500_000_000)
    assert environment.image_ram_share() == 0
    assert environment.runs_folder(Path("usual")) == tmp_path / "fast disk"


@pytest.mark.parametrize("value", ["a lot", "nan", "inf", "-1", "1e300"])
def test_a_limit_that_is_no_number_is_named(monkeypatch, value):
    monkeypatch.setenv("INFINITETALK_RUNS_MAX_GB", value)
    with pytest.raises(UserError, match=r"INFINITETALK_RUNS_MAX_GB is .* set it to 100"):
        environment.run_limits()


@pytest.mark.skipif(os.name == "nt", reason="there any name is a home folder beside one's own")
def test_the_home_folder_of_nobody_is_named(monkeypatch):
    monkeypatch.setenv("INFINITETALK_RUNS_FOLDER", "~nosuchuser/runs")
    with pytest.raises(UserError, match="INFINITETALK_RUNS_FOLDER is '~nosuchuser/runs'"):
        environment.runs_folder(Path("usual"))
