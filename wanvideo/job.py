"""One talking video, from checked inputs to stored frames."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..errors import UserError
from ..spool import release
from ..weight_files import all_finite
from .conditioning import Conditioning, empty_text
from .edit_mask import EditMask
from .guidance import NEGATIVE_AUDIO, NEGATIVE_SILENT, TEXT_AUDIO, Guidance
from .masks import half_masks, token_masks
from .model.audio_patches import attach
from .model.base_model import check_base_model
from .model.compatibility import (
    check_clip_vision,
    check_context_windows,
    check_in_every_step,
    check_model_sampling,
    check_prompt,
    check_vae,
)
from .model.modules import InfiniteTalk
from .model.speakers import TRAINED_SPEAKERS
from .pictures import Pictures
from .sampling import FinishedWindow, Models, Observer, Prompts, SceneInputs, WindowLoop, sigmas_for, with_shift
from .scenes import Scene, SceneWish, Storyboard
from .schedule import INFINITETALK_SCHEDULE
from .settings import SamplerSettings
from .source_shot import SourceShot
from .voices import Voices
from .windows import Window, latent_frames, plan_windows

if TYPE_CHECKING:
    from ..audio.embeds import AudioEmbeds

FINITE_CHECK_FRAMES = 1024
"""Frames of embeddings that are looked at in one go (long ones may lie in a file)."""
CORES_GUIDANCE = {
    "sampler_cfg_function": "replaces the guidance (a CFG node such as RescaleCFG)",
    "sampler_pre_cfg_function": "changes what goes into the guidance (such as TCFG, FreSca or core's APG)",
    "sampler_calc_cond_batch_function": "makes the passes of the guidance itself (such as SkipLayerGuidanceDiTSimple)",
}
"""What core's own guidance would ask nodes for, in `model_options` (`comfy/samplers.py`, `sampling_function`)."""


@dataclass(frozen=True)
class TalkingVideoJob:
    """Everything that decides the pixels of one video. Making one checks all of it, before any long work.

    Raises:
        UserError: something does not fit together; the sentence names it.
    """

    model: ModelPatcher
    infinitetalk: ModelPatcher
    embeds: AudioEmbeds
    vae: Any
    pictures: Pictures
    settings: SamplerSettings
    positive: Conditioning | None = None
    negative: Conditioning | None = None
    clip_vision: Any | None = None
    speaker_masks: Tensor | None = None
    """`[speakers, H, W]` in 0 … 1 over the picture."""
    edit_mask: Tensor | None = None
    """`[1 or frames of the source, H, W]` in 0 … 1: where the source video may change; None: everywhere."""
    wishes: Sequence[SceneWish] = ()
    """The scenes after the first one, which has `pictures`, `positive` and `negative`."""

    def __post_init__(self) -> None:
        config = self._weights.config
        check_base_model(self.model, config)
        check_vae(self.vae)
        check_clip_vision(self.clip_vision, self.model)
        _check_embeds(self.embeds, config.embedding_size)
        check_context_windows(self.model, latent_frames(self.settings.window_frames))
        _check_guidance(self.model, self.settings.guidance)
        check_model_sampling(self.model)
        scheduled = self._with_schedule
        sigmas = sigmas_for(scheduled, self.settings)
        _check_schedule(sigmas, self.settings)
        for scene in self.scenes:
            if scene.wish is None and scene.start:
                continue  # found in a source video: it shows and hears what the scene before it does
            check_prompt("positive", scene.positive, self.model)
            check_prompt("negative", scene.negative, self.model)
            check_in_every_step("positive", scene.positive, scheduled, sigmas)
            if {NEGATIVE_AUDIO, NEGATIVE_SILENT} & set(self.settings.guidance.passes):
                check_in_every_step("negative", scene.negative, scheduled, sigmas)
            scene.pictures.at(0)  # refuses pixels that are no numbers
            if self._token_masks(scene) is not None:  # refuses masks that do not fit
                _check_whole_picture(scene.positive, scene.negative)
        _check_source(self.scenes, self.settings.denoise, self.edit_mask)
        if self.mask is not None:  # refuses masks that do not fit
            self.mask.check_not_empty(self.pictures.source_indices)

    @property
    def _weights(self) -> InfiniteTalk:
        return self.infinitetalk.model

    @cached_property
    def voices(self) -> Voices:
        """The voices; one voice with a mask has a silent listener beside it, so that only that face speaks."""
        return Voices.of(self.embeds, listener=self.speaker_masks is not None and len(self.embeds.features) == 1)

    @cached_property
    def scenes(self) -> tuple[Scene, ...]:
        """All scenes of the video, in order.

        Raises:
            UserError: one that has no place in the video.
        """
        embeds = self.embeds
        board = Storyboard(embeds.frames, embeds.frame_rate, embeds.audible, self.settings.motion_frames)
        first = Scene(start=0, pictures=self.pictures, positive=self.positive, negative=self.negative)
        return board.plan(first, self.wishes)

    @cached_property
    def windows(self) -> list[Window]:
        """All windows of the video, in order."""
        cuts, continued = (
            [scene.start for scene in self.scenes if scene.start and scene.is_cut == is_cut] for is_cut in (True, False)
        )
        lengths = self.settings.window_frames, self.settings.motion_frames
        return plan_windows(self.embeds.frames, *lengths, cuts, continued)

    def scene_of(self, window: Window) -> Scene:
        """The scene that a window belongs to."""
        return self.scenes[bisect_right(self.scenes, window.scene, key=lambda scene: scene.start) - 1]

    @cached_property
    def mask(self) -> EditMask | None:
        """Where the source video may change; None: everywhere."""
        if self.edit_mask is None:
            return None
        pictures = self.pictures
        return EditMask(self.edit_mask, pictures.source.count, pictures.source_size, pictures.size)

    @property
    def keeps_shot(self) -> bool:
        """Whether the windows start from the source video's own frames, and not from a keyframe of each alone."""
        return self.settings.denoise < 1 or self.edit_mask is not None

    @property
    def first_sigma(self) -> float:
        """The noise level that the sampling starts at, 1 for nothing but noise."""
        return float(sigmas_for(self._with_schedule, self.settings)[0])

    @property
    def _with_schedule(self) -> ModelPatcher:
        """The model, for core's schedulers with the shift."""
        if self.settings.scheduler == INFINITETALK_SCHEDULE:
            return self.model
        return with_shift(self.model, self.settings.shift)

    def _token_masks(self, scene: Scene) -> Tensor | None:
        """Speaker masks per token `[voices + 1, S]`, None with one speaker."""
        if len(self.voices) == 1:
            return None
        source, masks = scene.pictures.source_size, self.speaker_masks
        if masks is None and len(self.voices) == TRAINED_SPEAKERS:
            masks = half_masks(*source)
        if masks is None:
            raise UserError(
                f"There are {len(self.voices)} voices but no speaker_masks: connect Speaker Masks, a box for each."
            )
        return token_masks(masks, len(self.voices), source, scene.pictures.size)

    def loop(self, observer: Observer) -> WindowLoop:
        """What samples the windows of this job."""
        settings = self.settings
        two_speakers = len(self.voices) > 1
        patched = attach(self._with_schedule, self.infinitetalk, settings.audio_scale, two_speakers=two_speakers)
        models = Models(patched, self.infinitetalk, self.vae, self.clip_vision)
        shot = SourceShot(self.pictures, self.mask) if self.keeps_shot else None  # it is that of all scenes
        scenes = partial(self._inputs_of, shot)
        return WindowLoop(models, settings, scenes=scenes, voices=self.voices, observer=observer)

    def run(self, observer: Observer, windows_done: int = 0, motion: Tensor | None = None) -> Iterator[FinishedWindow]:
        """Sample the windows that are still to be made, one by one.

        Args:
            windows_done: windows that are finished already.
            motion: motion frames of the last of them, `[motion_frames, H, W, 3]`.
        """
        return self.loop(observer).run(self.windows[windows_done:], motion)

    def _inputs_of(self, shot: SourceShot | None, window: Window) -> SceneInputs:
        scene = self.scene_of(window)
        empty = empty_text(self.model.get_model_object("diffusion_model").text_dim)
        return SceneInputs(
            Prompts(scene.positive or empty, scene.negative or empty),
            picture=scene.pictures.at if shot is None else shot.picture,
            faces=self._token_masks(scene),
            shot=shot,
            smooth_seams=scene.pictures.is_video,
        )


