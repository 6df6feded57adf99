"""Trains the demo's talking model and writes it as the nodes read it: `python tools/train_talk.py`.

It needs the demo's VAE (see `train_vae`), the program espeak-ng, and the environment of the demo. It can be stopped at
any moment and goes on when it is started again. Losses go to `.cache/training/talk/losses.jsonl`.

Method: flow matching as the sampler goes the other way. `x = (1 - sigma) * clean + sigma * noise`, and the model
predicts `noise - clean` (core's `ModelType.FLOW`); the latents of the motion frames stand clean in front of x, at every
step, and what the model says of them is not looked at (see `InfiniteTalkGuider.predict_noise`).
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import in_process
import torch
from cartoon_models import FOLDER as MODELS
from torch import Tensor
from training import checkpoints
from training.talk_data import ClipCache, Kind, Windows, as_windows
from training.talk_model import (
    Sizes,
    TalkModel,
    condition,
    core_in_training,
    load_talk_model,
    save_talk_model,
    save_wav2vec,
    two_speakers,
)

FOLDER = in_process.ROOT / ".cache" / "training" / "talk"
SAVE_SECONDS = 60
REPORT_STEPS = 250
HELD_OUT_CLIPS = 50
MEASURED_WINDOWS = 64

log = logging.getLogger("train_talk")

Velocity = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How it is trained."""

    batch: int = 16
    """Faces, whether they are alone or two in a picture."""
    pair_share: float = 0.2
    """Of the steps are on pictures with two speakers."""
    shot_share: float = 0.4
    """Of the steps are on shots in which head and background move."""
    learning_rate: float = 2e-3
    warm_up_steps: int = 200
    last_rate: float = 0.02
    """Share of the learning rate that is left at the end."""
    weight_decay: float = 0.01
    longest_gradient: float = 1.0
    ema: float = 0.999
    shift: float = 3.0
    """Of the noise levels towards noise, as in the sampler's schedule."""
    mouth_weight: float = 4.0
    silent_share: float = 0.1
    """Of the windows are trained with zero embeddings, for the sampler's pass without audio."""
    motion_noise: float = 0.4
    """Most that is added to the motion latents of later windows, the same in all frames.

    Those of the sampler are of its own making, and wrong in the same places in every frame (by 0.2 to 0.4): the looks
    are to be taken from the keyframe.
    """


@dataclass(frozen=True)
class Data:
    """Windows with one face, such with two, and such of shots in which more moves."""

    alone: Windows
    pairs: Windows
    shots: Windows

    @classmethod
    def made(cls, cache: ClipCache, clips: Sequence[int], *, held_out: bool) -> Data:
        """From so many clips of each kind."""
        kinds: tuple[Kind, ...] = ("face", "pair", "shot")
        return cls(*(cache.windows(n, held_out=held_out, kind=kind) for n, kind in zip(clips, kinds, strict=True)))


@dataclass(frozen=True)
class Problem:
    """A batch with noise: what the model is given, and what it shall answer."""

    x: Tensor
    sigma: Tensor
    condition: Tensor
    audio: Tensor
    target: Tensor
    """`[B, 16, T, h, w]` velocity."""
    weight: Tensor
    """`[B, 1, T, h, w]` of every cell; 0 on the motion latents."""
    mouth: Tensor
    """`[B, 1, T, h, w]` the same, 1 on the cells of the mouth and 0 elsewhere."""
    masks: Tensor | None
    """`[regions, S]` of two speakers; None with one."""


def noised(windows: Windows, recipe: Recipe, generator: torch.Generator) -> Problem:
    """Put windows at random places between clean and noise."""
    clean, size, alone = windows.clean.float(), len(windows), windows.audio.shape[1] == 1
    place = torch.rand(size, generator=generator)
    sigma = recipe.shift * place / (1 + (recipe.shift - 1) * place)
    at = sigma[:, None, None, None, None]
    noise = torch.randn(clean.shape, generator=generator)
    given = (torch.arange(clean.shape[2]) < windows.motion[:, None])[:, None, :, None, None]
    spread = recipe.motion_noise * torch.rand(size, generator=generator) * (windows.motion > 1)
    trips = torch.randint(windows.worn.shape[1], (size,), generator=generator)
    motion, worn = clean.clone(), windows.worn[torch.arange(size), trips].float()
    motion[:, :, : worn.shape[2]] = worn
    still = torch.randn(clean[:, :, :1].shape, generator=generator)
    motion += spread[:, None, None, None, None] * still
    silent = torch.rand(size, generator=generator) < recipe.silent_share
    silent &= alone  # the sampler's pass without audio does not know of speakers either
    mouth = windows.mouth[:, None, None] * (~given).float()
    return Problem(
        x=torch.where(given, motion, (1 - at) * clean + at * noise),
        sigma=sigma,
        condition=condition(windows.keyframe.float()),
        audio=as_windows(windows.audio.float()) * ~silent[:, None, None, None, None, None],
        target=noise - clean,
        weight=(~given).float() + (recipe.mouth_weight - 1) * mouth,
        mouth=mouth,
        masks=None if alone else two_speakers(*clean.shape[3:]),
    )


