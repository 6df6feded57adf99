"""What the user sees while windows are sampled: progress bar, preview and a line of text on the node."""

from __future__ import annotations

import time

import comfy.utils
import latent_preview
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..wanvideo.windows import Window
from .feedback import show_text


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class SamplingProgress:
    """One progress bar over all windows and steps, with the preview method that the user chose."""

    def __init__(self, node_id: str | None, model: ModelPatcher, windows: int, steps: int, windows_done: int) -> None:
        self.node_id = node_id
        self.windows = windows
        self.steps = steps
        self.first_step = windows_done * steps
        self.started = time.monotonic()
        self.bar = comfy.utils.ProgressBar(windows * steps, node_id)
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    def step(self, window: Window, step: int, denoised: Tensor) -> None:
        """Show where the sampling stands; core's bar raises here when the user has pressed Cancel."""
        done = window.index * self.steps + step + 1
        total = self.windows * self.steps
        left = (time.monotonic() - self.started) / (done - self.first_step) * (total - done)
        show_text(
            self.node_id,
            f"Window {window.index + 1} of {self.windows}, step {step + 1} of {self.steps}, {clock(left)} left",
        )
        preview = None
        if self.previewer is not None:
            preview = self.previewer.decode_latent_to_preview_image("JPEG", denoised)
        self.bar.update_absolute(done, total, preview)
