"""Every call to the disk may fail, at any moment and for any reason: a sentence, and nothing is lost or left behind.

Stands in for disks that fail at one call; full, read-only and nameless ones are real in the tests beside this one.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from infinitetalk import spool
from infinitetalk.audio.decode import decode_file
from infinitetalk.errors import UserError
from infinitetalk.video_io.read.video_file import FileFrames
from infinitetalk.video_io.save.workspace import WORKSPACE_PREFIX
from infinitetalk.video_io.save.writer import VideoError

from ...support import media
from ...support.known_frames import FRAMES, PIXELS, add_windows, frames_of, open_store

REASONS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.ESTALE, errno.EMFILE)
CALLS = {"open": io, "mkdir": os, "fsync": os, "replace": os, "link": os, "unlink": os, "scandir": os, "stat": os}
AT_MOST = 12  # moments of one call that are tried


class FailingCall:
    """One of Python's calls to the disk under a folder: counts, and fails once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, folder: Path) -> None:
        self.plain, self.folder = getattr(CALLS[name], name), folder
        self.count, self.fails_at, self.reason, self.is_armed = 0, 0, 0, False
        monkeypatch.setattr(CALLS[name], name, self)

    def __call__(self, *arguments, **options):
        target = str(arguments[0])
        if self.is_armed and (target.startswith(str(self.folder)) or target.isdigit()):
            self.count += 1
            if self.count == self.fails_at:
                raise OSError(self.reason, os.strerror(self.reason), target)
        return self.plain(*arguments, **options)

    def arm(self, fails_at: int, reason: int) -> None:
        self.count, self.fails_at, self.reason, self.is_armed = 0, fails_at, reason, True

    def disarm(self) -> None:
        self.is_armed = False


def tried(call: FailingCall, work: Callable[[], object]) -> list[str]:
    """Has the call fail at moments spread over all of them; returns what was said each time, empty where it worked."""
    call.arm(0, 0)
    work()
    moments = sorted({round(place) for place in np.linspace(1, call.count, AT_MOST)}) if call.count else []
    said = []
    for moment, reason in zip(moments, itertools.cycle(REASONS), strict=False):
        call.arm(moment, reason)
        try:
            work()
        except (UserError, VideoError) as error:
            said.append(str(error))
        else:
            said.append("")
        call.disarm()
    assert all("\n" not in one and len(one) < 1100 for one in said)
    print(f"{len(said)} faults, {sum(map(bool, said))} sentences: {sorted(set(said))[-1:]}")  # noqa: T201
    return said


@pytest.mark.parametrize("name", CALLS)
def test_a_store_keeps_what_is_finished_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    folders = (tmp_path / str(number) for number in itertools.count())
    call = FailingCall(monkeypatch, name, tmp_path)

    def work() -> None:
        folder, done = next(folders), 0
        try:
            with open_store(folder) as store:
                for windows in range(1, 5):
                    add_windows(store, windows)
                    done = windows
        finally:
            call.disarm()
            with open_store(folder) as store:
                assert store.windows_done >= done
                add_windows(store)
                assert np.array_equal(frames_of(store), PIXELS[:FRAMES])

    tried(call, work)


@pytest.mark.parametrize("name", CALLS)
def test_a_save_is_whole_or_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save, output, name: str):
    pictures, sound = media.make_pictures(5, 16, 16), media.make_sound(0.2)
    call = FailingCall(monkeypatch, name, output)
    saved: list[Path] = []

    def work() -> None:
        try:
            saved.append(save(pictures, sound).path)
        finally:
            call.disarm()
            left = [path for path in output.rglob("*") if path.is_file() and path not in saved]
            # A folder that cannot be listed cannot be cleared: a later save does it.
            assert not left or (name == "scandir" and all(WORKSPACE_PREFIX in str(path) for path in left))

    tried(call, work)
    assert all(FileFrames(path).count == 5 for path in saved[-2:])


@pytest.mark.parametrize("name", ["open", "mkdir", "stat", "unlink"])
def test_a_long_sound_is_whole_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    path, folder = media.write_speech(tmp_path, 0.5), tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(spool, "MEMORY_BYTES", 0)
    call = FailingCall(monkeypatch, name, tmp_path)

    def work() -> None:
        try:
            assert decode_file(path, folder=folder).seconds == 0.5
        finally:
            call.disarm()
            assert list(folder.iterdir()) == []

    tried(call, work)