def squared_error(predict: Velocity, problem: Problem, *, bfloat16: bool) -> Tensor:
    """Of the velocity, a mean over the channels: `[B, 1, T, h, w]` float32."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        velocity = predict(problem.x, problem.sigma, problem.condition, problem.audio, problem.masks)
    return (velocity.float() - problem.target).square().mean(dim=1, keepdim=True)


def weighted_mean(error: Tensor, weight: Tensor) -> Tensor:
    """`[B, 1, T, h, w]` each -> a number."""
    return (error * weight).sum() / weight.expand_as(error).sum()


@torch.no_grad()
def measure(model: TalkModel, data: Data, recipe: Recipe, *, bfloat16: bool) -> dict[str, float]:
    """Errors on windows of unknown faces and sentences; those of mouths also with what they do not say.

    That is no audio for those who are alone, and for two speakers the voices in the wrong order.
    """

    def error_of(windows: Windows, *, wrong: bool) -> tuple[Tensor, Problem]:
        problem = noised(windows, recipe, torch.Generator().manual_seed(0))  # the same noise every time
        audio = as_windows(windows.audio.float())
        if wrong:
            audio = audio.flip(1) if audio.shape[1] > 1 else torch.zeros_like(audio)
        problem = replace(problem, audio=audio)
        return squared_error(model.velocity, problem, bfloat16=bfloat16), problem

    found = {}
    for name, windows in (("held_out", data.alone), ("pairs", data.pairs), ("shots", data.shots)):
        windows = windows[:MEASURED_WINDOWS]
        parts = [windows[start : start + recipe.batch] for start in range(0, len(windows), recipe.batch)]
        right, wrong = ([error_of(part, wrong=wrong) for part in parts] for wrong in (False, True))
        found[name] = mean(float(weighted_mean(error, problem.weight)) for error, problem in right)
        for label, errors in (("mouth", right), ("mouth_wrong", wrong)):
            found[f"{name}_{label}"] = mean(float(weighted_mean(error, problem.mouth)) for error, problem in errors)
    return found


@dataclass(frozen=True)
class Limit:
    """When it is over: after so many minutes of training or so many steps, whichever comes first."""

    minutes: float | None = None
    steps: int | None = None

    def progress(self, seconds: float, step: int) -> float:
        """From 0 to 1."""
        shares = [seconds / (60 * self.minutes)] if self.minutes else []
        shares += [step / self.steps] if self.steps else []
        return min(1.0, max(shares))


class Training:
    """Model, average model, optimiser and clock; saved and loaded together.

    Args:
        folder: where it is kept.
        data: what is trained on.
        seed: of weights, order and noise.
        bfloat16: compute in bfloat16 where that is precise enough; the weights stay float32.
        compiled: let PyTorch compile the model first, which takes two minutes and a C++ compiler.
        begun: a model of another training, whose weights this one begins with.
    """

    def __init__(
        self,
        folder: Path,
        data: Data,
        sizes: Sizes,
        recipe: Recipe,
        seed: int,
        *,
        bfloat16: bool = True,
        compiled: bool = False,
        begun: TalkModel | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.folder, self.data, self.recipe, self.seed, self.bfloat16 = folder, data, recipe, seed, bfloat16
        self.model = begun or TalkModel(sizes)
        self.average = copy.deepcopy(self.model)
        self.velocity = torch.compile(self.model.velocity, dynamic=False) if compiled else self.model.velocity
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.averages = [weight for weight in self.average.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [weight for weight in self.weights if weight.ndim > 1], "weight_decay": recipe.weight_decay},
                {"params": [weight for weight in self.weights if weight.ndim == 1], "weight_decay": 0.0},
            ],
            betas=(0.9, 0.99),
        )
        self.step = 0
        self.seconds = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self.file.is_file():
            self._load()

    @property
    def file(self) -> Path:
        return self.folder / "checkpoint.pt"

    def run(self, limit: Limit, held_out: Data | None = None) -> None:
        """Train up to the limit."""
        saved, losses = time.monotonic(), []
        while (progress := limit.progress(self.seconds, self.step)) < 1:
            started = time.monotonic()
            losses.append(self.train_step(progress))
            self.seconds += time.monotonic() - started
            if self.step % REPORT_STEPS == 0:
                self._report(sum(losses) / len(losses), held_out)
                losses.clear()
            if time.monotonic() - saved > SAVE_SECONDS:
                self.save()
                saved = time.monotonic()
        self.save()

    def train_step(self, progress: float) -> float:
        """One step on a batch that the seed and the step's number decide; the loss."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        windows, size = self.data.alone, recipe.batch
        lot = float(torch.rand((), generator=generator))
        if lot < recipe.pair_share:
            windows, size = self.data.pairs, recipe.batch // 2
        elif lot < recipe.pair_share + recipe.shot_share:
            windows = self.data.shots
        rows = torch.randint(len(windows), (size,), generator=generator)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * self._rate(progress)
        problem = noised(windows[rows], recipe, generator)
        self.optimizer.zero_grad(set_to_none=True)
        with core_in_training():
            loss = weighted_mean(squared_error(self.velocity, problem, bfloat16=self.bfloat16), problem.weight)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, recipe.longest_gradient)
        self.optimizer.step()
        self.step += 1
        kept = min(recipe.ema, self.step / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.weights, 1 - kept)
        return float(loss.detach())

    def _rate(self, progress: float) -> float:
        """Share of the learning rate: a rise at the beginning, then half a cosine."""
        cosine = 0.5 + 0.5 * math.cos(math.pi * progress)
        rise = min(1.0, (self.step + 1) / self.recipe.warm_up_steps)
        return rise * (self.recipe.last_rate + (1 - self.recipe.last_rate) * cosine)

    def _report(self, loss: float, held_out: Data | None) -> None:
        entry = {"step": self.step, "minutes": self.seconds / 60, "loss": loss}
        if held_out is not None:
            entry |= measure(self.average, held_out, self.recipe, bfloat16=self.bfloat16)
        log.info("%s", {key: round(value, 4) for key, value in entry.items()})
        with (self.folder / "losses.jsonl").open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(entry) + "\n")

    @property
    def _trained(self) -> dict[str, Any]:
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer}

    def save(self) -> None:
        """Write the checkpoint."""
        checkpoints.save(self.file, self._trained, step=self.step, seconds=self.seconds)

    def _load(self) -> None:
        progress = checkpoints.load(self.file, self._trained)
        self.step, self.seconds = progress["step"], progress["seconds"]
        log.info("Going on at step %d, after %.1f minutes.", self.step, self.seconds / 60)


