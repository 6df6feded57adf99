"""Trains the demo's VAE on drawn faces and writes it as core reads it: `python tools/train_vae.py`.

Pictures first, then clips of 9 and of 17 frames; the weights of the pictures carry over (see `vae_model`). The absolute
error makes the mouth appear early; the squared error, almost alone in the end, sharpens the edges.

It can be stopped at any moment and goes on when it is started again. Losses go to `.cache/training/vae/losses.jsonl`.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from training import checkpoints
from training.faces import SIZE, Face, Motion, mouth_box, render
from training.vae_model import LATENT_CHANNELS, VAE

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "demo" / "models" / "vae" / "cartoon_wan2.1_vae.safetensors"
WIDTH = 12
LEARNING_RATE, LAST_LEARNING_RATE = 2.5e-3, 8e-4  # at the beginning, and when the last stage begins
MOUTH_WEIGHT = 6.0
KL_WEIGHT = 2e-4
EMA = 0.995
UNSEEN = 1_000_000  # seeds from here on are for measuring
SAVE_SECONDS = 60
REPORT_STEPS = 100
# ComfyUI's latent format of Wan 2.1 (comfy/latent_formats.py): what the transformer sees is (latent - mean) / std.
WAN_MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
            0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)  # fmt: skip
WAN_STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
           3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)  # fmt: skip

log = logging.getLogger("train_vae")


@dataclass(frozen=True)
class Stage:
    """A part of the training."""

    share: float
    """Of the whole time."""
    frames: int
    batch: int
    crop: int
    absolute: float = 1.0
    """Weight of the absolute error beside the squared one."""


STAGES = (
    Stage(0.26, frames=1, batch=8, crop=96),
    Stage(0.28, frames=9, batch=4, crop=48),
    Stage(0.15, frames=17, batch=2, crop=64),
    Stage(0.31, frames=17, batch=2, crop=64, absolute=0.1),
)


@dataclass(frozen=True)
class Batch:
    """Clips `[B, F, 3, H, W]` in -1..1 and the weight of every pixel `[B, 1, 1, H, W]`."""

    video: Tensor
    weight: Tensor


def lively_mouth(rng: np.random.Generator, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Opening and width `[F]` as in fast speech with pauses."""
    wanted = np.repeat(rng.random(frames) * (rng.random(frames) < 0.7), 1 + rng.integers(3, size=frames))
    start = rng.integers(frames)
    opening, now = np.empty(frames, np.float32), float(rng.random())
    for i in range(frames):
        goal = wanted[(start + i) % len(wanted)]
        now += (0.75 if goal > now else 0.4) * (goal - now)
        opening[i] = now
    width = np.interp(np.arange(frames), np.arange(0, frames + 4, 4), rng.random((frames + 7) // 4))
    return opening, width.astype(np.float32)


def draw_batch(rng: np.random.Generator, stage: Stage) -> Batch:
    """Clips of new faces, cut to the stage's size around the mouth."""
    videos, weights = [], []
    for _ in range(stage.batch):
        face = Face.random(rng)
        clip = render(face, Motion.random(rng, *lively_mouth(rng, stage.frames)))
        kind = rng.random()
        if kind < 0.1 and stage.frames > 1:
            clip[1:] = 128  # how the sampler encodes the picture that it starts from
        elif kind < 0.13:
            clip[:] = 128
        weight = np.ones((SIZE, SIZE), np.float32)
        left, top, right, bottom = mouth_box(face)
        weight[top:bottom, left:right] = MOUTH_WEIGHT
        x = rng.integers(max(0, right - stage.crop), min(left, SIZE - stage.crop) + 1)
        y = rng.integers(max(0, bottom - stage.crop), min(top, SIZE - stage.crop) + 1)
        area = (slice(y, y + stage.crop), slice(x, x + stage.crop))
        videos.append(clip[(slice(None), *area)])
        weights.append(weight[area])
    video = torch.from_numpy(np.stack(videos)).permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    return Batch(video, torch.from_numpy(np.stack(weights))[:, None, None])


def loss_of(model: VAE, batch: Batch, absolute: float = 1.0) -> tuple[Tensor, float]:
    """What is minimised, with a weight on the absolute error; and the mean squared error without weights."""
    mean, log_variance = model.encode(batch.video)
    log_variance = log_variance.clamp(-12, 4)
    latent = mean + torch.randn_like(mean) * (log_variance / 2).exp()
    error = model.decode(latent) - batch.video
    weighted = ((absolute * error.abs() + error.square()) * batch.weight).mean()
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).mean() / 2
    return weighted + KL_WEIGHT * kl, float(error.detach().square().mean())


def psnr(mean_square: float) -> float:
    """In dB, of an error on the scale -1..1."""
    return -10 * math.log10(max(mean_square, 1e-10) / 4)


@torch.no_grad()
def measure(model: VAE, frames: int, clips: int = 16) -> dict[str, float]:
    """PSNR, and how well the mouth's opening survives, on faces that were never trained on."""
    errors, seen, wanted = [], [], []
    for index in range(clips):
        rng = np.random.default_rng(UNSEEN + index)
        face = Face.random(rng)
        motion = Motion.random(rng, *lively_mouth(rng, max(frames, 2)))[:frames]
        clip = render(face, motion)
        video = torch.from_numpy(clip).permute(0, 3, 1, 2).float()[None] / 127.5 - 1
        made = model.decode(model.encode(video)[0])
        errors.append(float((made.clamp(-1, 1) - video).square().mean()))
        closed, wide = (torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1 for picture in _extremes(face))
        left, top, right, bottom = mouth_box(face)
        area = (..., slice(top, bottom), slice(left, right))
        change = (wide - closed)[area]
        for pixels, openings in ((made, seen), (video, wanted)):
            share = ((pixels[0] - closed)[area] * change).sum(dim=(1, 2, 3)) / change.square().sum()
            openings.append(share.numpy())
    together = np.corrcoef(np.concatenate(seen), np.concatenate(wanted))[0, 1]
    each = [np.corrcoef(a, b)[0, 1] for a, b in zip(seen, wanted, strict=True)] if frames > 4 else [together]
    decibels = [psnr(error) for error in errors]
    return {
        "psnr": float(np.mean(decibels)),
        "worst_psnr": min(decibels),
        "mouth": float(together),
        "worst_mouth": float(min(each)),
    }


def _extremes(face: Face) -> np.ndarray:
    """The face with its mouth closed and wide open, uint8 `[2, H, W, 3]`."""
    still = Motion.still(2)
    return render(face, Motion(np.array([0, 1], np.float32), still.width, still.sway, still.eyes))


class Training:
    """Model, average model, optimiser and clock; saved and loaded together.

    Args:
        folder: where it is kept.
        seconds: how long the whole training shall take.
        seed: of weights and data.
        bfloat16: compute in bfloat16 where that is precise enough; the weights stay float32.
    """

    def __init__(self, folder: Path, seconds: float, seed: int, *, bfloat16: bool = True) -> None:
        torch.manual_seed(seed)
        self.folder = folder
        self.seconds = seconds
        self.seed = seed
        self.bfloat16 = bfloat16
        self.model = VAE(WIDTH)
        self.average = copy.deepcopy(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
        self.step = 0
        self.spent = 0.0
        folder.mkdir(parents=True, exist_ok=True)
        if self.file.is_file():
            self._load()

    @property
    def file(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return min(1.0, self.spent / self.seconds)

    def stage(self) -> Stage:
        """What is trained now."""
        end = 0.0
        for stage in STAGES:
            end += stage.share
            if self.progress < end:
                return stage
        return STAGES[-1]

    def run(self) -> None:
        """Train until the time is up."""
        saved = time.monotonic()
        while self.progress < 1:
            started = time.monotonic()
            loss, error = self._train_step()
            self.spent += time.monotonic() - started
            self.step += 1
            if self.step % REPORT_STEPS == 0:
                self._report(loss, error)
            if time.monotonic() - saved > SAVE_SECONDS:
                self.save()
                saved = time.monotonic()
        self.save()

    def _train_step(self) -> tuple[float, float]:
        stage = self.stage()
        batch = draw_batch(np.random.default_rng([self.seed, self.step]), stage)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate(stage)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16):
            loss, error = loss_of(self.model, batch, stage.absolute)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        decay = min(EMA, self.step / (self.step + 10))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(new, 1 - decay)
        return float(loss.detach()), error

    def _learning_rate(self, stage: Stage) -> float:
        """Half a cosine down to the last stage, and another one in it."""
        rate, start, share = LEARNING_RATE, 0.0, 1 - STAGES[-1].share
        if stage is STAGES[-1]:
            rate, start, share = LAST_LEARNING_RATE, share, STAGES[-1].share
        cosine = 0.5 + 0.5 * math.cos(math.pi * (self.progress - start) / share)
        return rate * min(1, (self.step + 1) / 100) * (0.01 + 0.99 * cosine)

    def _report(self, loss: float, error: float) -> None:
        stage = self.stage()
        entry = {"step": self.step, "minutes": self.spent / 60, "frames": stage.frames, "loss": loss}
        entry |= {"train_psnr": psnr(error), **measure(self.average, stage.frames)}
        log.info("%s", {key: round(value, 4) for key, value in entry.items()})
        with (self.folder / "losses.jsonl").open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(entry) + "\n")

    @property
    def _trained(self) -> dict[str, Any]:
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer}

    def save(self) -> None:
        """Write the checkpoint."""
        checkpoints.save(self.file, self._trained, step=self.step, spent=self.spent)

    def _load(self) -> None:
        progress = checkpoints.load(self.file, self._trained)
        self.step, self.spent = progress["step"], progress["spent"]
        log.info("Going on at step %d, after %.1f minutes.", self.step, self.spent / 60)


