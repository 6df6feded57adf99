"""The lease on shared storage, at the moments that processes hit by chance only."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from infinitetalk.video_io.store import lease
from infinitetalk.video_io.store.lease import Lease


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Take a lease on the file as another machine would: from nobody, or from one that shows no sign of life."""
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(lease, "LOOK_SECONDS", 0.01)
    path = tmp_path / "run.lock"
    descriptors: list[int] = []
    holders: list[Lease] = []

    def take() -> Lease:
        descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT))
        holder = Lease.take(path, descriptors[-1], alone_here=False, patient=True, contested=False)
        assert holder is not None
        holders.append(holder)
        return holder

    yield take
    for holder in holders:
        holder.release()
    for descriptor in descriptors:
        os.close(descriptor)


def test_of_two_holders_never_both_are_told_that_they_lost_it(taken, monkeypatch: pytest.MonkeyPatch):
    stopped, goes_on = threading.Event(), threading.Event()
    write = Lease._write

    def write_with_a_stop(self: Lease) -> None:
        if self is first and not stopped.is_set():
            stopped.set()
            assert goes_on.wait(60)
        write(self)

    first = taken()
    monkeypatch.setattr(Lease, "_write", write_with_a_stop)
    assert stopped.wait(60)  # in the middle of a sign of life
    second = taken()
    assert second.is_mine()

    told: list[bool] = []
    asking = threading.Thread(target=lambda: told.append(first.is_mine()))
    asking.start()
    asking.join(0.2)
    goes_on.set()
    asking.join(60)
    assert told == [True]
    assert not second.is_mine()


def test_a_network_disk_without_flushing_has_leases(taken, monkeypatch: pytest.MonkeyPatch):
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "no such call here")

    monkeypatch.setattr(os, "fsync", refuse)
    assert taken().is_mine()
