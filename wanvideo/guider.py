"""Core's guider with InfiniteTalk's guidance and clean motion frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..errors import UserError
from .conditioning import Conditioning
from .guidance import TEXT_AUDIO, Guidance, ProjectedGuidance, as_one_guidance, guidance_terms, pass_weights
from .model.audio_arrived import check_all_blocks_heard
from .model.audio_patches import ATTACHMENT_KEY, BlocksHeard, weights_by_model


@dataclass
class _Projections:
    """The running averages of projected guidance, one per term, for one window."""

    guidance: Guidance
    terms: dict[tuple[str, str], ProjectedGuidance] = field(default_factory=dict)

    def velocity(self, velocities: dict[str, Tensor]) -> Tensor:
        start = velocities[TEXT_AUDIO]
        guided = start
        for strength, towards, away in guidance_terms(self.guidance.text_cfg, self.guidance.audio_cfg):
            term = self.terms.setdefault(
                (towards, away),
                ProjectedGuidance(self.guidance.apg_momentum, self.guidance.apg_norm_threshold),
            )
            guided = guided + strength * term(velocities[towards] - velocities[away], start)
        return guided


class InfiniteTalkGuider(comfy.samplers.CFGGuider):
    """Samples one window: any of core's samplers can drive it.

    Before every model call the first latents are set to the clean motion latents, as the authors do before and after
    each step, and the prediction for them is those latents themselves.
    """

    def __init__(self, model: ModelPatcher, guidance: Guidance) -> None:
        super().__init__(model)
        self.guidance = guidance
        self._motion = torch.empty(0)
        self._projections = _Projections(guidance)
        self._is_first_call = True

    @property
    def cfg(self) -> float:
        """The scale of core's own guidance, which nodes such as CFG Override set while a step is made."""
        return self.guidance.text_cfg

    @cfg.setter
    def cfg(self, scale: float) -> None:
        if hasattr(self, "guidance") and scale != self.guidance.text_cfg:  # core's own guider sets it first of all
            raise UserError(
                f"A node before the sampler (such as CFG Override) sets the guidance to {scale:g}, but InfiniteTalk "
                "has a guidance of its own for text and audio: take that node out, and set text_cfg and audio_cfg."
            )

    def set_window(self, conditions: dict[str, Conditioning], motion_latents: Tensor) -> None:
        """Begin a window.

        Args:
            conditions: one conditioning per name in `Guidance.passes`.
            motion_latents: `[1, 16, Tm, H/8, W/8]` as the VAE gives them.
        """
        self.original_conds: dict[str, Any] = {}
        self.inner_set_conds({name: conditions[name] for name in self.guidance.passes})
        self._motion = self.model_patcher.model.process_latent_in(motion_latents)
        self._projections = _Projections(self.guidance)
        self._is_first_call = True

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] | None = None, seed: int | None = None
    ) -> Tensor:
        """The guided prediction of the clean latent.

        Args:
            x: noisy latent `[1, 16, T, H/8, W/8]`.
            timestep: sigma, `[1]`.
        """
        options = self._with_weights(model_options or {})
        motion = self._motion.to(x)
        steps = motion.shape[2]
        x = torch.cat([motion, x[:, :, steps:]], dim=2)
        names = self.guidance.passes
        conditions = [self.conds[name] for name in names]
        predicted = self._predict(conditions, x, timestep, options)
        predictions = dict(zip(names, predicted, strict=True))
        denoised = self._guide(predictions, x, timestep)
        post_processes = options.get("sampler_post_cfg_function", [])
        if post_processes:
            scale, away_from = as_one_guidance(self.guidance.text_cfg, self.guidance.audio_cfg)
            uncond_denoised = _weighted(away_from, predictions)
            args = {"cond": conditions[0], "uncond": conditions[-1], "cond_denoised": predicted[0]}
            args |= {"uncond_denoised": uncond_denoised, "cond_scale": scale, "input": x, "sigma": timestep}
            args |= {"model": self.inner_model, "model_options": options}
            for post_process in post_processes:
                denoised = post_process({**args, "denoised": denoised})
        return torch.cat([motion, denoised[:, :, steps:]], dim=2)

    def _predict(
        self, conditions: list[Any], x: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> list[Tensor]:
        """A prediction for each pass. In the first step of a window, all blocks must have heard the audio."""
        report = BlocksHeard() if self._is_first_call else None
        options = _attached(model_options, report=report)
        predicted = comfy.samplers.calc_cond_batch(self.inner_model, conditions, x, timestep, options)
        if report is not None:
            check_all_blocks_heard(report, self.model_patcher, model_options)
            self._is_first_call = False
        return predicted

    def _with_weights(self, model_options: dict[str, Any]) -> dict[str, Any]:
        """The options with InfiniteTalk's weights for the models of this step, which core may have copied: also for
        nodes that call the model themselves, such as SkipLayerGuidanceDiT.
        """
        return _attached(model_options, weights=weights_by_model(self.model_patcher, model_options))

    def _guide(self, denoised: dict[str, Tensor], x: Tensor, sigma: Tensor) -> Tensor:
        """Combine the passes. A weighted mean of predictions is the prediction of the weighted mean of velocities."""
        if not self.guidance.apg:
            return _weighted(pass_weights(self.guidance.text_cfg, self.guidance.audio_cfg), denoised)
        sigma = sigma.reshape(-1, 1, 1, 1, 1)
        velocities = {name: (x - prediction) / sigma for name, prediction in denoised.items()}
        return x - sigma * self._projections.velocity(velocities)


def _attached(model_options: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The options with fields of the attachment changed; the given ones stay as they are."""
    transformer_options = model_options["transformer_options"]
    attachment = replace(transformer_options[ATTACHMENT_KEY], **changes)
    return {**model_options, "transformer_options": {**transformer_options, ATTACHMENT_KEY: attachment}}


def _weighted(weights: dict[str, float], predictions: dict[str, Tensor]) -> Tensor:
    """The weighted sum of the passes that have a weight."""
    return sum((weight * predictions[name] for name, weight in weights.items()), start=torch.zeros(()))
