"""Rows in memory and on disk: the same rows back, and an error that fits whatever is kept."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.spool import Spool


@pytest.mark.parametrize("memory_bytes", [1 << 20, 0], ids=["memory", "file"])
def test_rows_come_back_as_they_were_in_order(tmp_path, memory_bytes):
    rows = torch.randn(100, 3)
    with Spool((3,), folder=tmp_path, memory_bytes=memory_bytes) as spool:
        for piece in rows.split(7):
            spool.append(piece)
        assert np.array_equal(spool.read(5, 20), rows[5:20])
        kept = spool.finish()
    assert torch.equal(kept, rows)
    assert not list(tmp_path.iterdir())


class FullDisk:
    """Stands for a temporary file on a full disk, which cannot be had without rights to mount one."""

    def write(self, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        """Nothing is open."""


def test_a_full_disk_is_a_sentence_about_the_disk_and_not_about_what_was_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: FullDisk())
    with Spool((1000,), folder=tmp_path, memory_bytes=0) as spool, pytest.raises(UserError) as raised:
        spool.append(torch.zeros(1000, 1000))
    said = str(raised.value)
    assert str(tmp_path) in said
    assert "No space left" in said
    assert said.endswith("make room there and queue again.")
    for kind in ("sound", "picture", "embedding"):  # the caller may keep any of them
        assert kind not in said.replace(str(tmp_path), "")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB and some ten files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=10", "tmpfs", str(folder)]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _spooled(folder: Path, rows: int) -> torch.Tensor:
    with Spool((256,), folder=folder, memory_bytes=0) as spool:
        for _ in range(rows):
            spool.append(torch.ones(1, 256))
        return spool.finish()


@pytest.mark.parametrize("rows", [1023, 1024 + 1, 1024 + 7, 2000])
def test_a_disk_that_fills_up_in_the_last_bytes_is_a_sentence(small_disk, rows):
    """What is left in the buffer is only written when the rows are asked for, or the file is closed."""
    (small_disk / "filled").write_bytes(bytes(4096))
    with pytest.raises(UserError, match=r"and then failed \(No space left"):
        _spooled(small_disk, rows)
    assert [path.name for path in small_disk.iterdir()] == ["filled"]


def test_a_disk_without_room_for_names_is_a_sentence(small_disk):
    for number in range(9):
        (small_disk / f"{number}").touch()
    with (
        pytest.raises(UserError, match="No temporary file can be made"),
        Spool(folder=small_disk, memory_bytes=0) as spool,
    ):
        spool.append(torch.zeros(10))


def test_a_read_only_disk_and_a_file_in_place_of_the_folder_are_sentences(small_disk):
    (small_disk / "file").touch()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for folder in (small_disk, small_disk / "file", small_disk / "missing"):
        with (
            pytest.raises(UserError, match="No temporary file can be made"),
            Spool(folder=folder, memory_bytes=0) as spool,
        ):
            spool.append(torch.zeros(10))
