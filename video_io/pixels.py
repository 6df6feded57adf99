"""Frames to the raw bytes that ffmpeg reads: rounding, channels, transparency, padding.

Everything goes through a buffer of one band of rows, some 64 thousand values that stay in the processor's
cache, so the memory needed does not depend on the size or the number of frames. It is numpy on one thread on
purpose: torch's threads would fight with the encoder's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

BAND_VALUES = 65536
OVERSHOOT = 1.1  # brighter than that is another scale, not a resampling filter's ringing


@dataclass(frozen=True)
class RawLayout:
    """The raw frames that ffmpeg is fed with.

    Attributes:
        height, width: in pixels, padding included.
        channels: 3 (RGB) or 4 (RGB and alpha).
        bits: 8 or 16 per value (16: little endian).
    """

    height: int
    width: int
    channels: int
    bits: int

    @property
    def pixel_format(self) -> str:
        """ffmpeg's name of the layout."""
        return {(3, 8): "rgb24", (4, 8): "rgba", (3, 16): "rgb48le", (4, 16): "rgba64le"}[self.channels, self.bits]


class FramePacker:
    """Turns frames [H, W, C] into bytes of a `RawLayout`, one band of rows at a time.

    Floats are 0 to 1 and are rounded to the nearest level; uint8 frames are passed on. One channel is spread
    to three, alpha is kept when the layout has four channels and else laid over black. Rows and columns that
    the layout has more are the last ones repeated.

    Attributes:
        bad_frames: number of frames with values that are not numbers (written as black).
        first_bad_frame: index of the first of them.
        brightest: highest value seen, on the scale 0 to 1 (float frames only).
    """

    def __init__(self, layout: RawLayout) -> None:
        self.layout = layout
        self.bad_frames = 0
        self.first_bad_frame: int | None = None
        self.brightest = 0.0
        self._frame_index = -1
        rows = max(1, BAND_VALUES // (layout.width * layout.channels))
        self._rows = min(rows, layout.height)
        shape = (self._rows, layout.width, layout.channels)
        self._levels = np.empty(shape, np.uint8 if layout.bits == 8 else np.dtype("<u2"))
        self._floats = np.empty(self._levels.size, np.float32)

    def pack(self, frame: np.ndarray | torch.Tensor) -> Iterator[memoryview]:
        """The bytes of one frame [H, W, C], band after band; each is valid until the next is asked for."""
        self._frame_index += 1
        height, width, channels = frame.shape
        as_it_is = channels == self.layout.channels and width == self.layout.width and self.layout.bits == 8
        for top in range(0, height, self._rows):
            rows = _to_numpy(frame[top : top + self._rows])
            if as_it_is and rows.dtype == np.uint8:
                yield memoryview(np.ascontiguousarray(rows)).cast("B")
                continue
            band = self._levels[: len(rows)]
            self._convert(rows, band[:, :width])
            band[:, width:] = band[:, width - 1 : width]
            yield memoryview(band).cast("B")
        if self.layout.height > height:
            # Made contiguous by itself: the last band's buffer may be a view of the frame.
            last = np.empty((1, *self._levels.shape[1:]), self._levels.dtype)
            self._convert(_to_numpy(frame[height - 1 :]), last[:, :width])
            last[:, width:] = last[:, width - 1 : width]
            for _ in range(self.layout.height - height):
                yield memoryview(last).cast("B")

    def _convert(self, rows: np.ndarray, levels: np.ndarray) -> None:
        """Round `rows` [h, w, C] into `levels` [h, w, 3 or 4]."""
        top_level = np.float32(2**self.layout.bits - 1)
        scale = top_level / np.float32(255) if rows.dtype == np.uint8 else top_level
        floats = self._floats[: levels.size].reshape(levels.shape)
        if rows.shape[-1] == 4 and levels.shape[-1] == 3:
            alpha = rows[..., 3:] / np.float32(255 if rows.dtype == np.uint8 else 1)
            np.multiply(rows[..., :3], np.clip(alpha, 0, 1), out=floats)
            np.multiply(floats, scale, out=floats)
        else:
            np.multiply(rows, scale, out=floats)  # one channel is broadcast to three
        self._look_at(floats, top_level)
        np.add(floats, np.float32(0.5), out=floats)
        np.clip(floats, 0, top_level, out=floats)
        np.copyto(levels, floats, casting="unsafe")

    def _look_at(self, floats: np.ndarray, top_level: np.float32) -> None:
        """Take note of the brightest value, and blacken what is not a number."""
        highest = floats.max()
        if np.isnan(highest):  # a maximum is NaN as soon as one value is
            np.nan_to_num(floats, copy=False, nan=0.0, posinf=float(top_level), neginf=0.0)
            if self.first_bad_frame is None:
                self.first_bad_frame = self._frame_index
            if self._last_bad_frame != self._frame_index:
                self.bad_frames += 1
            self._last_bad_frame = self._frame_index
            highest = floats.max()
        self.brightest = max(self.brightest, float(highest / top_level))

    _last_bad_frame = -1

    def notes(self) -> list[str]:
        """What a person should know about the pixels that were seen, in sentences."""
        notes = []
        if self.bad_frames:
            notes.append(
                f"{self.bad_frames} frames, the first of them number {self.first_bad_frame}, have pixels that are "
                "not numbers (NaN) and were written black there: the model or the VAE overflowed, try fp32 or bf16."
            )
        if self.brightest > OVERSHOOT:
            notes.append(
                f"Pixels reach {self.brightest:g} where 1 is white, so what was above 1 was clipped: "
                "images are expected on the scale 0 to 1."
            )
        return notes


def _to_numpy(rows: np.ndarray | torch.Tensor) -> np.ndarray:
    """Rows of a frame as numpy, without a copy where they are numpy-readable memory already."""
    if isinstance(rows, np.ndarray):
        return rows
    rows = rows.detach().cpu()
    return (rows.float() if rows.dtype == torch.bfloat16 else rows).numpy()
