"""A job of two windows on the golden models, and the run of it."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

import torch

FRAMES, WINDOW_FRAMES, MOTION_FRAMES = 8, 5, 1


class Steps:
    """An observer that counts."""

    def __init__(self):
        self.seen = []

    def step(self, window, step, denoised):
        assert torch.isfinite(denoised).all()
        self.seen.append((window.index, step))


def make_job(models, model=None, voices=1, frames=FRAMES, **changes):
    """Two windows of five frames at 32 × 32, more of them with more frames."""
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.job import TalkingVideoJob
    from infinitetalk.wanvideo.pictures import Pictures
    from infinitetalk.wanvideo.settings import SamplerSettings

    generator = torch.Generator().manual_seed(1)
    settings = {"seed": 3, "steps": 3, "shift": 3.0, "text_cfg": 1.0, "audio_cfg": 1.0}
    settings |= {"window_frames": WINDOW_FRAMES, "motion_frames": MOTION_FRAMES}
    settings |= {name: changes.pop(name) for name in list(changes) if name in SamplerSettings.__dataclass_fields__}
    audio = torch.randn(frames, 3, 64, generator=generator)
    image = torch.rand(1, 32, 32, 3, generator=generator)
    features = [audio, *(torch.randn(frames, 3, 64, generator=generator) for _ in range(voices - 1))]
    embeds = SimpleNamespace(
        features=features,
        silence=[voice[:1] for voice in features],
        audible=[torch.ones(frames, dtype=torch.bool)] * voices,
        digests=[f"voice {index}" for index in range(voices)],
        fps=25.0,
        frame_rate=Fraction(25),
        frames=frames,
    )
    fields = {
        "model": model or models.model,
        "infinitetalk": models.infinitetalk,
        "embeds": embeds,
        "vae": models.vae,
        "pictures": Pictures(ImageFrames(image, Fraction(25)), Fraction(25), frames, (32, 32)),
        "settings": SamplerSettings(**settings),
    }
    return TalkingVideoJob(**{**fields, **changes})


def run(job):
    """All frames `[F, H, W, 3]`, and the steps that were seen."""
    steps = Steps()
    return torch.cat([finished.frames for finished in job.run(steps)]), steps.seen
