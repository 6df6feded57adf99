"""When something fails after some windows are finished: they are kept, and the user is told how to go on."""

from __future__ import annotations

import dataclasses
import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ..support.golden_job import FRAMES, with_lora


@pytest.fixture
def small(job):
    """The job of the fingerprint's tests in three quick windows: one step, one pass, a quarter of the pixels."""
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.pictures import Pictures

    pictures = Pictures(ImageFrames(job.pictures.at(0), Fraction(25)), Fraction(25), FRAMES, (32, 32))
    settings = dataclasses.replace(job.settings, steps=1, text_cfg=1.0, audio_cfg=1.0)
    return dataclasses.replace(job, pictures=pictures, settings=settings)


def test_the_states_are_as_large_as_the_disk_is_asked_for(small, run, tmp_path):
    from infinitetalk.wanvideo.resume.share import Share

    run(small)
    sizes = {file.stat().st_size for file in tmp_path.rglob("state-*")}
    wanted = Share(small).keys().state_bytes
    assert sizes
    assert all(wanted <= size < wanted + 200 for size in sizes)  # names and shapes


@pytest.fixture
def run(comfy_core: Path, tmp_path: Path):
    """`run(small)` samples a job into a store under the test's own folder, as the node does, and returns its frames."""
    from infinitetalk.nodes.feedback import say
    from infinitetalk.nodes.progress import SamplingProgress
    from infinitetalk.wanvideo.resume.share import Share
    from infinitetalk.wanvideo.resume.stored_run import sample_to_disk

    def run(one, resume: bool = True, growing=None) -> np.ndarray:
        share = Share(one)
        store = sample_to_disk(
            share,
            tmp_path / "runs",
            resume=resume,
            say=lambda text: say(None, text),
            observer=lambda: SamplingProgress(None, one.model, share),
            growing=growing,
        )
        return np.concatenate(list(store.iter_frames()))

    return run


class Failing:
    """`function`, but call number `at` raises."""

    def __init__(self, function, at: int, error: BaseException) -> None:
        self.function, self.at, self.error, self.calls = function, at, error, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return self.function(*args, **kwargs)


def said(error: pytest.ExceptionInfo) -> str:
    return str(error.value)