@torch.no_grad()
def normalized(model: VAE, clips: int = 64) -> VAE:
    """A copy whose latents are standard normal, channel by channel, for a transformer that sees Wan's latent format.

    The measured means and deviations go into the 1x1x1 convolutions on both sides of the latent.
    """
    latents = []
    for index in range(clips):
        rng = np.random.default_rng(UNSEEN // 2 + index)
        motion = Motion.random(rng, *lively_mouth(rng, 17))
        video = torch.from_numpy(render(Face.random(rng), motion)).permute(0, 3, 1, 2).float()[None] / 127.5 - 1
        latents.append(model.encode(video)[0].transpose(1, 2).reshape(1, LATENT_CHANNELS, -1)[0])
    together = torch.cat(latents, dim=1)
    scale = torch.tensor(WAN_STD) / together.std(dim=1)
    shift = torch.tensor(WAN_MEAN) - together.mean(dim=1) * scale
    result = copy.deepcopy(model)
    mean_rows = slice(0, LATENT_CHANNELS)
    result.conv1.weight[mean_rows] *= scale[:, None, None, None, None]
    result.conv1.bias[mean_rows] = result.conv1.bias[mean_rows] * scale + shift
    matrix = model.conv2.weight[..., 0, 0, 0]
    result.conv2.weight[..., 0, 0, 0] = matrix / scale
    result.conv2.bias -= matrix @ (shift / scale)
    return result


def export(model: VAE, target: Path) -> None:
    """Write the checkpoint for core's loader, float16, with latents that look right in ComfyUI's preview."""
    from training.preview_colors import turn_for, turned_vae

    target.parent.mkdir(parents=True, exist_ok=True)
    straight = normalized(model)
    turned = turned_vae(straight.checkpoint(), turn_for(straight))
    weights = {name: value.half().contiguous() for name, value in turned.items()}
    save_file(weights, target, metadata={"format": "pt"})
    log.info("%s, %.2f MB", target, target.stat().st_size / 1e6)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="how long the whole training takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of PyTorch; default: as many as it wants")
    parser.add_argument("--float32", action="store_true", help="for processors without bfloat16")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "training" / "vae")
    parser.add_argument("--target", type=Path, default=TARGET)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    training = Training(options.folder, options.minutes * 60, options.seed, bfloat16=not options.float32)
    training.run()
    for frames in (1, 9, 17):
        log.info("%d frames: %s", frames, measure(training.average, frames, clips=32))
    export(training.average, options.target)


if __name__ == "__main__":
    main()
