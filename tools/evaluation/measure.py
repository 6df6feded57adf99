"""How well the mouth of a known cartoon face follows a sound, from decoded pictures and the decoded sound alone.

Pictures are compared with ideal renders of the same face. Nothing of the pack is used here, so that its own measures
(`sync/`) cannot hide a fault of its own. A lag is in frames, and positive where the picture is late.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from training.articulation import articulate
from training.faces import SIZE, Face, Motion, mouth_box, render

# What is asked of a talking cartoon.
MEAN_R, LEAST_R = 0.85, 0.7
LAG_FRAMES = 1
WORSE_AT_END = 0.05  # the last window's r under that of the first
OTHER_R = 0.3
IN_SILENCE = 0.1  # of the mouth's range
OWN_R, OTHERS_R = 0.7, 0.4  # of each mouth of two, with its own voice and with that of the other
OUTSIDE_DB, LOST_DB = 25.0, 1.0  # and how much of it the last window may lack against the first

FPS = 25
MAX_LAG = 10
BLUR_PIXELS = 1.5  # of frames and renders alike before they are compared: the VAE blurs too, and slopes reach farther
SWAY_PIXELS = 2  # most that a head may have moved from its place,
OPENINGS, WIDTHS, EYES = np.linspace(0, 1, 11), np.linspace(0, 1, 5), np.linspace(0, 1, 3)
OUTSIDE_STRIDE = 2  # pixels: a blurred picture has no more
DAMPING = 1e-3  # of the steepest slope's power: what a picture does not show stays on the grid
SILENT, OPEN = 0.02, 0.5  # opening that the sound asks for: not more, and more than this
MOVING = 0.1  # its standard deviation: with less there is no telling which lag fits
ROUNDING_ERROR = 1 / 12  # mean square of 8-bit levels


@dataclass(frozen=True)
class Renders:
    """Ideal pictures on a grid of parameters: tells the parameters of other pictures, also between its points."""

    axes: tuple[np.ndarray, ...]
    """Values of every parameter, evenly spaced."""
    pictures: np.ndarray
    """`[*lengths of the axes, pixels, 3]`."""

    def parameters_of(self, frames: np.ndarray) -> np.ndarray:
        """`[F, parameters]` of frames `[F, pixels, 3]`: the nearest point, and a step by its slopes.

        A shift of all colors does not count: the mouth is as open on a picture that has become darker.
        """
        ideal, frames = _flat(self.pictures), _flat(frames)
        points = ideal.reshape(-1, ideal.shape[-1])
        nearest = np.argmin(np.sum(points**2, axis=1) - 2 * frames @ points.T, axis=1)
        steps = np.array([axis[1] - axis[0] for axis in self.axes])
        slopes = np.stack(np.gradient(ideal, axis=tuple(range(len(self.axes)))), axis=-2)  # to the next point
        slopes = slopes.reshape(-1, *slopes.shape[-2:])[nearest]
        power = slopes @ slopes.transpose(0, 2, 1)
        steepest = np.einsum("fii->fi", power).max(axis=1)[:, None, None]
        along = slopes @ (frames - points[nearest])[..., None]
        moved = np.linalg.solve(power + DAMPING * steepest * np.eye(len(steps)), along)[..., 0]
        grid = np.stack(np.meshgrid(*self.axes, indexing="ij"), axis=-1).reshape(-1, len(steps))
        return np.clip(grid[nearest] + np.clip(moved, -1, 1) * steps, grid[0], grid[-1])


@dataclass(frozen=True)
class LagCurve:
    """Correlation of a mouth with a sound at every lag."""

    lags: np.ndarray
    """`[L]` frames."""
    r: np.ndarray
    """`[L]`; 0 where one of the two does not move."""

    @property
    def best_lag(self) -> int:
        """Where the correlation is highest."""
        return int(self.lags[self.r.argmax()])

    @property
    def at_zero(self) -> float:
        """The correlation of what is seen and heard at the same time."""
        return float(self.r[self.lags == 0][0])


def mouth_opening(frames: np.ndarray, face: Face) -> np.ndarray:
    """How far the mouth is open, `[F]` from 0 to 1, in frames uint8 `[F, SIZE, SIZE, 3]`.

    Its opening, its width and its place within SWAY_PIXELS are fitted to the pixels of the mouth box.
    """
    left, top, right, bottom = mouth_box(face)
    mouth = _blurred(frames)[:, top:bottom, left:right]
    return _mouths(face).parameters_of(mouth.reshape(len(frames), -1, 3))[:, 0]


def outside_psnr(frames: np.ndarray, face: Face) -> np.ndarray:
    """PSNR in dB, `[F]`, outside the mouth box, of frames uint8 `[F, SIZE, SIZE, 3]` to the best ideal render.

    The head's place within SWAY_PIXELS and its eyes are fitted, colors are not.
    """
    outside = _outside(face)
    coarse = np.zeros_like(outside)
    coarse[::OUTSIDE_STRIDE, ::OUTSIDE_STRIDE] = outside[::OUTSIDE_STRIDE, ::OUTSIDE_STRIDE]
    places = np.arange(-SWAY_PIXELS, SWAY_PIXELS + 1.0)
    heads = _blurred(render(face, _heads(places, places, EYES)))[:, coarse]
    shape = (len(places), len(places), len(EYES), *heads.shape[1:])
    x, y, eyes = Renders((places, places, EYES), heads.reshape(shape)).parameters_of(_blurred(frames)[:, coarse]).T
    ideal = render(face, _motion(x=x, y=y, eyes=eyes))[:, outside].astype(np.float32)
    error = np.mean((frames[:, outside] - ideal) ** 2, axis=(1, 2))
    return 10 * np.log10(255**2 / np.maximum(error, ROUNDING_ERROR))


def background_change(frames: np.ndarray, face: Face) -> np.ndarray:
    """Root mean square change since the first frame, `[F]` of 255 levels, of the pixels that nothing moves over."""
    places = np.array([-SWAY_PIXELS, 0, SWAY_PIXELS])
    moved = render(face, _heads(places, places, np.array([0, 1])))
    still = np.all(moved == moved[0], axis=(0, 3)) & _outside(face)
    background = frames[:, still].astype(np.float32)
    return np.sqrt(np.mean((background - background[0]) ** 2, axis=(1, 2)))


def opening_for(sound: np.ndarray, rate: int, frames: int) -> np.ndarray:
    """The opening that a sound `[n]` or `[n, channels]` asks for, `[F]` from 0 to 1."""
    return articulate(sound, rate, frames, FPS).opening


def correlation_over_lags(
    opening: np.ndarray, drive: np.ndarray, max_lag: int = MAX_LAG, window: slice = slice(None)
) -> LagCurve:
    """Pearson's r of the mouth `[F]` within a window with the sound's drive `[F]`, some frames earlier and later."""
    start, stop, _ = window.indices(len(opening))
    lags = np.arange(-max_lag, max_lag + 1)
    r = np.zeros(len(lags))
    for i, lag in enumerate(lags):
        first, last = max(start, lag), min(stop, len(drive) + lag)
        if last > first:
            r[i] = pearson(opening[first:last], drive[first - lag : last - lag])
    return LagCurve(lags, r)


def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two signals `[F]`; 0 if one of them is flat."""
    flat = min(np.ptp(first), np.ptp(second)) < 1e-6
    return 0.0 if flat else float(np.corrcoef(first, second)[0, 1])


