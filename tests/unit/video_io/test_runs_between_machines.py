"""Storage that machines share and whose locks do not reach from one to the other: a run has one writer all the same."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from infinitetalk.video_io.store import shared_storage
from infinitetalk.video_io.store.run_folders import LOCK_NAME

from ...support.conditions import wait_until
from ...support.known_frames import FRAMES, PIXELS, add_windows, frames_of, open_store
from ...support.machines import SILENCE, Machine, Machines, Order

WINDOWS = 6  # of the whole video
KINDS = ["none", "local"]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks processes and sends POSIX signals")


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with Machines() as started:
        yield started


def assert_right_video(root: Path) -> None:
    with open_store(root) as store:
        assert store.complete
        assert np.array_equal(frames_of(store), PIXELS[:FRAMES])


def has_a_window(machine: Machine) -> bool:
    """Whether it has made a window, or linked one that another had made when it opened the job."""
    return bool(machine.told("appended")) or machine.told("opened")[1:2] == [1]


@pytest.mark.parametrize("locks", KINDS)
def test_machines_that_open_a_job_at_the_same_moment_never_get_one_run(machines: Machines, tmp_path: Path, locks: str):
    for attempt in range(3):
        root = tmp_path / str(attempt)
        root.mkdir()
        start = time.time() + 0.3
        opened = [machines.start(Order(str(root), f"m{n}", locks, at=start, windows=1)) for n in range(3)]
        wait_until(lambda opened=opened: all(map(has_a_window, opened)))
        assert len({one.told("opened")[0] for one in opened}) == 3
        for one in opened:
            os.kill(one.pid, signal.SIGKILL)


@pytest.mark.parametrize("locks", KINDS)
def test_several_that_take_over_a_dead_one_s_run_at_once_do_not_share_it(
    machines: Machines, tmp_path: Path, locks: str
):
    dead = machines.start(Order(str(tmp_path), "dead", locks, windows=2))
    wait_until(lambda: dead.told("appended") == [2])
    os.kill(dead.pid, signal.SIGKILL)

    start = time.time() + 0.3
    heirs = [machines.start(Order(str(tmp_path), f"heir{n}", locks, at=start)) for n in range(3)]
    wait_until(lambda: all(one.told("complete") for one in heirs))

    folders = [one.told("opened")[0] for one in heirs]
    assert len(set(folders)) == 3
    (taken,) = [one.told("opened") for one in heirs if one.told("opened")[0] == dead.told("opened")[0]]
    assert taken[1] == 2, "it made finished windows again"
    assert_right_video(tmp_path)


@pytest.mark.parametrize("locks", KINDS)
def test_a_living_machine_keeps_its_run_however_long_a_window_takes_and_whatever_its_clock_says(
    machines: Machines, tmp_path: Path, locks: str
):
    slow = machines.start(Order(str(tmp_path), "slow", locks, pause=3 * SILENCE, windows=1))
    wait_until(lambda: slow.told("opened"))
    half_a_day_ago = time.time() - 43_200
    os.utime(tmp_path / slow.told("opened")[0] / LOCK_NAME, (half_a_day_ago, half_a_day_ago))

    other = machines.start(Order(str(tmp_path), "other", locks))
    wait_until(lambda: other.told("complete"))

    assert other.told("opened")[0] != slow.told("opened")[0]
    wait_until(lambda: slow.told("appended"))
    os.kill(slow.pid, signal.SIGKILL)


@pytest.mark.parametrize("locks", KINDS)
def test_of_a_machine_that_stood_still_and_the_one_that_took_its_run_one_writes_on(
    machines: Machines, tmp_path: Path, locks: str
):
    frozen = machines.start(Order(str(tmp_path), "frozen", locks, pause=0.3))
    wait_until(lambda: frozen.told("appended"))
    os.kill(frozen.pid, signal.SIGSTOP)
    heir = machines.start(Order(str(tmp_path), "heir", locks, pause=0.3))
    wait_until(lambda: heir.told("opened"))
    folder, done, waited = heir.told("opened")
    assert (folder, done) == (frozen.told("opened")[0], frozen.told("appended")[0])
    assert waited >= SILENCE

    os.kill(frozen.pid, signal.SIGCONT)
    wait_until(lambda: frozen.told("refused") or heir.told("refused"))
    # Signs of life are slow here: it may have been stopped in the middle of one, which then takes the run back.
    stopped, other = (frozen, heir) if frozen.told("refused") else (heir, frozen)
    assert "taken over by another machine" in stopped.told("refused")[0]
    assert "queue the same graph again" in stopped.told("refused")[0]
    wait_until(lambda: other.told("complete"))
    assert not other.told("refused")
    assert_right_video(tmp_path)


def test_a_dead_process_of_the_same_machine_is_known_by_the_lock_at_once(machines: Machines, tmp_path: Path):
    dead = machines.start(Order(str(tmp_path), "dead", "local", machine="here", windows=2))
    wait_until(lambda: dead.told("appended") == [2])
    os.kill(dead.pid, signal.SIGKILL)
    heir = machines.start(Order(str(tmp_path), "heir", "local", machine="here"))
    wait_until(lambda: heir.told("complete"))
    folder, done, waited = heir.told("opened")
    assert (folder, done) == (dead.told("opened")[0], 2)
    assert waited < SILENCE


def test_a_run_that_was_given_up_is_had_without_waiting(machines: Machines, tmp_path: Path):
    first = machines.start(Order(str(tmp_path), "first", "none"))
    wait_until(lambda: first.told("complete"))
    second = machines.start(Order(str(tmp_path), "second", "none"))
    wait_until(lambda: second.told("complete"))
    folder, done, waited = second.told("opened")
    assert (folder, done) == (first.told("opened")[0], WINDOWS)
    assert waited < SILENCE


def test_a_disk_of_this_machine_needs_no_lease(tmp_path: Path):
    with open_store(tmp_path) as store:
        add_windows(store, 1)
        assert (store.folder / LOCK_NAME).read_bytes() == b""


MOUNTS = """\
22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 22 0:50 / /mnt/team\\040files rw shared:2 - nfs4 server:/team rw,vers=4.2
31 30 0:51 / /mnt/team\\040files/scratch rw - tmpfs tmpfs rw
32 22 0:52 / /mnt/bucket rw - fuse.gcsfuse bucket rw
33 22 0:53 / /mnt/bucket rw - cifs //server/share rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "ext4"),
        ("/mnt/team files/runs", "nfs4"),
        ("/mnt/team", "ext4"),
        ("/mnt/team files/scratch/runs", "tmpfs"),
        ("/mnt/bucket/x", "cifs"),  # mounted over the other
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(folder: str, kind: str):
    assert shared_storage.file_system_type(Path(folder), MOUNTS) == kind
