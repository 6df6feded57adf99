"""Speech -> one embedding per video frame, as InfiniteTalk was trained on them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError, plain_text
from ..spool import Spool, release
from ..weight_files import refuse_unusable
from .input_digest import weights_digest
from .layer_sweep import LayerSweep, Progress, Reach
from .options import PRECISIONS
from .wav2vec_file import read_checkpoint
from .wav2vec_model import ChannelStats, Wav2VecConfig, Wav2VecModel

log = logging.getLogger(__name__)

SAMPLE_RATE = 16_000  # Hz; every wav2vec 2.0 was trained on it
CONV_SECONDS = 4  # of sound that go through the convolutions at a time: 26 MB per activation of the base model
END_CONTEXT_FRAMES = 1_500  # a minute at 25 fps; four times what wav2vec 2.0 heard at once in training


@dataclass
class Wav2VecEncoder:
    """A wav2vec 2.0 model with its precision, ready to encode.

    `on_device` is entered around each piece of work and gives the device on which the model then is; ComfyUI's memory
    management comes in there. Without it the model works where it is. `reach` says how far the attention looks frame by
    frame (see `LayerSweep`): up to `reach.near_frames` frames, nothing differs from the reference.
    """

    model: Wav2VecModel
    dtype: torch.dtype
    do_normalize: bool = False
    name: str = "wav2vec2"
    reach: Reach = field(default_factory=Reach)
    on_device: Callable[[], AbstractContextManager[torch.device]] | None = field(default=None, repr=False)

    @cached_property
    def digest(self) -> str:
        """What decides the embeddings of a sound: all weights, and how and on what kind of device they work."""
        with self._placed() as device:
            weights = {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}
            parts = (weights_digest(weights), self.dtype, self.do_normalize, self.config, self.reach, device.type)
        return " ".join(map(str, parts))

    @property
    def config(self) -> Wav2VecConfig:
        """Sizes of the model."""
        return self.model.config

    @torch.no_grad()
    def encode(
        self,
        wave: Tensor,
        frames: int,
        *,
        frame_rate: Fraction | None = None,
        progress: Progress | None = None,
        folder: Path | None = None,
    ) -> Tensor:
        """The outputs of all layers for a mono sound, one embedding per video frame.

        Args:
            wave: `[T]` float32 at 16 kHz, full scale ±1; a mapped file will do.
            frames: number of embeddings.
            frame_rate: the embedding k belongs to the time k / frame_rate. None stretches the sound over the frames,
                as the reference does: the first embedding belongs to the sound's first feature, the last one to its
                last. At 25 fps and with whole frames of sound both are the same, to the bit.
            progress: called with steps done and steps in all.
            folder: where embeddings that are too many for memory are kept.

        Returns:
            `[frames, layers, channels]` float32 on the CPU, possibly a mapped file.

        Method: `get_embedding` of the authors' `generate_infinitetalk.py`: convolutional features, linear
        interpolation to the frames (align_corners) *before* the transformer, all hidden states but the first.
        """
        return self._encode(wave, frames, 0, frame_rate, progress, folder)

    @torch.no_grad()
    def encode_end(
        self, wave: Tensor, frames: int, first: int, *, frame_rate: Fraction, folder: Path | None = None
    ) -> Tensor:
        """The embeddings `first … frames - 1` of a sound, `[frames - first, layers, channels]`.

        Only the last `END_CONTEXT_FRAMES` before them are their context in the transformer.
        """
        context = max(0, first - END_CONTEXT_FRAMES)
        return self._encode(wave, frames, context, frame_rate, None, folder)[first - context :].clone()

    def _encode(
        self,
        wave: Tensor,
        frames: int,
        first: int,
        frame_rate: Fraction | None,
        progress: Progress | None,
        folder: Path | None,
    ) -> Tensor:
        """The frames `first … frames - 1` as if there were none before them, but normalized with the whole sound."""
        row = (self.config.channels,)
        # Copies of one layer are dropped as soon as the next one is there, so only the outputs have a share of memory.
        with self._placed() as device, Spool(row, folder=folder) as outputs, Spool(row, folder=folder) as work:
            features = ConvFeatures(self, wave, frames, frame_rate, device)

            def projected(start: int, stop: int) -> Tensor:
                return self.model.feature_projection(features.read(first + start, first + stop))

            sweep = LayerSweep(self.model.encoder, frames - first, device, self.dtype, self.reach)
            try:
                sweep.run(projected, outputs, work, progress)
            except OverflowError as error:
                raise UserError(
                    f"{self.name} gave values beyond the range of {str(self.dtype).removeprefix('torch.')}: "
                    "set base_precision of Load Wav2Vec to bf16 or fp32."
                ) from error
            return outputs.finish().unflatten(0, (self.config.layers, frames - first)).transpose(0, 1)

    @contextmanager
    def _placed(self) -> Iterator[torch.device]:
        if self.on_device is None:
            yield next(self.model.parameters()).device
            return
        with self.on_device() as device:
            yield device


class ConvFeatures:
    """The convolutional features of one sound at the video's frame rate, any stretch of frames at a time.

    Only a few seconds of sound pass the convolutions at once. The group norm behind the first of them is over the whole
    sound, so its statistics are measured first; a stretch then has the numbers that it has in the whole.
    """

    def __init__(
        self, encoder: Wav2VecEncoder, wave: Tensor, frames: int, frame_rate: Fraction | None, device: torch.device
    ) -> None:
        self.extractor = encoder.model.feature_extractor
        self.config = encoder.config
        self.dtype = encoder.dtype
        self.device = device
        short = self.config.field_samples - len(wave)
        self.wave = torch.nn.functional.pad(wave, (0, short)) if short > 0 else wave
        self.frames = frames
        self.features_per_frame = (
            None if frame_rate is None else Fraction(SAMPLE_RATE, self.config.hop_samples) / frame_rate
        )
        self.count = self.config.feature_count(len(self.wave))
        self.shift, self.scale = _normalization(self.wave) if encoder.do_normalize else (0.0, 1.0)
        self.stats = self._measure() if self.config.group_norm else None

    def read(self, start: int, stop: int) -> Tensor:
        """Features of the frames `start … stop - 1`, `[stop - start, conv channels]` on the device."""
        step = max(1, CONV_SECONDS * SAMPLE_RATE // self.config.hop_samples * self.frames // self.count)
        return torch.cat([self._read(i, min(i + step, stop)) for i in range(start, stop, step)])

    def _read(self, start: int, stop: int) -> Tensor:
        """As `read`, in one go."""
        left, share = self._places(start, stop)
        share = share.to(self.device)[:, None]
        first, last = int(left[0]), min(int(left[-1]) + 1, self.count - 1)
        hop = self.config.hop_samples
        samples = self._samples(first * hop, last * hop + self.config.field_samples)
        features = self.extractor(samples, self.stats).float()  # [last - first + 1, conv channels]
        left = (left - first).to(self.device)
        right = (left + 1).clamp(max=last - first)
        return ((1 - share) * features[left] + share * features[right]).to(self.dtype)

    def _places(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Where the frames lie among the features: the feature before each (int64), and the share of the next one."""
        last = self.count - 1
        if self.features_per_frame is not None:
            per, gaps = self.features_per_frame.as_integer_ratio()
            place = torch.arange(start, stop) * per
            left = torch.div(place, gaps, rounding_mode="floor")
            return left.clamp(max=last), ((place - left * gaps).double() / gaps).float()
        # Rounded to float32 as in torch's `interpolate`, which the reference calls: exact places differ by up to 1e-4
        # in the embeddings.
        place = torch.arange(start, stop, dtype=torch.float32)
        place = place * (torch.tensor(float(last)) / torch.tensor(max(1.0, self.frames - 1.0)))
        left = place.long().clamp(max=last)
        return left, place - left

    def _samples(self, start: int, stop: int) -> Tensor:
        piece = (self.wave[start:stop].float() - self.shift) * self.scale
        release(self.wave)
        return piece.to(self.device, self.dtype)

    def _measure(self) -> ChannelStats:
        """Statistics of the first convolution over the whole sound."""
        kernel, stride = self.config.conv_kernels[0], self.config.conv_strides[0]
        total = (len(self.wave) - kernel) // stride + 1
        step = CONV_SECONDS * SAMPLE_RATE // stride
        ends = ((start, min(start + step, total)) for start in range(0, total, step))
        pieces = (self._samples(start * stride, (stop - 1) * stride + kernel) for start, stop in ends)
        return functools.reduce(ChannelStats.merge, map(self.extractor.stats, pieces))