def _check_embeds(embeds: AudioEmbeds, expected: int) -> None:
    for voice, features in enumerate(embeds.features, start=1):
        layers, channels = features.shape[1:]
        if layers * channels != expected:
            raise UserError(
                f"The wav2vec model gives {layers} layers × {channels} = {layers * channels} numbers per frame, but "
                f"the InfiniteTalk weights expect {expected}: load chinese-wav2vec2-base (12 × 768) in Load Wav2Vec."
            )
        if not _all_finite(features):
            raise UserError(
                f"The embeddings of voice {voice} hold NaN or infinite numbers: load the wav2vec model in fp32, or "
                "another file."
            )


def _check_whole_picture(*conditionings: Conditioning | None) -> None:
    """Two speakers are told apart by looking at the whole first frame; a part of it will not do."""
    for _, options in (entry for conditioning in conditionings for entry in conditioning or []):
        if "area" in options or options.get("set_area_to_bounds"):
            raise UserError(
                "A prompt is limited to an area of the picture, but with two speakers the model must see all of it: "
                "take out Conditioning (Set Area), or use Conditioning (Set Mask) with set_cond_area = default."
            )


def _all_finite(features: Tensor) -> bool:
    for part in features.split(FINITE_CHECK_FRAMES):
        finite = bool(torch.isfinite(part).all())
        release(features)
        if not finite:
            return False
    return True


def _check_source(scenes: Sequence[Scene], denoise: float, edit_mask: Tensor | None) -> None:
    if denoise == 1 and edit_mask is None:
        return
    found = f"denoise is {denoise:g}" if denoise < 1 else "edit_mask is connected"
    instead = "set denoise to 1" if denoise < 1 else "disconnect edit_mask"
    if not scenes[0].pictures.is_video:
        raise UserError(
            f"{found}, but there is one picture and no source video to keep: connect a video to `source_video`, or "
            f"{instead}."
        )
    for wish in (scene.wish for scene in scenes if scene.wish is not None):
        if wish.image is not None:
            raise UserError(
                f"{found}, but the scene at {wish.start:g} s has a picture of its own in place of the source video, "
                f"which is to be kept: disconnect its image, or {instead}."
            )


def _check_guidance(model: ModelPatcher, guidance: Guidance) -> None:
    named = next((kind for option, kind in CORES_GUIDANCE.items() if model.model_options.get(option)), None)
    if named and guidance.passes != (TEXT_AUDIO,):
        raise UserError(
            f"A node before the sampler {named}, but InfiniteTalk has a guidance of its own for text and audio: take "
            "that node out, or set text_cfg and audio_cfg to 1."
        )


def _check_schedule(sigmas: Tensor, settings: SamplerSettings) -> None:
    """Some of core's schedulers divide by the number of steps less one."""
    if not all_finite(sigmas):
        raise UserError(
            f"The scheduler {settings.scheduler} gives no numbers for steps = {settings.steps}: set more steps, or "
            "choose another scheduler."
        )
