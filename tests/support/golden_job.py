"""A small job on the golden models, and what can be changed about it."""

from __future__ import annotations

from fractions import Fraction

import torch

LAYERS, FRAMES = 3, 40


class Nobody:
    """An observer that does not look."""

    def step(self, window, step, denoised):
        pass


def padded(text: torch.Tensor) -> torch.Tensor:
    """Text rows as core's encoder gives them: zeros up to 512. `[L, 4096]` -> `[1, 512, 4096]`."""
    return torch.nn.functional.pad(text.float(), (0, 0, 0, 512 - text.shape[0]))[None]


def golden_job(models):
    """A small job on the golden models."""
    from infinitetalk.audio.embeds import AudioEmbeds
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.job import TalkingVideoJob
    from infinitetalk.wanvideo.pictures import Pictures
    from infinitetalk.wanvideo.settings import SamplerSettings

    random = torch.Generator().manual_seed(1)
    size = models.infinitetalk.model.config.embedding_size
    features = torch.randn(FRAMES, LAYERS, size // LAYERS, generator=random)
    sound = {"waveform": torch.zeros(1, 1, 10), "sample_rate": 16000}
    embeds = AudioEmbeds(
        features=[features],
        silence=[features[:20] * 0],
        fps=25.0,
        frames=FRAMES,
        sound=sound,
        audible=[torch.ones(FRAMES, dtype=torch.bool)],
        digests=["what was said"],
    )
    image = torch.rand(1, 64, 64, 3, generator=random)
    return TalkingVideoJob(
        model=models.model.clone(),
        infinitetalk=models.infinitetalk,
        embeds=embeds,
        vae=models.vae,
        pictures=Pictures(ImageFrames(image, Fraction(25)), Fraction(25), FRAMES, (64, 64)),
        settings=SamplerSettings(seed=1, steps=2, window_frames=17, motion_frames=5),
        positive=[[torch.randn(1, 512, 4096, generator=random), {"pooled_output": None}]],
    )


def lora_state(model, seed: int = 3) -> dict[str, torch.Tensor]:
    """A LoRA on the queries of the first block."""
    weight = model.model.diffusion_model.blocks[0].self_attn.q.weight
    random = torch.Generator().manual_seed(seed)
    name = "diffusion_model.blocks.0.self_attn.q"
    return {
        f"{name}.lora_A.weight": torch.randn(4, weight.shape[1], generator=random),
        f"{name}.lora_B.weight": torch.randn(weight.shape[0], 4, generator=random),
    }


def with_lora(model, strength: float = 1.0, seed: int = 3):
    import comfy.sd

    return comfy.sd.load_lora_for_models(model, None, lora_state(model, seed), strength, 0)[0]
