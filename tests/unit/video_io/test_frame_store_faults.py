"""What can go wrong with frames on disk: killed jobs, damaged files, full and read-only disks."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from environment import ROOT
from infinitetalk.errors import UserError
from infinitetalk.video_io import durable
from infinitetalk.video_io.store import run_search

from ...support.known_frames import FRAMES, PIXELS, WINDOW, add_windows, frames_of, open_store

SUPPORT = ROOT / "tests" / "support"
KILLS = int(os.environ.get("INFINITETALK_TEST_STORE_KILLS", 60))


class Writer:
    """The helper process of killed_writer.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(SUPPORT / "killed_writer.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def work(self, root: Path, deadly_moment: int) -> tuple[int, int]:
        """Exit status (-9: killed) and moments counted of a job on the run under `root`."""
        self._process.stdin.write(f"{root} {deadly_moment}\n")
        self._process.stdin.flush()
        status, moments = self._process.stdout.readline().split()
        return int(status), int(moments)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)


@pytest.fixture(scope="module")
def writer() -> Iterator[Writer]:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork to start many jobs quickly")
    process = Writer()
    yield process
    process.close()


def test_a_job_killed_at_any_moment_goes_on_and_ends_with_the_same_frames(tmp_path, writer):
    unbroken = tmp_path / "unbroken"
    unbroken.mkdir()
    status, moments = writer.work(unbroken, 0)
    assert status == 0
    assert moments > 100
    chance = random.Random(5)
    root = tmp_path / "killed"
    kills = 0
    while kills < KILLS:
        root.mkdir()
        while writer.work(root, chance.randint(1, moments))[0] == -9:
            kills += 1
        assert_finished_and_nothing_done_twice(root)
        shutil.rmtree(root)


def assert_finished_and_nothing_done_twice(root: Path) -> None:
    """The run is complete and right, and no window was made again after its append had returned."""
    with open_store(root) as store:
        assert store.complete
        assert np.array_equal(frames_of(store), PIXELS[:FRAMES])
    assert len(list(root.glob("run-*"))) == 1, "a killed job's folder must be used again"
    done = set()
    for line in (root / "appended.txt").read_text().splitlines():
        word, window = line.split()
        assert not (word == "start" and window in done), f"window {window} was made twice"
        if word == "done":
            done.add(window)


def test_frames_and_state_are_on_the_disk_before_the_manifest_names_them(tmp_path, monkeypatch):
    # A power cut cannot be had in a test, so the order of the system's calls is watched instead.
    calls = []
    flush, replace = os.fsync, Path.replace

    def watched_flush(descriptor: int) -> None:
        flush(descriptor)
        calls.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    def watched_replace(source: Path, target: Path) -> None:
        replace(source, target)
        calls.append(f"rename to {target.name}")

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("finds the file's name through /proc")
    with open_store(tmp_path) as store:
        monkeypatch.setattr(durable.os, "fsync", watched_flush)
        monkeypatch.setattr(Path, "replace", watched_replace)
        add_windows(store, 1)
        folder = store.folder.name
    named = calls.index("rename to manifest.json")
    for earlier in ("window-00000.rgb", "state-00000.safetensors", folder, "manifest.json.new"):
        assert earlier in calls[:named]
    assert calls[named + 1] == folder, "the new name itself must be flushed too"


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def begin(root: Path, windows: int) -> Path:
    with open_store(root, frames=200) as store:
        add_windows(store, windows)
        return store.folder


@pytest.mark.parametrize("damage", [flip_a_bit, shorten, Path.unlink])
@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("window-00011.rgb", 11),
        ("state-00011.safetensors", 11),
        ("window-00010.rgb", 8),  # the state of window 9 is gone, that of window 7 was kept for this
        ("window-00003.rgb", 0),
    ],
)
def test_a_damaged_file_costs_only_the_windows_after_the_last_good_state(tmp_path, caplog, damage, name, good):
    folder = begin(tmp_path, 12)
    damage(folder / name)
    with open_store(tmp_path, frames=200) as store:
        assert (store.folder, store.windows_done) == (folder, good)
        if good:
            assert store.state()["step"] == good - 1
        add_windows(store)
        assert np.array_equal(frames_of(store), PIXELS[:200])
    assert name in caplog.text