def r_of_two_speakers(
    frames: np.ndarray, faces: tuple[Face, Face], drives: tuple[np.ndarray, np.ndarray]
) -> list[tuple[float, float]]:
    """Correlation of each mouth with its own voice and with the other's, the left one first.

    Args:
        frames: uint8 `[F, SIZE, 2 * SIZE, 3]`, the first face on the left.
        faces: of the two.
        drives: opening that each voice asks for, `[F]`.
    """
    halves = zip(np.split(frames, 2, axis=2), faces, strict=True)
    openings = [mouth_opening(half, face) for half, face in halves]
    voices = zip(openings, drives, drives[::-1], strict=True)
    return [(pearson(opening, own), pearson(opening, others)) for opening, own, others in voices]


def r_within(openings: list[np.ndarray], drives: list[np.ndarray], windows: list[slice]) -> float:
    """The correlation that whole clips would have if the mouth erred in all frames as it does in a window of each.

    Pearson's r of the window itself says how lively its second of speech happens to be. This one does not: r squared is
    one less the share of the mouth's variance that a straight line on the drive leaves over (of the window: its mean
    square), and so the mean over all windows is that of all frames.
    """
    opening, drive = np.concatenate(openings), np.concatenate(drives)
    if pearson(opening, drive) == 0:
        return 0.0
    slope, offset = np.polyfit(drive, opening, 1)
    left_over = [
        (mouth - slope * sound - offset)[window] ** 2
        for mouth, sound, window in zip(openings, drives, windows, strict=True)
    ]
    explained = 1 - np.concatenate(left_over).mean() / opening.var()
    return float(np.sign(slope) * np.sqrt(max(0.0, explained)))


