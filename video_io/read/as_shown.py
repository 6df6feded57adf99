"""Decoded frames as they are meant to be seen: RGB, square pixels, upright, SDR."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .hdr import to_sdr

if TYPE_CHECKING:
    import av
    import av.video.reformatter

# swscale's flags SWS_BICUBIC, SWS_ACCURATE_RND and SWS_FULL_CHR_H_INT; by default its RGB is 1 to 2 levels too dark.
EXACT_COLORS = 0x4 | 0x40000 | 0x2000
# FFmpeg's numbers of color matrices (AVColorSpace) and what swscale calls them.
MATRIX_OF_COLORSPACE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
BT601, BT709 = 5, 1
LIMITED_RANGE, FULL_RANGE = 1, 2  # AVColorRange
HD_HEIGHT, HD_WIDTH = 720, 1280  # from here on players take pictures without a mark for BT.709
PQ, HLG = 16, 18  # AVColorTransferCharacteristic
MAX_ASPECT = 10  # of a pixel; more is a damaged header
TAKES = {(False, False): "rgb24", (True, False): "rgba", (False, True): "rgb48le", (True, True): "rgba64le"}


def _new_converter() -> av.video.reformatter.VideoReformatter:
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


@dataclass(frozen=True)
class Look:
    """How all frames of a video are brought to the screen; that of its first frame, so that all get one size.

    Attributes:
        width, height: pixels before turning, square ones.
        flips: whether the picture is transposed, then mirrored left to right, then upside down.
        transfer: `PQ`, `HLG`, or another number for SDR.
    """

    width: int
    height: int
    flips: tuple[bool, bool, bool]
    transfer: int
    # It keeps its tables from frame to frame; a frame's own `to_ndarray` makes them anew.
    _converter: av.video.reformatter.VideoReformatter = field(default_factory=_new_converter, repr=False, compare=False)

    @classmethod
    def of(cls, frame: av.VideoFrame, pixel_aspect: Fraction | None, transfer: int) -> Look:
        """The look of the first frame.

        Args:
            frame: the first one.
            pixel_aspect: the width of a pixel over its height.
            transfer: that of the stream (AVColorTransferCharacteristic), where the frame does not tell its own, as
                before PyAV 17.
        """
        aspect = Fraction(pixel_aspect or 1)
        if not Fraction(1, MAX_ASPECT) <= aspect <= MAX_ASPECT:
            aspect = Fraction(1)
        own = int(getattr(frame, "color_trc", transfer) or 0)
        return cls(max(1, round(frame.width * aspect)), frame.height, _flips(frame), own)

    @property
    def is_hdr(self) -> bool:
        """Whether brightness is coded for HDR screens."""
        return self.transfer in (PQ, HLG)

    def pixels(self, frame: av.VideoFrame) -> np.ndarray:
        """One frame `[H, W, 3 or 4]`, uint8, or uint16 from more than 8 bits."""
        components = frame.format.components
        alpha = any(component.is_alpha for component in components) or frame.format.name == "pal8"
        deep = self.is_hdr or any(component.bits > 8 for component in components)
        matrix = _matrix(frame)
        converted = self._converter.reformat(
            frame,
            format=TAKES[alpha, deep],
            width=self.width,
            height=self.height,
            src_colorspace=matrix,
            # RGB has none. But PyAV before 17 looks at the matrix and the range only where source and target differ.
            dst_colorspace=matrix and (BT709 if matrix == BT601 else BT601),
            src_color_range=FULL_RANGE if _is_full_range(frame) else None,
            interpolation=EXACT_COLORS,
        )
        pixels = _on_the_whole_scale(converted.to_ndarray(), frame)
        transposed, mirrored, upside_down = self.flips
        if transposed:
            pixels = pixels.swapaxes(0, 1)
        pixels = pixels[:: -1 if upside_down else 1, :: -1 if mirrored else 1]
        return to_sdr(pixels, is_pq=self.transfer == PQ) if self.is_hdr else pixels


def _on_the_whole_scale(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Black and white as 0 and the highest level, which they are not in all that swscale gives.

    It takes gray for full range whatever its mark says. Of more than 8 bits it makes 16 by shifting them, and white of
    limited range is 255 times 256 (seen in FFmpeg 7 and 9), which left all up to one level of 255 too dark.
    """
    if frame.format.is_rgb or frame.format.name == "pal8":
        return pixels
    bits, deep = frame.format.components[0].bits, pixels.dtype == np.uint16
    white = ((1 << bits) - 1) << (16 - bits) if deep else 255
    opacity = _scale(0, white, pixels.dtype)
    black, unit = 0, 256 if deep else 1
    if frame.format.name.startswith(("gray", "ya")):
        black, white = (16 * unit, 235 * unit) if frame.color_range == LIMITED_RANGE else (0, white)
    elif not _is_full_range(frame):
        white = 255 * unit
    colors = _scale(black, white, pixels.dtype)
    if colors is not None:
        pixels[..., :3] = colors[pixels[..., :3]]
    if opacity is not None:
        pixels[..., 3:] = opacity[pixels[..., 3:]]
    return pixels


@lru_cache(maxsize=8)
def _scale(black: int, white: int, dtype: np.dtype) -> np.ndarray | None:
    """For each level that of the scale on which `black` is 0 and `white` the highest; None where it is the same."""
    highest = np.iinfo(dtype).max
    if (black, white) == (0, highest):
        return None
    levels = (np.arange(highest + 1) - black) * (highest / (white - black))
    return np.round(np.clip(levels, 0, highest)).astype(dtype)


def _matrix(frame: av.VideoFrame) -> int | None:
    """The matrix that the frame's colors are coded with, as swscale calls it; None for RGB."""
    if frame.format.is_rgb or frame.format.name == "pal8":
        return None
    space = int(frame.colorspace)
    if space in MATRIX_OF_COLORSPACE:
        return MATRIX_OF_COLORSPACE[space]
    return BT709 if frame.height >= HD_HEIGHT or frame.width >= HD_WIDTH else BT601


def _is_full_range(frame: av.VideoFrame) -> bool:
    """Whether black is 0 and not 16."""
    return frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")


def _flips(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """The display matrix in quarter turns and mirrors: whether it transposes, then mirrors, then turns upside down.

    Its first two rows are (a, b, u) and (c, d, v): a pixel at (x, y) is shown at (a·x + c·y, b·x + d·y).
    """
    notes: Any = frame.side_data  # PyAV's type stubs do not know this key
    data = notes.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.int64)
    if abs(b) > abs(a):
        return True, bool(c < 0), bool(b < 0)
    return False, bool(a < 0), bool(d < 0)
