"""The video of finished windows that grows: playable at any moment, and the sound runs with the picture."""

from __future__ import annotations

import logging
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from infinitetalk.video_io.store.frame_store import FrameStore
from infinitetalk.video_io.store.growing_video import GrowingVideo
from infinitetalk.video_io.store.run_plan import WindowKeys

RATE, SIDE, WINDOW = 44100, 64, 25
HELD_BACK = 6  # frames of an open fragment, at most


def levels(frames: int) -> np.ndarray:
    """Frames of one gray each, which tell their number: uint8 `[frames, SIDE, SIDE, 3]`."""
    return np.broadcast_to((3 * np.arange(frames, dtype=np.uint8) + 20)[:, None, None, None], (frames, SIDE, SIDE, 3))


def sound(seconds: float) -> dict:
    """A tone that begins at 1 s."""
    times = torch.arange(round(seconds * RATE)) / RATE
    return {"waveform": (0.5 * torch.sin(2760 * times) * (times >= 1))[None, None], "sample_rate": RATE}


@pytest.fixture
def store(tmp_path: Path) -> FrameStore:
    """A run of four windows of a second."""
    size = {"width": SIDE, "height": SIDE, "frame_rate": Fraction(25), "frames": 4 * WINDOW}
    return FrameStore.open(tmp_path / "runs", "x", resume=True, **size)


class Shown(list):
    """What the editor was told."""

    def growing(self, folder: Path, audio: dict | None) -> GrowingVideo:
        return GrowingVideo(folder / "out put", audio, self.append, self.append)


def content(path: Path) -> tuple[list[int], np.ndarray]:
    """Gray level of each frame, and the samples."""
    with av.open(str(path)) as file:
        grays = [round(float(frame.to_ndarray(format="rgb24").mean())) for frame in file.decode(video=0)]
    with av.open(str(path)) as file:
        blocks = [frame.to_ndarray()[0] for frame in file.decode(audio=0)] if file.streams.audio else []
    return grays, np.concatenate(blocks) if blocks else np.empty(0)


