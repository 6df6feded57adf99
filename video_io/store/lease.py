"""A lease on a file: its holder shows signs of life, and a holder that falls silent loses it.

For storage that machines share. What `flock` is worth there, a program cannot find out: it holds between machines on
NFS 4, CephFS and SMB of Linux 5.5 and newer; on NFS mounted with `nolock` or `local_lock`, on Lustre with `localflock`
and on most FUSE file systems it succeeds and holds on one machine only; on Lustre without `flock` and on NFS without a
lock daemon it fails. So the lease does not count on it.

The lock file holds a record: who holds the lease, on which machine, and a number that rises every few seconds. Clocks
of machines differ, so nobody reads a time out of it. Who wants the lease looks at the record again and again: one look
at which it has changed means that the holder lives, and `SILENT_LOOKS` looks without a change that it is gone. Looks
are counted, not seconds: while the storage itself stands still nobody looks, and nobody is taken for dead.

Two who find the lease free write their records one after the other, wait, and read: the last one written holds it.
That is Fischer's algorithm (L. Lamport, "A fast mutual exclusion algorithm", ACM TOCS 5(1), 1987, section 2), and
right while a write takes less than `SETTLE_SECONDS`. A holder that had to stand still for longer finds out by `is_mine`
before it writes. Should it have stopped in the middle of a sign of life, that one takes the lease back when it goes
on, and the other holder finds out: one of the two writes on, and both write the same frames. Of a record nobody judges
while his own sign of life is on its way: else the one would be told that it has lost the lease, take it back with that
sign, and the other be told so too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import threading
import time
import uuid
from pathlib import Path

from ..durable import flush

BEAT_SECONDS = 5.0
"""Between two signs of life."""
LOOK_SECONDS = 1.0
SILENT_LOOKS = 30
"""Looks without a sign of life, after which the holder is taken for dead."""
SETTLE_SECONDS = 2.0
"""More than a write of a few bytes takes until others can read it."""
FORGOTTEN_SECONDS = 86400.0
"""A record that old, by the file's time, is nobody's any more. Clocks do not differ by a day."""
RECORD_BYTES = 128


def this_machine() -> str:
    """A name for this machine (or container): the same for all of its processes, also after it was started again.

    Copies of a machine share its host name, and containers of several machines may share a network address: both
    together they do not share.
    """
    return hashlib.sha256(f"{platform.node()} {uuid.getnode()}".encode()).hexdigest()[:16]


class Lease:
    """The record that this process has written; made by `take`, and kept alive by a thread until `release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._name = f"{uuid.uuid4().hex} {this_machine()}"
        self._beats = 0
        self._released = threading.Event()
        self._writing = threading.RLock()

    @classmethod
    def take(cls, path: Path, descriptor: int, *, alone_here: bool, patient: bool, contested: bool) -> Lease | None:
        """Take the lease on `path`; None when another holder has it.

        Args:
            path: the lock file.
            descriptor: the same, open for reading and writing, for the caller to close after `release`.
            alone_here: no other process of this machine has it: a record of this machine is a dead process's.
            patient: watch the record of another holder until it is clear whether that one lives; else it does, unless
                the record is a day old.
            contested: others may want it at the same moment.

        Raises:
            OSError: the file cannot be read or written.
        """
        record = _read(path, descriptor)
        is_our_dead = alone_here and record.decode(errors="replace").split(" ")[1:2] == [this_machine()]
        if record and not is_our_dead and not (_stays_silent(path, record) if patient else _is_forgotten(path)):
            return None
        lease = cls(path, descriptor)
        lease._write()
        if contested:
            time.sleep(SETTLE_SECONDS)
        if not lease.is_mine():
            return None
        threading.Thread(target=lease._beat, name=f"lease on {path.name}", daemon=True).start()
        return lease

    def is_mine(self) -> bool:
        """Whether nobody else has taken it: this process may have stood still for too long."""
        with self._writing:
            try:
                return _read(self._path, self._descriptor).startswith(self._name.encode())
            except FileNotFoundError:
                return False

    def release(self) -> None:
        """Give it up, so that the next one need not wait; a second call does nothing."""
        with self._writing:
            if not self._released.is_set():
                self._released.set()
                with contextlib.suppress(OSError):
                    if self.is_mine():
                        os.ftruncate(self._descriptor, 0)

    def _write(self) -> None:
        self._beats += 1
        record = f"{self._name} {self._beats}".ljust(RECORD_BYTES - 1) + "\n"
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, record.encode())
        flush(self._descriptor)

    def _beat(self) -> None:
        """Show that the holder lives, until it gives the lease up or has lost it."""
        while not self._released.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError), self._writing:  # a storage that is away for a moment
                if self._released.is_set() or not self.is_mine():
                    return
                self._write()


def _read(path: Path, descriptor: int) -> bytes:
    """The record; empty when nobody holds the lease.

    By its name, as opening a file makes NFS ask the server; by the open file where its lock forbids that (Windows).
    """
    try:
        return path.read_bytes()
    except PermissionError:
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, RECORD_BYTES)


def _stays_silent(path: Path, record: bytes) -> bool:
    """Watch a record for as long as a living holder would not leave it unchanged."""
    for _ in range(SILENT_LOOKS):
        time.sleep(LOOK_SECONDS)
        try:
            now = path.read_bytes()
        except OSError:  # deleted, or locked meanwhile: somebody is there
            return False
        if now != record:
            return not now  # given up
    return True


def _is_forgotten(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > FORGOTTEN_SECONDS
