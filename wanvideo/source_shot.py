"""The shot of a source video that a dubbed video keeps: its frames window by window, and where they may change."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..video_io.pixels import to_8_bit
from .edit_mask import EditMask, latent_mask
from .pictures import Pictures
from .windows import Window

LEVELS = 255


@dataclass(frozen=True)
class ShotWindow:
    """What one window shows in the source."""

    frames: list[Tensor]
    """`[H, W, 3]` uint8 each; those beyond the end of the scene are its last one."""
    masks: list[Tensor] | None
    """`[H, W]` in 0 … 1 each, where they may change; None: everywhere."""

    def video(self) -> Tensor:
        """The frames as core's VAE takes them, `[F, H, W, 3]` float32 in 0 … 1."""
        video = torch.empty(len(self.frames), *self.frames[0].shape)
        for place, frame in zip(video, self.frames, strict=True):
            place.copy_(_floats(frame))
        return video

    def latent_mask(self) -> Tensor | None:
        """Which latents may change, `[1, 1, T, H/8, W/8]`; None: all."""
        return None if self.masks is None else latent_mask(self.masks)

    def put_back(self, frames: Tensor) -> None:
        """Write the source's own pixels into frames `[F, H, W, 3]` in 0 … 1, where they must not change.

        They are bit for bit those of the source, as 8 bits; in the border they are mixed.
        """
        for frame, source, mask in zip(frames, self.frames, self.masks or [], strict=self.masks is not None):
            kept = _floats(source).to(frame)
            frame.copy_(torch.lerp(kept, frame.clamp(0, 1), mask.to(frame)[..., None]))


class SourceShot:
    """Reads a window's frames at a time, each frame of the source once."""

    def __init__(self, pictures: Pictures, mask: EditMask | None) -> None:
        self._pictures = pictures
        self._mask = mask
        self._held: dict[int, Tensor] = {}

    def picture(self, frame: int) -> Tensor:
        """As `Pictures.at`, without reading again what the window last asked for holds."""
        held = self._held.get(frame)
        return self._pictures.at(frame) if held is None else _floats(held)[None]

    def window(self, window: Window) -> ShotWindow:
        """What a window shows. Windows are asked for in order; those that overlap share their frames."""
        shown = frames_of(window)
        held = self._held
        self._held = {frame: held[frame] for frame in shown if frame in held}
        for frame in shown:
            if frame not in self._held:
                self._held[frame] = to_8_bit(self._pictures.at(frame))[0]
        masks = None
        if self._mask is not None:
            masks = self._mask.of([self._pictures.source_index(frame) for frame in shown])
        return ShotWindow([self._held[frame] for frame in shown], masks)


def frames_of(window: Window) -> list[int]:
    """The frames of the video whose pictures a window sees: never those of the next scene."""
    return [min(frame, window.stop - window.surplus - 1) for frame in range(window.start, window.stop)]


def _floats(frame: Tensor) -> Tensor:
    """8 bits to 0 … 1, as `Pictures` does it."""
    return frame.float() / LEVELS
