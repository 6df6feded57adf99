"""The measure of lip sync itself, on drawn faces whose motion is known."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from evaluation import measure
from evaluation.finished import decode
from PIL import Image
from scipy.ndimage import gaussian_filter
from training.faces import FPS, Face, Motion, render

from ..support.talking_faces import SAMPLE_RATE, voice

SECONDS = 6
FRAMES = SECONDS * FPS
PAUSE = slice(round(2.5 * SAMPLE_RATE), round(3.3 * SAMPLE_RATE))


@dataclass(frozen=True)
class Talk:
    """A face that says something."""

    face: Face
    motion: Motion
    frames: np.ndarray
    """uint8 `[FRAMES, SIZE, SIZE, 3]`."""
    sound: np.ndarray
    """`[samples]` at SAMPLE_RATE."""


def babble(seed: int) -> np.ndarray:
    """A voice with a pause."""
    sound = voice(SECONDS, seed).wave.copy()
    sound[PAUSE] = 0
    return sound


def drive(sound: np.ndarray, rate: int = SAMPLE_RATE) -> np.ndarray:
    return measure.opening_for(sound, rate, FRAMES)


def late(sound: np.ndarray, frames: int) -> np.ndarray:
    """The sound some frames later; what leaves at one end comes in at the other."""
    return np.roll(sound, round(frames / FPS * SAMPLE_RATE), axis=0)


def draw(seed: int, sound: np.ndarray) -> Talk:
    rng = np.random.default_rng(seed)
    face = Face.random(rng)
    width = np.interp(np.arange(FRAMES), np.arange(0, FRAMES + 10, 10), rng.random(FRAMES // 10 + 1))
    motion = Motion.random(rng, drive(sound), width)
    return Talk(face, motion, render(face, motion), sound)


@pytest.fixture(scope="module")
def talk() -> Talk:
    return draw(1_000_003, babble(3))


@pytest.fixture(scope="module", params=[1_000_000, 1_000_001])
def drawn(request: pytest.FixtureRequest) -> Talk:
    return draw(request.param, babble(request.param))


def blurred(frames: np.ndarray, pixels: float = 1.5) -> np.ndarray:
    """As a small VAE might."""
    return gaussian_filter(frames.astype(np.float32), (0, pixels, pixels, 0)).round().astype(np.uint8)


def noisy(frames: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 8, frames.shape)
    return np.clip(blurred(frames) + noise, 0, 255).astype(np.uint8)


def as_jpeg(frames: np.ndarray) -> np.ndarray:
    pictures = []
    for frame in noisy(frames):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=40)
        pictures.append(np.asarray(Image.open(file)))
    return np.stack(pictures)


def darkening(frames: np.ndarray, levels: float = 30) -> np.ndarray:
    """From frame to frame a little darker."""
    return np.clip(frames - np.linspace(0, levels, len(frames))[:, None, None, None], 0, 255).astype(np.uint8)


def write_mp4(file: Path, frames: np.ndarray, sound: np.ndarray) -> None:
    """H.264 and AAC, as people have them."""
    with av.open(str(file), "w") as container:
        video, audio = container.add_stream("libx264", rate=FPS), container.add_stream("aac", rate=SAMPLE_RATE)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt, audio.layout = "yuv420p", "mono"
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        samples = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
        samples.sample_rate, samples.pts = SAMPLE_RATE, 0  # without a time, the encoder's delay would be heard
        for stream, last in ((audio, samples), (audio, None), (video, None)):
            container.mux(stream.encode(last))


@pytest.mark.parametrize(
    ("damage", "least"),
    [(lambda frames: frames, 0.99), (blurred, 0.97), (noisy, 0.97), (as_jpeg, 0.97), (darkening, 0.97)],
    ids=["clean", "blurred", "noisy", "jpeg", "darkening"],
)
def test_the_opening_is_the_true_one(drawn: Talk, damage: Callable[[np.ndarray], np.ndarray], least: float):
    shown = slice(0, FRAMES, 3)
    opening, true = measure.mouth_opening(damage(drawn.frames[shown]), drawn.face), drawn.motion.opening[shown]
    assert measure.pearson(opening, true) > least
    assert np.abs(opening - true).mean() < 0.05
    assert opening[true < 0.01].max() < 0.05


def test_a_head_that_sways_does_not_open_the_mouth(talk: Talk):
    motion = Motion.still(FRAMES)
    motion.sway[:] = 1.8 * np.sin(np.arange(FRAMES)[:, None] * [0.2, 0.31])
    opening = measure.mouth_opening(blurred(render(talk.face, motion)), talk.face)
    assert opening.max() < 0.03


@pytest.fixture(scope="module")
def from_file(talk: Talk, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """Mouth and sound of the drawn face, each out of an MP4."""
    file = tmp_path_factory.mktemp("drawn") / "talk.mp4"
    write_mp4(file, talk.frames, talk.sound)
    decoded = decode(file)
    assert decoded.sound_start == pytest.approx(0, abs=0.001)
    return measure.mouth_opening(decoded.frames, talk.face), drive(decoded.sound, decoded.sample_rate)


def test_the_right_sound_fits_at_once_and_in_every_window(from_file: tuple[np.ndarray, np.ndarray]):
    opening, heard = from_file
    curve = measure.correlation_over_lags(opening, heard)
    assert curve.best_lag == 0
    assert curve.at_zero > 0.98
    lags = measure.window_lags(opening, heard, measure.windows_of(FRAMES, 33, 9))
    assert set(lags) - {None} == {0}


def test_other_sounds_do_not_fit_whenever_they_start(from_file: tuple[np.ndarray, np.ndarray]):
    others = [late(voice(SECONDS, seed).wave, frames) for seed in (10, 11, 12, 13) for frames in (0, 17, 43, 80)]
    r = [measure.pearson(from_file[0], drive(other)) for other in others]
    assert abs(np.mean(r)) < measure.OTHER_R / 2  # by chance, six seconds of one sound may fit better
    assert max(r) < measure.LEAST_R


def test_the_right_sound_at_another_time_does_not_fit(from_file: tuple[np.ndarray, np.ndarray], talk: Talk):
    r = [measure.pearson(from_file[0], drive(late(talk.sound, frames))) for frames in (17, 43, 80, 110)]
    assert abs(np.mean(r)) < measure.OTHER_R
    assert max(r) < measure.LEAST_R


@pytest.mark.parametrize("frames", [-5, -1, 2, 5])
def test_a_shift_is_found_in_frames(talk: Talk, from_file: tuple[np.ndarray, np.ndarray], frames: int):
    heard = drive(late(talk.sound, -frames))  # the picture is late when the sound is early
    assert measure.correlation_over_lags(from_file[0], heard).best_lag == frames
    lags = measure.window_lags(from_file[0], heard, measure.windows_of(FRAMES, 33, 9))
    assert set(lags[1:-1]) - {None} == {frames}


def test_lag_and_correlation_are_those_of_the_window(talk: Talk):
    opening, heard = talk.motion.opening.copy(), drive(talk.sound)
    opening[100:] = opening[96:-4]
    early, delayed = (
        measure.correlation_over_lags(opening, heard, window=part) for part in (slice(90), slice(104, None))
    )
    assert (early.best_lag, delayed.best_lag) == (0, 4)
    assert early.at_zero == pytest.approx(1)
    assert delayed.at_zero < 0.9


def test_windows_are_compared_by_their_errors_not_by_their_liveliness():
    """Pearson's r of the last window, in which the sound hardly changes, would be far lower."""
    random = np.random.default_rng(0)
    drives = [np.concatenate([random.random(150), 0.5 + 0.1 * random.random(50)]) for _ in range(20)]
    openings = [0.9 * signal + random.normal(0, 0.1, 200) for signal in drives]
    r = measure.pearson(np.concatenate(openings), np.concatenate(drives))
    for window in (slice(0, 50), slice(150, 200)):
        assert measure.r_within(openings, drives, [window] * 20) == pytest.approx(r, abs=0.02)
    worse = [np.concatenate([mouth[:150], mouth[:50]]) for mouth in openings]
    assert measure.r_within(worse, drives, [slice(150, 200)] * 20) < r - 2 * measure.WORSE_AT_END


