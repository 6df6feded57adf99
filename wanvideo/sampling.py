"""The endless loop: one window after the other, each going on where the last one stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import comfy.model_management
import comfy.samplers
import comfy.utils
import numpy as np
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .color import has_a_look, match_colors
from .conditioning import Conditioning, with_window
from .finite import BASE_MODEL_OVERFLOWS, VAE_OVERFLOWS, refuse_not_finite
from .guidance import NEGATIVE_AUDIO, NEGATIVE_SILENT, TEXT_AUDIO, TEXT_SILENT
from .guider import InfiniteTalkGuider
from .keyframe import Keyframe, KeyframeEncoder
from .model.modules import InfiniteTalk
from .model.noise_levels import with_own_table
from .schedule import INFINITETALK_SCHEDULE, infinitetalk_sigmas
from .seams import without_jump
from .settings import SamplerSettings
from .source_shot import ShotWindow, SourceShot
from .voices import Voices
from .windows import AUDIO_WINDOW, Window, latent_frames

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Models:
    """The loaded models of one run; `model` already listens to `infinitetalk` (see `audio_patches.attach`)."""

    model: ModelPatcher
    infinitetalk: ModelPatcher
    vae: Any
    clip_vision: Any | None = None
    """None where no CLIP vision model is connected."""


@dataclass(frozen=True)
class Prompts:
    """Text conditions as core makes them."""

    positive: Conditioning
    negative: Conditioning


@dataclass(frozen=True)
class SceneInputs:
    """What all windows of a scene see."""

    prompts: Prompts
    picture: Callable[[int], Tensor]
    """The picture at a frame of the video, `[1, H, W, 3]` in 0 … 1 at the video's size. It is asked for in rising
    order."""
    faces: Tensor | None
    """Whose face each token of a latent frame is, `[regions, S]` (see `masks.token_masks`); None with one speaker."""
    shot: SourceShot | None = None
    """Of the source video, which the video keeps; None to make everything anew."""
    smooth_seams: bool = False
    """Nothing may jump where windows meet (see `seams.py`), for source videos."""


class Observer(Protocol):
    """Is told how far the sampling is; may raise to stop it."""

    def step(self, window: Window, step: int, denoised: Tensor) -> None:
        """After step `step` (from 0) of a window; `denoised` is the latent predicted so far."""


@dataclass(frozen=True)
class FinishedWindow:
    """What a window brought."""

    window: Window
    frames: Tensor
    """`[n, H, W, 3]` float32 in 0 … 1: the new frames only."""
    motion: Tensor
    """`[motion_frames, H, W, 3]` float32 in 0 … 1: what the next window begins with."""
    latent: Tensor
    """`[1, 16, T, H/8, W/8]`, as given to the VAE."""


def window_seed(seed: int, window: Window) -> int:
    """A seed of its own for every window, so that any window can be sampled again alone.

    It knows the scene's start and the window's place since the cut, and nothing before it.
    """
    entropy = [seed, window.place, window.cut] if window.cut else [seed, window.place]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


def window_noise(seed: int, window: Window, shape: tuple[int, ...]) -> Tensor:
    """Gaussian noise for a window, made on the CPU so that it is the same on every device."""
    generator = torch.Generator("cpu").manual_seed(window_seed(seed, window))
    return torch.randn(shape, generator=generator, dtype=torch.float32, device="cpu")


def sigmas_for(model: ModelPatcher, settings: SamplerSettings) -> Tensor:
    """The noise schedule, high to low: `[steps + 1]`, more or fewer where core's sampler wants it so."""
    if settings.scheduler == INFINITETALK_SCHEDULE:
        return infinitetalk_sigmas(settings.steps, settings.shift, settings.denoise)
    sampler = comfy.samplers.KSampler(
        model, settings.steps, model.load_device, settings.sampler_name, settings.scheduler, settings.denoise
    )
    return sampler.sigmas


def with_shift(model: ModelPatcher, shift: float) -> ModelPatcher:
    """A clone whose own schedule has this shift, for core's schedulers.

    A shift that a node before the sampler has set (`ModelSamplingSD3`) is left alone, but its table of noise levels is
    made anew where core may have put another one there (see `noise_levels`).
    """
    shifted = model.clone()
    current = model.get_model_object("model_sampling")
    if "model_sampling" in model.object_patches:
        sampling = with_own_table(current)
    else:
        sampling = type(current)(model.model.model_config)
        sampling.set_parameters(shift=shift, multiplier=current.multiplier)
    shifted.add_object_patch("model_sampling", sampling)
    return shifted


