"""Rows in memory and on disk: the same rows back, and an error that fits whatever is kept."""

from __future__ import annotations

import errno
import tempfile

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
