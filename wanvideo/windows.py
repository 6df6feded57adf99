"""Which frames each window covers, and which audio embeddings it hears.

A video longer than one window is made window by window. Every window after the first begins with the last
`motion_frames` frames of the one before, so that movement goes on across the seam.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import UserError

AUDIO_WINDOW = 5
"""Embedding frames that one video frame hears: offsets -2 … +2 (MeiGen InfiniteTalk, `audio_window`)."""

LATENT_STRIDE = 4
"""Video frames per latent frame of the Wan 2.1 VAE, after the first frame, which stands alone."""

EndPadding = Literal["silence", "mirror"]
END_PADDINGS: tuple[EndPadding, ...] = get_args(EndPadding)
Transition = Literal["cut", "continue"]
TRANSITIONS: tuple[Transition, ...] = get_args(Transition)


@dataclass(frozen=True)
class Window:
    """One stretch of the video that is sampled at once. All numbers are frames."""

    index: int
    start: int
    """First frame of the window, counted from the beginning of the video."""
    frames: int
    """Frames sampled (`window_frames`), surplus included."""
    repeated: int
    """Leading frames that the window before has already given."""
    surplus: int
    """Trailing frames beyond the end of the scene or the video, sampled and dropped."""
    scene: int = 0
    """First frame of the scene that the window belongs to: its picture and its prompt."""
    cut: int = 0
    """First frame since the last cut, where the motion began: nothing before it counts."""
    place: int = 0
    """Windows between that cut and this one."""

    @property
    def kept(self) -> slice:
        """Those frames of the window that go into the video."""
        return slice(self.repeated, self.frames - self.surplus)

    @property
    def stop(self) -> int:
        """One past the last frame that the window covers, surplus included."""
        return self.start + self.frames


def latent_frames(frames: int) -> int:
    """Latent frames of a clip of `frames` video frames (`frames` = 1 mod 4)."""
    return (frames - 1) // LATENT_STRIDE + 1


def check_window(window_frames: int, motion_frames: int) -> None:
    """Refuse window lengths that the VAE cannot encode without dropping frames.

    Raises:
        UserError: a length is not 4n + 1, or the motion frames leave nothing new in a window.
    """
    for name, frames in (("window_frames", window_frames), ("motion_frames", motion_frames)):
        if frames < 1 or frames % LATENT_STRIDE != 1:
            nearest = max(1, round((frames - 1) / LATENT_STRIDE) * LATENT_STRIDE + 1)
            raise UserError(
                f"{name} is {frames}, but the video VAE works in steps of four frames after the first: "
                f"set it to 4n + 1, for example {nearest}."
            )
    if motion_frames >= window_frames:
        raise UserError(
            f"motion_frames is {motion_frames} and window_frames is {window_frames}: a window must bring new "
            "frames, so set motion_frames below window_frames (9 and 81 are usual)."
        )


def plan_windows(
    frames: int, window_frames: int, motion_frames: int, cuts: Sequence[int] = (), continued: Sequence[int] = ()
) -> list[Window]:
    """Cover `frames` video frames with windows that overlap by `motion_frames`.

    Window 0 covers `0 … window_frames - 1`; window k starts at `k · (window_frames - motion_frames)`. At each scene
    this begins again, so that no window mixes two scenes.

    Args:
        cuts: frames at which a scene begins with a cut, that is without motion frames; each above 0.
        continued: frames at which a scene begins that goes on from the motion frames before it; each at least
            `motion_frames` after the last cut, and none of them a cut.

    Raises:
        UserError: see `check_window`.
    """
    check_window(window_frames, motion_frames)
    windows: list[Window] = []
    place = cut = 0
    for scene, end in pairwise([*sorted({0, *(start for start in (*cuts, *continued) if start < frames)}), frames]):
        goes_on = scene in continued
        place, cut = (place, cut) if goes_on else (0, scene)
        for start in _starts(scene - motion_frames if goes_on else scene, end, window_frames, motion_frames):
            repeated = motion_frames if place else 0
            surplus = max(0, start + window_frames - end)
            windows.append(Window(len(windows), start, window_frames, repeated, surplus, scene, cut, place))
            place += 1
    return windows


def _starts(first: int, end: int, window_frames: int, motion_frames: int) -> range:
    """Where the windows of a scene start whose first one starts at `first`."""
    step = window_frames - motion_frames
    count = 1 + max(0, -(-(end - first - window_frames) // step))
    return range(first, first + count * step, step)


def audio_window(
    features: Tensor, silence: Tensor, start: int, frames: int, end_padding: EndPadding = "silence"
) -> Tensor:
    """The embeddings that the frames `start … start + frames - 1` hear.

    Before the beginning the first embedding is repeated. Beyond the end, `silence` goes on with the encoded
    silence that follows the sound (its last row is repeated when the window reaches beyond that, too), and
    `mirror` plays the embeddings backwards from the last one, as the authors do
    (MeiGen InfiniteTalk, `wan/multitalk.py`, "Repeat audio emb").

    Args:
        features: `[F, layers, channels]`, one row per video frame.
        silence: `[S, layers, channels]`, the rows after the last one; may be empty.

    Returns:
        `[frames, 5, layers, channels]`.
    """
    offsets = torch.arange(AUDIO_WINDOW) - AUDIO_WINDOW // 2
    rows = torch.arange(start, start + frames)[:, None] + offsets  # [frames, 5]
    last = features.shape[0] - 1
    if end_padding == "mirror":
        rows = torch.where(rows > last, 2 * last + 1 - rows, rows)
    heard = features[rows.clamp(0, last)]  # [frames, 5, layers, channels]
    after = rows > last
    if silence.shape[0] and after.any():
        heard[after] = silence[(rows[after] - last - 1).clamp(max=silence.shape[0] - 1)]
    return heard