class WindowLoop:
    """Samples the windows of one video in order.

    Memory does not grow with the length: one window of frames, one keyframe and the text conditions are held.
    """

    def __init__(
        self,
        models: Models,
        settings: SamplerSettings,
        *,
        scenes: Callable[[Window], SceneInputs],
        voices: Voices,
        observer: Observer,
        noise: Callable[[Window, tuple[int, ...]], Tensor] | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            scenes: what the scene of a window shows; asked for once per scene, with the first window that is made.
            noise: noise for a window and a latent shape; None for `window_noise` with the seed.
        """
        self.models = models
        self.settings = settings
        self.keyframes = KeyframeEncoder(models.vae, models.clip_vision, settings.window_frames)
        self.scenes = scenes
        self.voices = voices
        self.observer = observer
        self.noise = noise or (lambda window, shape: window_noise(settings.seed, window, shape))
        self.guider = InfiniteTalkGuider(models.model, settings.guidance)
        self.sampler = comfy.samplers.sampler_object(settings.sampler_name)
        self.sigmas = sigmas_for(models.model, settings)
        self._silent: Tensor | None = None
        self._scene: tuple[int, SceneInputs] | None = None
        self._reference: Tensor | None = None

    def run(self, windows: Iterable[Window], motion: Tensor | None = None) -> Iterator[FinishedWindow]:
        """Sample the windows one by one.

        Args:
            windows: the windows from where the video stands, in order.
            motion: the last finished window's motion frames, `[motion_frames, H, W, 3]`; None at the start.

        Raises:
            UserError: a window holds NaN or infinite numbers; the sentence names the likely part.
        """
        for window in windows:
            finished = self._sample(window, motion if window.repeated else None)
            motion = finished.motion
            yield finished
            del finished  # a window of frames is large: it must not stay while the next one is made

    def _sample(self, window: Window, motion: Tensor | None) -> FinishedWindow:
        stop_if_interrupted()
        scene, source = self._seen(window)
        keyframe = self.keyframes.encode(scene.picture(window.start))
        motion_latents = keyframe.first_latent if motion is None else self.models.vae.encode(motion)
        self.guider.set_window(self._conditions(scene, window, keyframe), motion_latents)
        latent = self._denoise(window, keyframe.latent.shape, source)
        refuse_not_finite(latent, f"The model gave, in window {window.index + 1},", BASE_MODEL_OVERFLOWS)
        latent[:, :, : motion_latents.shape[2]] = motion_latents.to(latent)
        stop_if_interrupted()
        frames = self.models.vae.decode(latent)[0]  # [F, H, W, 3]
        if self._reference is not None:
            device = self.models.model.load_device
            frames = match_colors(frames, self._reference, self.settings.color_correction, device)
        refuse_not_finite(frames, f"The VAE gave, in window {window.index + 1},", VAE_OVERFLOWS)
        if scene.smooth_seams and motion is not None:
            without_jump(frames[window.repeated :], motion)
        if source is not None:
            source.put_back(frames)
        next_motion = frames[: window.kept.stop][-self.settings.motion_frames :].clone()
        return FinishedWindow(window, frames[window.kept], next_motion, latent)

    def _seen(self, window: Window) -> tuple[SceneInputs, ShotWindow | None]:
        """What a window's scene shows, and what the window shows in the source, whose frames are read only once."""
        known = self._scene
        scene = known[1] if known is not None and known[0] == window.scene else self.scenes(window)
        source = None if scene.shot is None else scene.shot.window(window)
        if known is None or known[0] != window.scene:
            self._scene, self._reference = (window.scene, scene), self._reference_of(window, scene)
        return scene, source

    def _reference_of(self, window: Window, scene: SceneInputs) -> Tensor | None:
        """The picture to whose colors those of a window's scene are held; None if they are left as they are."""
        if not self.settings.color_correction:
            return None
        reference = scene.picture(window.scene)
        if has_a_look(reference):
            return reference
        log.warning("InfiniteTalk: frame %d is of one color: color_correction leaves its scene as it is", window.scene)
        return None

    def _denoise(self, window: Window, shape: tuple[int, ...], source: ShotWindow | None) -> Tensor:
        """Noise, or a noisy source, to latent: `[1, 16, T, H/8, W/8]`."""

        def after_step(step: int, denoised: Tensor, _: Tensor, __: int) -> None:
            if step == 0:  # once is enough: what is no number stays none
                refuse_not_finite(denoised, "The model gave, in its first step,", BASE_MODEL_OVERFLOWS)
            self.observer.step(window, step, denoised)

        return self.guider.sample(
            self.noise(window, tuple(shape)),
            torch.zeros(shape) if source is None else self.models.vae.encode(source.video()),
            self.sampler,
            self.sigmas,
            denoise_mask=None if source is None else source.latent_mask(),
            callback=after_step,
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=window_seed(self.settings.seed, window),
        )

    def _conditions(self, scene: SceneInputs, window: Window, keyframe: Keyframe) -> dict[str, Conditioning]:
        """The conditionings of the passes that the guidance needs."""
        heard = self._project(self.voices.window(window, self.settings.end_padding))
        voice_per_slot = self.voices.latent_voice_per_slot(window)
        texts = {
            TEXT_AUDIO: scene.prompts.positive,
            NEGATIVE_AUDIO: scene.prompts.negative,
            TEXT_SILENT: scene.prompts.positive,
            NEGATIVE_SILENT: scene.prompts.negative,
        }
        return {
            name: with_window(texts[name], keyframe, self._silence(window))
            if name in (TEXT_SILENT, NEGATIVE_SILENT)
            else with_window(texts[name], keyframe, heard, voice_per_slot, scene.faces)
            for name in self.guider.guidance.passes
        }

    def _project(self, embeddings: Tensor) -> Tensor:
        """`[speakers, F, 5, layers, channels]` -> audio tokens `[T, N, D]` float32."""
        patcher = self.models.infinitetalk
        infinitetalk: InfiniteTalk = patcher.model
        # Its few weights are cast to the device as they are used: loading all of the model could push out the base.
        return infinitetalk.audio_proj(embeddings.to(patcher.load_device, torch.float32))

    def _silence(self, window: Window) -> Tensor:
        """Tokens of zero embeddings, `[T, tokens, D]`: one silent speaker, whatever the number of voices."""
        if self._silent is None:
            layers, channels = self.voices.features[0].shape[1:]
            # The projection sees single windows, so one group of frames stands for all.
            few = self._project(torch.zeros(1, 5, AUDIO_WINDOW, layers, channels))  # [2, tokens, D]
            repeats = latent_frames(window.frames) - 1
            self._silent = torch.cat([few[:1], few[1:].expand(repeats, -1, -1)])
        return self._silent


def stop_if_interrupted() -> None:
    """Raise core's own exception when the user has pressed Cancel."""
    comfy.model_management.throw_exception_if_processing_interrupted()