def _normalization(wave: Tensor) -> tuple[float, float]:
    """Shift and scale to zero mean and unit variance, as transformers' feature extractor does it."""
    step = CONV_SECONDS * SAMPLE_RATE
    total = squares = 0.0
    for start in range(0, len(wave), step):
        piece = wave[start : start + step].double()
        total += float(piece.sum())
        squares += float(piece.square().sum())
    mean = total / len(wave)
    variance = max(0.0, squares / len(wave) - mean * mean)
    return mean, (variance + 1e-7) ** -0.5


def load_encoder(path: Path, precision: str, *, ops: Any = nn, cpu: bool = True) -> Wav2VecEncoder:
    """Load a wav2vec 2.0 checkpoint (see `read_checkpoint`) for work in `precision`: fp32, fp16 or bf16.

    On a CPU fp16 is computed in float32, which is faster there and loses nothing. The weights stay on the CPU; `ops`
    names the layer classes (`torch.nn` or one of `comfy.ops`).

    Raises:
        UserError: another precision, or the checkpoint is none, is not complete or holds what cannot be used.
    """
    if precision not in PRECISIONS:
        raise UserError(f"base_precision is {precision}, and one of {', '.join(PRECISIONS)} is needed.")
    dtype = PRECISIONS[precision]
    if cpu and dtype == torch.float16:
        log.info("Wav2Vec %s: fp16 on a CPU is computed in fp32.", plain_text(path.name))
        dtype = torch.float32
    checkpoint = read_checkpoint(path)
    with torch.device("meta"):
        model = Wav2VecModel(checkpoint.config, ops)
        # Core's own layers have no weights before they are loaded, where it pages them.
        wanted = {k: v.shape for k, v in Wav2VecModel(checkpoint.config).state_dict().items()}
    for key, shape in wanted.items():
        found = checkpoint.weights.get(key)
        if found is None or found.shape != shape:
            what = "is missing" if found is None else f"has the shape {list(found.shape)}"
            raise UserError(
                f"{path.name} is no complete wav2vec2: {key} {what} and {list(shape)} is needed; download it again."
            )
        refuse_unusable(path.name, key, found)
    unknown = sorted(checkpoint.weights.keys() - wanted.keys())
    if unknown:
        log.warning(
            "Wav2Vec %s: %d tensors are not used (%s).",
            plain_text(path.name),
            len(unknown),
            plain_text(", ".join(unknown[:3])),
        )
    model.load_state_dict({k: checkpoint.weights[k].to(dtype) for k in wanted}, assign=True)
    model.eval().requires_grad_(False)
    return Wav2VecEncoder(model, dtype, checkpoint.do_normalize, path.name)
