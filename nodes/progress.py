"""What the user sees while windows are sampled: progress bar, preview and a line of text on the node."""

from __future__ import annotations

import time

import comfy.utils
import latent_preview
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..wanvideo.resume.share import Share
from ..wanvideo.windows import Window
from .feedback import show_text


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class SamplingProgress:
    """One progress bar over all windows and steps, with the preview method that the user chose."""

    def __init__(self, node_id: str | None, model: ModelPatcher, share: Share) -> None:
        self.node_id = node_id
        self.first = share.own[0].index
        self.windows = len(share.own)
        self.scenes = [scene.start for scene in share.job.scenes]
        self.steps = share.job.settings.steps
        self.made = 0
        self.started = time.monotonic()
        self.bar = comfy.utils.ProgressBar(self.windows * self.steps, node_id)
        self.previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)

    def step(self, window: Window, step: int, denoised: Tensor) -> None:
        """Show where the sampling stands; core's bar raises here when the user has pressed Cancel."""
        number = window.index - self.first + 1
        step = min(step, self.steps - 1)  # dpm_adaptive takes as many as it needs
        self.made += 1
        done, total = (number - 1) * self.steps + step + 1, self.windows * self.steps
        left = (time.monotonic() - self.started) / self.made * (total - done)
        scene = f" (scene {self.scenes.index(window.scene) + 1} of {len(self.scenes)})" if len(self.scenes) > 1 else ""
        show_text(
            self.node_id,
            f"Window {number} of {self.windows}{scene}, step {step + 1} of {self.steps}, {clock(left)} left",
        )
        preview = None
        if self.previewer is not None:
            preview = self.previewer.decode_latent_to_preview_image("JPEG", denoised)
        self.bar.update_absolute(done, total, preview)