def main() -> None:
    """The command line."""
    options = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", force=True)  # core has set it
    if options.threads:
        torch.set_num_threads(options.threads)
    sizes, recipe = Sizes(), Recipe()
    save_wav2vec(sizes, options.models)
    cache = ClipCache(options.folder, options.models, options.seed, options.workers)
    data = Data.made(cache, (options.clips, options.pairs, options.shots), held_out=False)
    held_out = Data.made(cache, (HELD_OUT_CLIPS,) * 3, held_out=True)
    log.info("Windows: %d, of two speakers %d, of shots %d", len(data.alone), len(data.pairs), len(data.shots))
    training = Training(
        options.folder,
        data,
        sizes,
        recipe,
        options.seed,
        bfloat16=not options.float32,
        compiled=options.compile,
        begun=load_talk_model(options.begin_with, sizes) if options.begin_with else None,
    )
    minutes = options.minutes if options.minutes or options.steps else 60.0
    training.run(Limit(minutes, options.steps), held_out)
    log.info("At the end: %s", measure(training.average, held_out, recipe, bfloat16=False))
    for file in save_talk_model(training.average, options.models):
        log.info("%s, %.2f MB", file, file.stat().st_size / 1e6)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, help="how long is trained in all, without the making of the clips")
    parser.add_argument("--steps", type=int, help="how many steps in all; without both, 60 minutes")
    parser.add_argument("--clips", type=int, default=1200, help="of two windows each")
    parser.add_argument("--pairs", type=int, default=200, help="clips with two speakers")
    parser.add_argument("--shots", type=int, default=800, help="clips in which head and background move")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of PyTorch; default: as many as it wants")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that make clips")
    parser.add_argument("--float32", action="store_true", help="for processors without bfloat16")
    parser.add_argument("--compile", action="store_true", help="a third less time per step, with a C++ compiler")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the clips and the checkpoint")
    parser.add_argument("--begin-with", type=Path, help="a models folder, whose talking model is trained on")
    parser.add_argument("--models", type=Path, default=MODELS, help="a models folder with the VAE; the rest goes there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
