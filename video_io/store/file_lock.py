"""One exclusive lock on one file, for Windows, Linux and macOS.

The operating system drops the lock when the process ends, however it ends: a killed job never leaves a run
folder locked. Two locks of one process exclude each other too, so that two jobs of one server are kept apart
like two servers. Where other machines may write too, or the file system knows no locks, the lock is a lease as well
(see `lease.py`).

Why not `filelock`, which torch brings along: this file is more than a lock. A run folder is known by it, and its time
is the run's last use (see `run_folders.py`). `filelock` deletes the file on Windows whenever the lock is released, its
releases before 4 set the file's time whenever they lock it, and none deletes it under the lock on POSIX, as clearing a
run must, so that nobody takes a lock on a file that is about to go. Where a file system has no locks it falls back to
a marker that a killed process leaves behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import weakref
from pathlib import Path

from .lease import Lease
from .shared_storage import is_shared

NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
"""What a file system without locks answers."""

if sys.platform == "win32":
    import msvcrt

    def _lock_without_waiting(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _lock_without_waiting(descriptor: int) -> bool:
        # flock, not lockf: its lock belongs to the opened file and not to the process, so it also excludes
        # a second job in the same server, and closing some other handle of the file does not drop it.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class FileLock:
    """A held lock on a file of its own; released by `release`, by garbage collection or with the process."""

    def __init__(self, path: Path, descriptor: int, lease: Lease | None = None) -> None:
        self.path = path
        self._finalizer = weakref.finalize(self, _close, descriptor, path, lease, False)
        self._descriptor = descriptor
        self._lease = lease

    @classmethod
    def try_acquire(cls, path: Path, *, patient: bool = False, contested: bool = True) -> FileLock | None:
        """Lock `path`, creating it if need be; None when another holder has it.

        Never waits on a disk of this machine. On shared storage `patient` waits until it is clear whether a holder on
        another machine lives, and `contested` (nobody else knows the file if it is not) a moment for others who want it
        too: see `Lease.take`.

        Raises:
            OSError: the file cannot be created or used.
        """
        existed = path.exists()
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except PermissionError:
            if os.name == "nt" and existed:  # Windows: the holder is just about to delete it
                return None
            raise
        try:
            alone_here = _try_lock(descriptor)
            if alone_here is not False and _is_same_file(descriptor, path):
                if alone_here and not is_shared(path.parent):
                    return cls(path, descriptor)
                lease = Lease.take(path, descriptor, alone_here=bool(alone_here), patient=patient, contested=contested)
                if lease is not None:
                    return cls(path, descriptor, lease)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    @property
    def held(self) -> bool:
        """Whether the lock is still held."""
        return self._finalizer.alive

    def is_lost(self) -> bool:
        """Whether another machine has taken the lock over, as this process had stood still for too long."""
        return self._lease is not None and not self._lease.is_mine()

    def release(self, *, delete: bool = False) -> None:
        """Let go of the lock, and of its file with `delete`; a second call does nothing."""
        if self._finalizer.detach() is not None:
            _close(self._descriptor, self.path, self._lease, delete)

    def delete_with_holder(self) -> FileLock:
        """Make the file go away with this object (for a marker that nobody else will ever lock)."""
        if self._finalizer.detach() is not None:
            self._finalizer = weakref.finalize(self, _close, self._descriptor, self.path, self._lease, True)
        return self


def _try_lock(descriptor: int) -> bool | None:
    """Whether this process has the lock now; None where the file system knows no locks."""
    try:
        return _lock_without_waiting(descriptor)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Whether `path` still names the opened file: a cleaner may have deleted it between open and lock."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _close(descriptor: int, path: Path, lease: Lease | None, delete: bool) -> None:
    # POSIX deletes under the lock, so that nobody locks a file that is about to go. Windows cannot delete an
    # open file; whoever locks it in between simply keeps it.
    delete = delete and not (lease is not None and not lease.is_mine())
    if delete and os.name != "nt":
        path.unlink(missing_ok=True)
    if lease is not None:
        lease.release()
    os.close(descriptor)
    if delete and os.name == "nt":
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