def windows_of(frames: int, window_frames: int, motion_frames: int) -> list[slice]:
    """The frames that each of the sampler's windows adds to the video."""
    starts = [0, *range(window_frames, frames, window_frames - motion_frames)]
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], frames], strict=True)]


def window_lags(opening: np.ndarray, drive: np.ndarray, windows: list[slice]) -> list[int | None]:
    """Best lag of every window, None where the sound hardly moves the mouth.

    Its frames are judged together with those of the window before: in one second of speech, which repeats itself with
    every syllable, a wrong lag may fit as well by chance.
    """
    lags: list[int | None] = []
    for before, window in zip([windows[0], *windows], windows, strict=False):
        judged = slice(before.start, window.stop)
        moving = np.std(drive[window]) >= MOVING
        lags.append(correlation_over_lags(opening, drive, window=judged).best_lag if moving else None)
    return lags


def opening_in_silence(opening: np.ndarray, drive: np.ndarray) -> float:
    """Mean opening of the silent frames over the range of all `[F]`; infinite for a mouth that never moves.

    Raises:
        ValueError: no frame is silent.
    """
    silent = drive < SILENT
    if not silent.any():
        raise ValueError("No frame is silent: take a sound with a longer pause.")
    span = float(np.ptp(np.percentile(opening, [2, 98])))
    return float(opening[silent].mean()) / span if span > 1e-6 else float("inf")


def _mouths(face: Face) -> Renders:
    """Mouth boxes by opening, width and place. What is around the mouth is the face, which moves along."""
    left, top, right, bottom = mouth_box(face)
    opening, width = (values.ravel() for values in np.meshgrid(OPENINGS, WIDTHS, indexing="ij"))
    pictures = _blurred(render(face, _motion(opening=opening, width=width)))
    places = np.arange(-SWAY_PIXELS, SWAY_PIXELS + 1)
    boxes = np.array([[pictures[:, top - y : bottom - y, left - x : right - x] for y in places] for x in places])
    shape = (len(OPENINGS), len(WIDTHS), len(places), len(places), -1, 3)
    return Renders((OPENINGS, WIDTHS, places, places), np.moveaxis(boxes, 2, 0).reshape(shape))


def _heads(*axes: np.ndarray) -> Motion:
    """Every combination of x, y and eyes."""
    x, y, eyes = (values.ravel() for values in np.meshgrid(*axes, indexing="ij"))
    return _motion(x=x, y=y, eyes=eyes)


def _motion(
    opening: np.ndarray | float = 0, width: np.ndarray | float = 0.5, *, x: np.ndarray | float = 0,
    y: np.ndarray | float = 0, eyes: np.ndarray | float = 1,
) -> Motion:  # fmt: skip
    """A motion of values `[F]`, or one for all frames."""
    opening, width, x, y, eyes = np.broadcast_arrays(*map(np.float32, (opening, width, x, y, eyes)))
    return Motion(opening, width, np.stack([x, y], axis=1), eyes)


def _outside(face: Face) -> np.ndarray:
    """Which pixels are not in the mouth box, bool `[SIZE, SIZE]`."""
    outside = np.ones((SIZE, SIZE), bool)
    left, top, right, bottom = mouth_box(face)
    outside[top:bottom, left:right] = False
    return outside


def _blurred(frames: np.ndarray) -> np.ndarray:
    return gaussian_filter(frames.astype(np.float32), (0, BLUR_PIXELS, BLUR_PIXELS, 0))


def _flat(pictures: np.ndarray) -> np.ndarray:
    """`[..., pixels, 3]` to `[..., pixels * 3]`, without the mean of each color."""
    centred = pictures - pictures.mean(axis=-2, keepdims=True)
    return centred.reshape(*pictures.shape[:-2], -1)