def test_a_mouth_that_does_not_move_fits_nothing(talk: Talk):
    still = np.full(FRAMES, 0.4)
    assert (measure.correlation_over_lags(still, drive(talk.sound)).r == 0).all()
    assert measure.r_within([still], [drive(talk.sound)], [slice(33)]) == 0
    assert measure.opening_in_silence(still, drive(talk.sound)) == float("inf")


def test_the_mouth_is_closed_in_silence(talk: Talk, from_file: tuple[np.ndarray, np.ndarray]):
    opening, heard = from_file
    assert np.count_nonzero(heard < measure.SILENT) >= 8
    assert measure.opening_in_silence(opening, heard) < 0.06
    assert measure.opening_in_silence(np.maximum(opening, 0.2), heard) > 0.2
    with pytest.raises(ValueError, match="No frame is silent"):
        measure.opening_in_silence(opening, np.maximum(heard, 0.1))


def test_windows_add_what_their_motion_frames_do_not_repeat():
    windows = measure.windows_of(150, 33, 9)
    assert [(window.start, window.stop) for window in windows] == [
        (0, 33), (33, 57), (57, 81), (81, 105), (105, 129), (129, 150)
    ]  # fmt: skip
    assert measure.windows_of(20, 33, 9) == [slice(0, 20)]


def test_an_ideal_picture_has_a_high_psnr_however_the_head_moves(talk: Talk):
    assert measure.outside_psnr(talk.frames, talk.face).min() > 40
    assert measure.background_change(talk.frames, talk.face).max() == 0


def test_what_the_mouth_does_is_not_outside(talk: Talk):
    closed = Motion(talk.motion.opening * 0, talk.motion.width, talk.motion.sway, talk.motion.eyes)
    psnr = measure.outside_psnr(render(talk.face, closed[:40]), talk.face)
    assert psnr == pytest.approx(measure.outside_psnr(talk.frames[:40], talk.face), abs=0.5)


def test_darkening_lowers_the_psnr(talk: Talk):
    dark = darkening(talk.frames)
    psnr = measure.outside_psnr(dark, talk.face)
    assert psnr[0] > 40
    assert psnr[-1] == pytest.approx(20 * np.log10(255 / 30), abs=0.5)
    assert psnr[:30].mean() - psnr[-30:].mean() > 10 * measure.LOST_DB
    assert measure.background_change(dark, talk.face)[-1] == pytest.approx(30, abs=1)


def test_another_face_has_a_low_psnr(talk: Talk):
    assert measure.outside_psnr(talk.frames[:10], Face.random(np.random.default_rng(5))).max() < measure.OUTSIDE_DB - 5