def grown_to(path: Path, frames: int) -> tuple[list[int], np.ndarray]:
    """The content as soon as it has so many frames; the encoder works beside us."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if path.is_file() and path.stat().st_size > 1000 and len((found := content(path))[0]) >= frames:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} does not grow to {frames} frames")


def assert_is_the_first(grays: list[int], expected: np.ndarray) -> None:
    """Up to what the encoder rounds."""
    assert np.abs(np.array(grays) - expected[: len(grays), 0, 0, 0]).max() < 4


def test_it_plays_after_every_window_and_what_is_left_of_a_stopped_job_is_exact(tmp_path, store):
    frames, shown = levels(4 * WINDOW), Shown()
    with shown.growing(tmp_path, sound(4.0)) as growing:
        growing.follow(store)
        assert growing.path is None
        for window in range(3):
            store.append(frames[window * WINDOW : (window + 1) * WINDOW], {})
            growing.follow(store)
            grays, samples = grown_to(growing.path, (window + 1) * WINDOW - HELD_BACK)
            assert_is_the_first(grays, frames)
            assert len(samples) / RATE == pytest.approx(len(grays) / 25, abs=0.1)

    grays, samples = content(growing.path)
    assert len(grays) == 3 * WINDOW
    assert_is_the_first(grays, frames)
    assert len(samples) / RATE == pytest.approx(3.0, abs=0.03)
    assert np.flatnonzero(np.abs(samples) > 0.1)[0] / RATE == pytest.approx(1.0, abs=0.02)
    assert shown == [growing.path] * 4
    assert list(growing.path.parent.iterdir()) == [growing.path]
    assert not list(store.folder.glob("temporary-*"))


def test_windows_of_a_former_run_are_in_it_at_once_and_a_finished_video_needs_none(tmp_path, store):
    frames, shown = levels(4 * WINDOW), Shown()
    store.append(frames[: 2 * WINDOW], {})
    with shown.growing(tmp_path, None) as growing:
        growing.follow(store)
        grays, _ = grown_to(growing.path, 2 * WINDOW - HELD_BACK)
        assert_is_the_first(grays, frames)
        store.append(frames[2 * WINDOW :], {})
        growing.follow(store)

        assert not growing.path.exists()
    assert shown == [growing.path, None]
    assert not growing.path.exists()


def test_a_stop_comes_through_while_windows_of_a_former_run_are_put_in(tmp_path, store):
    frames, asked = levels(4 * WINDOW), []
    for window in range(3):
        store.append(frames[window * WINDOW : (window + 1) * WINDOW], {})

    def stop() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Shown().growing(tmp_path, sound(4.0)) as growing:
        growing.follow(store, stop)
    assert not growing.has_all_of(store)
    grays, samples = content(growing.path)
    assert len(grays) == 2 * WINDOW
    assert_is_the_first(grays, frames)
    assert len(samples) / RATE == pytest.approx(2.0, abs=0.03)


def test_what_it_could_not_take_is_not_said_to_be_in_it(tmp_path, store):
    frames = levels(4 * WINDOW)
    with Shown().growing(tmp_path, None) as growing:
        store.append(frames[:WINDOW], {})
        growing.follow(store)
        assert growing.has_all_of(store)
        growing._ffmpeg._process.kill()
        for window in (1, 2):
            store.append(frames[window * WINDOW : (window + 1) * WINDOW], {})
            growing.follow(store)
        assert not growing.has_all_of(store)


def test_a_sound_that_cannot_be_deleted_now_does_not_stop_the_job(tmp_path, store, monkeypatch):
    def in_use(path: Path, missing_ok: bool = False, delete=Path.unlink) -> None:
        if path.suffix == ".f32":
            raise PermissionError("it is used by another process")
        delete(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", in_use)
    store.append(levels(WINDOW), {})
    with Shown().growing(tmp_path, sound(4.0)) as growing:
        growing.follow(store)
    assert len(content(growing.path)[0]) == WINDOW


def test_what_a_stopped_job_has_left_is_no_other_videos(tmp_path):
    size = {"width": SIDE, "height": SIDE, "frame_rate": Fraction(25), "frames": 4 * WINDOW, "resume": True}
    paths = []
    for runs, said in (("runs", "this"), ("other server's runs", "that"), ("runs after they were deleted", "this")):
        keys = WindowKeys(keys=[f"{said} {window}" for window in range(4)])
        store = FrameStore.open(tmp_path / runs, "x", window_keys=keys, **size)
        with store, Shown().growing(tmp_path, None) as growing:
            store.append(levels(WINDOW), {})
            growing.follow(store)
        paths.append(growing.path)
    assert paths[0] == paths[2] != paths[1]
    assert paths[1].is_file()


def test_it_has_the_exact_rate_of_the_run(tmp_path):
    size = {"width": SIDE, "height": SIDE, "frame_rate": Fraction(120_000, 1001), "frames": 80}
    store = FrameStore.open(tmp_path / "runs", "x", resume=True, **size)
    with Shown().growing(tmp_path, None) as growing:
        store.append(levels(72), {})
        growing.follow(store)
    with av.open(str(growing.path)) as file:
        times = [frame.time for frame in file.decode(video=0)]
    assert times[-1] - times[0] == pytest.approx(71 * 1001 / 120_000, abs=1e-4)


def test_a_file_that_cannot_be_written_does_not_stop_the_job(tmp_path, store, caplog):
    caplog.set_level(logging.INFO)
    (tmp_path / "out put").write_text("no folder")
    shown = Shown()
    store.append(levels(WINDOW), {})
    with shown.growing(tmp_path, sound(4.0)) as growing:
        growing.follow(store)
        growing.follow(store)

    assert len(shown) == 1
    assert shown[0].startswith("growing_video has ended: ")