def test_a_damaged_window_that_a_video_still_reads_is_left_alone(tmp_path):
    with open_store(tmp_path) as store:
        add_windows(store)
        reader, folder = store.reader(), store.folder
    flip_a_bit(folder / "window-00000.rgb")
    with open_store(tmp_path) as store:
        assert store.folder != folder
        assert store.windows_done == 0
    assert np.array_equal(frames_of(reader)[WINDOW:], PIXELS[WINDOW:FRAMES])


def rewrite(folder: Path, text: bytes, backup: bool = True) -> None:
    (folder / "manifest.json").write_bytes(text)
    if backup:
        (folder / "manifest.backup.json").write_bytes(text)


def test_a_damaged_manifest_is_replaced_by_its_backup(tmp_path):
    folder = begin(tmp_path, 5)
    rewrite(folder, b"\0" * 300, backup=False)
    with open_store(tmp_path, frames=200) as store:
        assert (store.folder, store.windows_done) == (folder, 5)


def changed_manifest(folder: Path, **changes: object) -> bytes:
    return json.dumps({**json.loads((folder / "manifest.json").read_bytes()), **changes}).encode()


FOREIGN = {
    "empty": lambda folder: b"",
    "zeros": lambda folder: b"\0" * 100,
    "half": lambda folder: (folder / "manifest.json").read_bytes()[:-40],
    "a list": lambda folder: b"[1, 2]",
    "very deep": lambda folder: b"[" * 100_000,
    "another program's": lambda folder: changed_manifest(folder, format="npm"),
    "a later version": lambda folder: changed_manifest(folder, version=2),
    "without windows": lambda folder: changed_manifest(folder, windows=None),
    "windows of nothing": lambda folder: changed_manifest(folder, windows=[{}]),
    "a size below zero": lambda folder: changed_manifest(
        folder, spec={"fingerprint": "settings", "width": -6, "height": 4, "fps": 25.0, "frames": 200}
    ),
    "more frames than the video": lambda folder: changed_manifest(
        folder, spec={"fingerprint": "settings", "width": 6, "height": 4, "fps": 25.0, "frames": 3}
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_manifest_that_cannot_be_used_begins_a_new_run_and_says_so(tmp_path, caplog, kind):
    folder = begin(tmp_path, 5)
    rewrite(folder, FOREIGN[kind](folder))
    with open_store(tmp_path, frames=200) as store:
        assert store.windows_done == 0
        assert store.folder != folder
        add_windows(store)
    assert "manifest.json" in caplog.text


def test_a_manifest_that_lists_a_window_it_does_not_have_goes_back(tmp_path):
    folder = begin(tmp_path, 3)
    windows = json.loads((folder / "manifest.json").read_bytes())["windows"]
    windows[2]["frames"] = 6
    rewrite(folder, changed_manifest(folder, windows=windows))
    with open_store(tmp_path, frames=200) as store:
        assert store.windows_done == 2


def test_too_little_space_is_said_before_the_work_begins(tmp_path, monkeypatch):
    # A stand-in for a nearly full disk: the system cannot be asked for one of a given size everywhere.
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(run_search.shutil, "disk_usage", lambda folder: usage._replace(free=28_000))
    with pytest.raises(UserError, match=r"0\.00 GB free but 400 frames of 6x4 need 0\.00 GB") as error:
        open_store(tmp_path, frames=400)
    assert str(tmp_path) in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_what_stands_in_the_way_of_clearing_up_is_not_told_in_place_of_the_reason(tmp_path, monkeypatch):
    def leaves_something(root, plan, manifest):
        (next(root.iterdir()) / "Thumbs.db").touch()
        raise UserError("no space")

    monkeypatch.setattr(run_search, "check_disk", leaves_something)
    with pytest.raises(UserError, match="no space"):
        open_store(tmp_path, frames=400)


def test_only_the_frames_still_to_come_need_space(tmp_path, monkeypatch):
    with open_store(tmp_path, frames=400) as store:
        add_windows(store, 20)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(run_search.shutil, "disk_usage", lambda folder: usage._replace(free=28_000))
    with open_store(tmp_path, frames=400) as store:
        assert store.windows_done == 20


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in RAM at `folder` (needs root on Linux; else the test is skipped)."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets the tests mount nothing")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_the_disk(ballast: Path) -> None:
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_full_disk_keeps_the_finished_windows_and_the_job_goes_on_later(tmp_path):
    with mounted(tmp_path / "small disk", "size=4m") as root:
        with open_store(root) as store:
            add_windows(store, 2)
            ballast = root / "ballast"
            fill_the_disk(ballast)
            with pytest.raises(UserError, match=r"Window 3 .*No space left.*2 finished windows are kept"):
                add_windows(store, 3)
            assert store.windows_done == 2
            assert not (store.folder / "window-00002.rgb").exists()
            assert not list(store.folder.glob("*.new"))
            ballast.unlink()
            add_windows(store, 3)  # the same store can go on as soon as there is space
        with open_store(root) as store:
            assert store.windows_done == 3
            add_windows(store)
            assert np.array_equal(frames_of(store), PIXELS[:FRAMES])


@pytest.mark.parametrize("broken", ["window", "state", "manifest.json", "manifest.backup"])
def test_a_write_that_fails_leaves_the_run_as_it_was(tmp_path, monkeypatch, broken):
    # Stands in for disks that fail at one particular file; the full disk above is a real one.
    flush = os.fsync

    def fail(descriptor: int) -> None:
        if broken in Path(f"/proc/self/fd/{descriptor}").readlink().name:
            raise OSError(errno.EIO, "Input/output error")
        flush(descriptor)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("finds the file's name through /proc")
    with open_store(tmp_path) as store:
        add_windows(store, 2)
        monkeypatch.setattr(durable.os, "fsync", fail)
        if broken == "manifest.backup":
            add_windows(store, 3)  # the backup is for another day, the run itself is whole
        else:
            with pytest.raises(UserError, match=r"Window 3 .*Input/output error"):
                add_windows(store, 3)
        monkeypatch.undo()
    with open_store(tmp_path) as store:
        assert store.windows_done == (3 if broken == "manifest.backup" else 2)
        add_windows(store)
        assert np.array_equal(frames_of(store), PIXELS[:FRAMES])


def test_a_read_only_disk_is_named_in_one_sentence(tmp_path):
    with mounted(tmp_path / "disk", "size=4m") as root:
        subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
        with pytest.raises(UserError, match=r"cannot be used \(Read-only file system\)") as error:
            open_store(root)
        assert str(root) in str(error.value)


def test_a_folder_that_is_a_file_is_named_in_one_sentence(tmp_path):
    (tmp_path / "frames").write_text("not a folder")
    with pytest.raises(UserError, match="frames, cannot be used"):
        open_store(tmp_path / "frames")


def test_frames_that_get_lost_while_a_video_is_open_are_named(tmp_path):
    with open_store(tmp_path) as store:
        add_windows(store)
        shorten(store.folder / "window-00001.rgb")
        with pytest.raises(UserError, match=r"window-00001\.rgb cannot be read"):
            frames_of(store)


def test_two_processes_never_share_a_run(tmp_path):
    script = (
        "import sys; sys.path += sys.argv[1:3]\n"
        "import in_process; in_process.load_pack()\n"
        "from pathlib import Path\n"
        "from known_frames import add_windows, open_store\n"
        "with open_store(Path(sys.argv[3])) as store:\n"
        "    add_windows(store, 2)\n"
        "    print(store.folder.name, flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    command = [sys.executable, "-I", "-c", script, str(SUPPORT), str(ROOT / "tools"), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as other:
        theirs = other.stdout.readline().strip()
        with open_store(tmp_path) as store:
            assert store.folder.name != theirs
            assert store.windows_done == 2, "what the other has finished is linked"
        other.kill()
    with open_store(tmp_path) as store:
        assert store.folder.name == theirs, "the lock of a dead process must not hold"
        assert store.windows_done == 2


def test_a_clock_that_goes_back_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 4e9)
    folder = begin(tmp_path, 2)
    monkeypatch.setattr("time.time", lambda: 1e9)
    with open_store(tmp_path, frames=200) as store:
        assert (store.folder, store.windows_done) == (folder, 2)
        add_windows(store)
        assert np.array_equal(frames_of(store), PIXELS[:200])


def test_writing_a_file_never_changes_another_run_that_shares_it(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    theirs.write_bytes(b"old")
    try:
        os.link(theirs, ours)
    except OSError:
        pytest.skip("the file system has no hard links")
    durable.write_durably(ours, b"new")
    assert (ours.read_bytes(), theirs.read_bytes()) == (b"new", b"old")
