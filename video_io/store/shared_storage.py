"""Whether a folder lies on storage that other machines may write to as well."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
LOCAL_TYPES = {
    *("apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk", "hfsplus", "jfs", "msdos"),
    *("ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "rootfs", "tmpfs", "ubifs", "vfat", "xfs", "zfs"),
}
"""File systems of one machine: its kernel sees all that happens on them, so `flock` holds. NFS, SMB, Lustre, Ceph,
9p, virtiofs and whatever else there may be is taken for shared."""


def is_shared(folder: Path) -> bool:
    """Whether other machines may write to `folder`.

    Known on Linux by the type of the file system and on Windows by the kind of the drive. Elsewhere (macOS) the answer
    is no, and `flock` is trusted.
    """
    if sys.platform == "win32":
        return _is_remote_drive(folder)
    try:
        mounts = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    return file_system_type(folder.resolve(), mounts) not in LOCAL_TYPES


def file_system_type(folder: Path, mounts: str) -> str:
    """The type of the file system of `folder`, an absolute path, from the text of /proc/self/mountinfo.

    The format is that of proc_pid_mountinfo(5): the fifth field is the mount point, with octal escapes, and the type
    stands behind a lone dash. Of mounts on one point the last one counts.
    """
    found: tuple[int, str] = (-1, "")
    for line in mounts.splitlines():
        head, _, tail = line.partition(" - ")
        fields = head.split(" ")
        if len(fields) < 5 or not tail:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if folder.is_relative_to(point) and len(point.parts) >= found[0]:
            found = len(point.parts), tail.split(" ")[0]
    return found[1]


def _is_remote_drive(folder: Path) -> bool:
    """Whether Windows calls the drive of `folder` a network drive; a path such as \\\\server\\share is on one."""
    if sys.platform != "win32":
        return False
    import ctypes

    drive_remote = 4  # DRIVE_REMOTE of GetDriveTypeW
    root = os.path.splitdrive(folder.resolve())[0] + "\\"
    return root.startswith("\\\\") or ctypes.windll.kernel32.GetDriveTypeW(root) == drive_remote