ERRORS = {
    "ffmpeg gone": (OSError("ffmpeg: No such file"), "OSError: ffmpeg: No such file (window 3 of 3)"),
    "out of memory": (torch.cuda.OutOfMemoryError("CUDA out of memory"), "The memory was not enough for window 3 of 3"),
    "out of memory on the CPU": (RuntimeError("can't allocate memory"), "The memory was not enough for window 3 of 3"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_in_the_third_window_keeps_two_and_the_next_run_makes_the_third_alone(small, run, monkeypatch, name):
    from infinitetalk.errors import UserError
    from infinitetalk.wanvideo.sampling import WindowLoop

    unbroken = run(small)
    assert len(unbroken) == FRAMES
    error, sentence = ERRORS[name]
    failing = Failing(WindowLoop._sample, 3, error)
    monkeypatch.setattr(WindowLoop, "_sample", lambda loop, window, motion: failing(loop, window, motion))
    with pytest.raises(UserError) as raised:
        run(small, resume=False)
    assert said(raised).startswith(sentence)
    assert "the 2 finished windows of 3 are kept" in said(raised)
    assert said(raised).endswith("queue the same graph again to go on.")

    assert np.array_equal(run(small), unbroken)
    assert failing.calls == 4


def test_windows_of_a_folder_that_was_deleted_in_the_meantime_are_not_said_to_be_kept(
    small, run, monkeypatch, tmp_path
):
    from infinitetalk.errors import UserError
    from infinitetalk.wanvideo.sampling import WindowLoop

    real = WindowLoop._sample

    def sample(loop, window, motion):
        if window.index < 2:
            return real(loop, window, motion)
        for file in (tmp_path / "runs").rglob("window-*.rgb"):
            file.unlink()
        raise OSError("the disk is gone")

    monkeypatch.setattr(WindowLoop, "_sample", sample)
    with pytest.raises(UserError, match="only 0 of the 2 finished windows are left in "):
        run(small, resume=False)


def test_an_error_in_the_first_window_stays_what_it_is(small, run, monkeypatch):
    from infinitetalk.wanvideo.sampling import WindowLoop

    monkeypatch.setattr(WindowLoop, "_sample", Failing(None, 1, torch.cuda.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run(small)


def test_an_interrupt_stays_an_interrupt_and_says_what_is_kept(small, run, monkeypatch, caplog):
    import comfy.model_management
    from infinitetalk.wanvideo.sampling import WindowLoop

    unbroken = run(small)
    stop = comfy.model_management.InterruptProcessingException()
    failing = Failing(WindowLoop._sample, 2, stop)
    monkeypatch.setattr(WindowLoop, "_sample", lambda loop, window, motion: failing(loop, window, motion))
    caplog.set_level(logging.INFO)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(small, resume=False)
    assert (
        "Stopped: the finished window of 3 is kept, queue the same graph again to go on; growing_video makes"
        in caplog.text
    )
    assert np.array_equal(run(small), unbroken)
    assert "Resumed at window 2 of 3" in caplog.text


def test_a_stop_while_a_growing_video_takes_what_is_finished_says_what_is_kept(
    small, run, monkeypatch, caplog, tmp_path
):
    import comfy.model_management as memory
    from infinitetalk.video_io.store.growing_video import GrowingVideo
    from infinitetalk.wanvideo.sampling import WindowLoop

    class StoppedAtOnce(GrowingVideo):
        def follow(self, *args):
            memory.interrupt_current_processing()
            super().follow(*args)

    stop = memory.InterruptProcessingException()
    failing = Failing(WindowLoop._sample, 2, stop)
    monkeypatch.setattr(WindowLoop, "_sample", lambda loop, window, motion: failing(loop, window, motion))
    with pytest.raises(memory.InterruptProcessingException):
        run(small)
    caplog.clear()
    caplog.set_level(logging.INFO)
    with pytest.raises(memory.InterruptProcessingException), StoppedAtOnce(tmp_path, None, print, print) as growing:
        run(small, growing=growing)
    assert growing._frames == 0
    assert "the finished window of 3 is kept, queue the same graph again to go on; growing_video makes" in caplog.text


def with_failing_decoder(vae, monkeypatch, error: Exception, times: int):
    """The VAE's own model runs out of memory at its first `times` calls."""
    model = vae.first_stage_model
    decode, calls = model.decode, []

    def failing(*args, **kwargs):
        calls.append(args[0].shape)
        if len(calls) <= times:
            raise error
        return decode(*args, **kwargs)

    monkeypatch.setattr(model, "decode", failing)
    return calls


MEMORY_ERRORS = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),  # core falls back by itself
    RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),  # core does not
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ..."),
]


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=["cuda", "mps", "cpu"])
def test_a_window_that_does_not_fit_is_decoded_in_tiles_once_and_the_user_is_told(models, monkeypatch, error):
    from infinitetalk.wanvideo.model.vae_tiles import with_tiles_if_needed

    latent = torch.randn(1, 16, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    whole = models.vae.decode(latent)
    calls = with_failing_decoder(models.vae, monkeypatch, error, times=1)
    told = []
    careful = with_tiles_if_needed(models.vae, told.append)
    tiled = careful.decode(latent)

    assert told == ["Too little memory to decode a whole window: it is decoded in tiles"]
    assert tiled.shape == whole.shape
    assert calls[0] == latent.shape
    assert max(shape[-1] for shape in calls[1:]) == 32
    assert (tiled - whole).abs().mean() < 0.05
    assert torch.equal(careful.decode(latent), whole), "the next window is tried whole"
    assert len(told) == 1
    assert models.vae.decode.__self__ is models.vae, "the user's VAE stays as it is"


@pytest.mark.parametrize("error", MEMORY_ERRORS, ids=["cuda", "mps", "cpu"])
def test_tiles_that_do_not_fit_either_are_an_error(models, monkeypatch, error):
    from infinitetalk.wanvideo.model.vae_tiles import with_tiles_if_needed

    calls = with_failing_decoder(models.vae, monkeypatch, error, times=1000)
    with pytest.raises(type(error)):
        with_tiles_if_needed(models.vae, [].append).decode(torch.zeros(1, 16, 3, 40, 40))
    assert len(calls) == 2


def test_other_errors_of_the_decoder_are_not_hidden(models, monkeypatch):
    from infinitetalk.wanvideo.model.vae_tiles import with_tiles_if_needed

    with_failing_decoder(models.vae, monkeypatch, RuntimeError("expected 16 channels"), times=1)
    with pytest.raises(RuntimeError, match="16 channels"):
        with_tiles_if_needed(models.vae, [].append).decode(torch.zeros(1, 16, 3, 8, 8))


def test_a_changed_lora_strength_begins_a_run_of_its_own(small, run, caplog):
    caplog.set_level(logging.INFO)
    full, half = (dataclasses.replace(small, model=with_lora(small.model, strength)) for strength in (1.0, 0.5))
    first = run(full)
    assert not np.array_equal(run(half), first)
    assert "Resumed" not in caplog.text
    assert np.array_equal(run(full), first)
    assert "Resumed at window 3 of 3: all done" in caplog.text


def test_a_source_video_that_changes_later_uses_the_windows_before_the_change(small, run, caplog):
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.pictures import Pictures

    def dubbed(frames: torch.Tensor):
        return dataclasses.replace(
            small, pictures=Pictures(ImageFrames(frames, Fraction(25)), Fraction(25), FRAMES, (32, 32))
        )

    caplog.set_level(logging.INFO)
    picture = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(2)) * 0.8
    frames = picture + torch.linspace(0, 0.05, FRAMES)[:, None, None, None]
    run(dubbed(frames))
    frames[24, 8:16] += 0.1  # the windows begin with frames 0, 12 and 24
    resumed = run(dubbed(frames))
    assert "Resumed at window 3 of 3" in caplog.text
    assert np.array_equal(run(dubbed(frames), resume=False), resumed)


def test_another_sound_is_another_job_from_its_first_window_on(small, run, caplog):
    """Every embedding has heard the whole sound, so none of them is the same."""
    caplog.set_level(logging.INFO)
    run(small)
    run(dataclasses.replace(small, embeds=dataclasses.replace(small.embeds, digests=["something else"])))
    assert "Resumed" not in caplog.text
