"""Pixels from one form into another: floats to 8 bits, and frames to the raw bytes that ffmpeg reads.

For ffmpeg, bands of rows (some 64 thousand values that stay in the processor's cache) are turned into bytes and
collected in a chunk of at most 2 MiB, so the memory needed does not depend on the size or the number of frames. A chunk
goes out at once: between two writes the encoder's threads get this processor, and its cache. It is numpy on one thread
on purpose: torch's threads would fight with the encoder's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

BAND_VALUES = 2**16
CHUNK_VALUES = 2**21
OVERSHOOT = 0.1  # farther from 0 to 1 than that is another scale, not the ringing of a resampling filter
# What swscale takes for white in 16 bits of a color, not of alpha (seen in FFmpeg 7 and 9): from 65535 it makes a luma
# of 943 in 10 bits, which is beyond white (940).
WHITE_OF_16_BITS = 255 * 256
LEVELS_OF_INTEGERS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


@dataclass(frozen=True, kw_only=True)
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
    """Turns frames [H, W, C] into bytes of a `RawLayout`, one chunk of rows at a time.

    Floats are 0 to 1 and are rounded to the nearest level; uint8 and uint16 are taken as 0 to their highest value.
    One channel is spread to three, alpha is kept when the layout has four channels and else laid over black. Rows
    and columns that the layout has more are the last ones repeated.

    Attributes:
        bad_frames: indices of frames with values that are not numbers (written as black).
        darkest, brightest: lowest and highest value seen, on the scale 0 to 1.
    """

    def __init__(self, layout: RawLayout) -> None:
        self.layout = layout
        self.bad_frames: list[int] = []
        self.darkest, self.brightest = 0.0, 1.0
        self._frame_index = -1
        row_values = layout.width * layout.channels
        self._band_rows = max(1, BAND_VALUES // row_values)
        self._chunk_rows = min(max(1, CHUNK_VALUES // row_values), layout.height)
        shape = (self._chunk_rows, layout.width, layout.channels)
        self._levels = np.empty(shape, np.uint8 if layout.bits == 8 else np.dtype("<u2"))
        self._floats = np.empty(self._band_rows * row_values, np.float32)

    def pack(self, frame: np.ndarray | torch.Tensor) -> Iterator[memoryview]:
        """The bytes of one frame [H, W, C], chunk after chunk; each is valid until the next is asked for."""
        self._frame_index += 1
        height = frame.shape[0]
        for top in range(0, height, self._chunk_rows):
            yield self._pack_rows(to_numpy(frame[top : top + self._chunk_rows]))
        for _ in range(self.layout.height - height):
            yield self._pack_rows(to_numpy(frame[height - 1 :]))

    def _pack_rows(self, rows: np.ndarray) -> memoryview:
        """The bytes of some rows [h, W, C] of a frame, padded to the layout's width."""
        width = rows.shape[1]
        if rows.dtype == self._levels.dtype == np.uint8 and rows.shape[1:] == self._levels.shape[1:]:
            return np.ascontiguousarray(rows).data.cast("B")
        chunk = self._levels[: len(rows)]
        for top in range(0, len(rows), self._band_rows):
            band = slice(top, top + self._band_rows)
            self._convert(rows[band], chunk[band, :width])
        chunk[:, width:] = chunk[:, width - 1 : width]
        return chunk.data.cast("B")

    def _convert(self, rows: np.ndarray, levels: np.ndarray) -> None:
        """Round `rows` [h, w, C] into `levels` [h, w, 3 or 4]."""
        top_level = np.float32(2**self.layout.bits - 1)
        highest_value = np.float32(LEVELS_OF_INTEGERS.get(rows.dtype, 1))
        floats = self._floats[: levels.size].reshape(levels.shape)
        if rows.shape[-1] == 4 and levels.shape[-1] == 3:
            opacity = np.clip(rows[..., 3:] / highest_value, 0, 1)
            rows = np.multiply(rows[..., :3], opacity, out=floats)
        np.multiply(rows, top_level / highest_value, out=floats)  # one channel is broadcast to three
        self._hold_in_range(floats, top_level)
        if self.layout.bits == 16:
            floats[..., :3] *= WHITE_OF_16_BITS / top_level
        np.add(floats, np.float32(0.5), out=floats)
        np.copyto(levels, floats, casting="unsafe")

    def _hold_in_range(self, floats: np.ndarray, top_level: np.float32) -> None:
        """Clip to 0 … `top_level` where something lies outside, and blacken what is not a number; take note of both.

        Looking first is cheaper than clipping always, and pictures that need it are rare. Bit patterns of positive
        IEEE 754 floats are ordered as the floats are; those of negative ones, of infinity and of NaN stand above,
        so one maximum over the patterns tells of all four.
        """
        if floats.view(np.uint32).max() <= top_level.view(np.uint32):
            return
        not_numbers = np.isnan(floats)
        if not_numbers.any():
            if self._frame_index not in self.bad_frames[-1:]:
                self.bad_frames.append(self._frame_index)
            np.copyto(floats, 0, where=not_numbers)
        self.darkest = min(self.darkest, float(floats.min() / top_level))
        self.brightest = max(self.brightest, float(floats.max() / top_level))
        np.clip(floats, 0, top_level, out=floats)

    def notes(self) -> list[str]:
        """What a person should know about the pixels that were seen, in sentences."""
        notes = []
        if self.bad_frames:
            notes.append(
                f"{len(self.bad_frames)} frames, the first of them number {self.bad_frames[0]}, have pixels that are "
                "not numbers (NaN) and were written black there: the model or the VAE overflowed, try fp32 or bf16."
            )
        if self.darkest < -OVERSHOOT or self.brightest > 1 + OVERSHOOT:
            notes.append(
                f"Pixels lie between {self.darkest:g} and {self.brightest:g} and were clipped to 0 (black) to 1 "
                "(white): images are expected on that scale."
            )
        return notes


def to_numpy(frame: np.ndarray | torch.Tensor) -> np.ndarray:
    """A frame, or rows of one, as numpy: without a copy where that can read the memory as it is."""
    if isinstance(frame, np.ndarray):
        return frame
    frame = frame.detach().cpu()
    return (frame.float() if frame.dtype == torch.bfloat16 else frame).numpy()


def to_8_bit(frames: torch.Tensor) -> torch.Tensor:
    """Frames `[F, H, W, 3]` in 0 … 1 as uint8 on the CPU, rounded; one frame at a time, since a window is large."""
    pixels = torch.empty(frames.shape, dtype=torch.uint8)
    for frame, target in zip(frames, pixels, strict=True):
        target.copy_((frame.clamp(0, 1) * 255).round())
    return pixels
