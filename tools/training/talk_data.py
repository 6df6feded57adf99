"""Clips to train the talking model on: drawn faces that say spoken sentences, as the sampler's windows see them.

A clip shows one face, or two side by side with a voice each, or one that moves as in a filmed shot. It gives two
windows: the first one of a video, which begins with the picture itself, and one from later on, which begins with the
last frames of the window before. Both have the same picture as their keyframe; of a shot, which is there to be dubbed,
each has the frame that it begins with.
Latents are in the model's space (`Wan21.process_in`), and each window is encoded from its own first frame on, as the
sampler encodes the motion frames; the VAE is causal, so the first latents of a window are those of its motion frames.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import in_process

in_process.import_core()
in_process.load_pack()

import numpy as np
import torch
from cartoon_models import TRAINED_MOTION_FRAMES, VAE, WAV2VEC, WINDOW_FRAMES
from comfy.latent_formats import Wan21
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.embeds import embed_voices
from infinitetalk.audio.wav2vec import Wav2VecEncoder, load_encoder
from infinitetalk.wanvideo.keyframe import GRAY
from infinitetalk.wanvideo.windows import AUDIO_WINDOW, audio_window, latent_frames
from safetensors.torch import load_file, save_file
from torch import Tensor

from training import vae_model
from training.articulation import articulate
from training.faces import FPS, SIZE, Face, Motion, mouth_box, render
from training.shots import SWAY, Stripes, swaying
from training.speech import RATE, sound_clip
from training.vae_model import CELL

Kind = Literal["face", "pair", "shot"]
"""What a clip shows: one face, two side by side, or one that moves before a background that moves."""

SEEDS: dict[Kind, list[int]] = {"face": [], "pair": [2], "shot": [1]}
SECONDS = (3.0, 12.0)
"""Of a clip's sound. A window is shorter, but the encoder's norms hear all of it."""
CLOSED_SHARE = 0.8
"""Of the pictures have a closed mouth."""
ROUND_TRIPS = 2
"""Times that the motion frames of a later window may have been decoded and encoded again."""
VERSION = 4
"""To be raised when clips are made in another way."""
DRAWN_AND_SPOKEN_BY = ("faces.py", "shots.py", "speech.py", "articulation.py")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Windows:
    """N windows of S faces; T latent frames of h by w cells. Latents and audio are float16 in the cache."""

    clean: Tensor
    """`[N, 16, T, h, w]` what the model shall make."""
    keyframe: Tensor
    """`[N, 16, T, h, w]` the picture, then gray."""
    audio: Tensor
    """`[N, S, F + 4, layers, channels]` what the F frames hear of each voice, two before and two after included."""
    motion: Tensor
    """`[N]` int64: the latent frames in front that are given."""
    mouth: Tensor
    """`[N, h, w]` bool: the cells that a mouth can be in."""
    worn: Tensor
    """`[N, ROUND_TRIPS + 1, 16, M, h, w]` the first M latents of `clean`, after 0, 1, 2 ... trips through the VAE."""

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, rows: slice | Tensor) -> Windows:
        return Windows(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Iterable[Windows]) -> Windows:
        """All windows of the parts in their order."""
        together = list(parts)
        return cls(*(torch.cat([getattr(part, field.name) for part in together]) for field in fields(cls)))

    @classmethod
    def read(cls, file: Path) -> Windows:
        """From a file of `write`."""
        return cls(**load_file(file))

    def write(self, file: Path) -> None:
        """Write a safetensors file; it appears when complete."""
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(file.name + ".partial")
        save_file({field.name: getattr(self, field.name).contiguous() for field in fields(self)}, partial)
        partial.replace(file)


@dataclass(frozen=True)
class ClipMaker:
    """Makes clips by their number."""

    vae: vae_model.VAE
    encoder: Wav2VecEncoder
    seed: int

    @classmethod
    def load(cls, models: Path, seed: int) -> ClipMaker:
        """With the VAE and the wav2vec of a models folder, the latter as the node loads it."""
        return cls(load_vae(models / VAE), load_encoder(models / WAV2VEC, "fp16"), seed)

    @torch.no_grad()
    def clip(self, index: int, *, held_out: bool, kind: Kind = "face") -> Windows:
        """The two windows of a clip; with `held_out` of faces and sentences that training never has."""
        faces = 2 if kind == "pair" else 1
        rng = np.random.default_rng([self.seed, int(held_out), index, *SEEDS[kind]])
        seconds = rng.uniform(*SECONDS)
        sounds = [sound_clip(rng, seconds, held_out=held_out) for _ in range(faces)]
        voices = [AudioClip(torch.from_numpy(sound)[None], RATE) for sound in sounds]
        embeds = embed_voices(self.encoder, voices, frame_rate=Fraction(FPS))
        people = [Person.random(rng, sound, embeds.frames, moving=kind == "shot") for sound in sounds]
        starts = [0, int(rng.integers(1, embeds.frames - WINDOW_FRAMES, endpoint=True))]
        videos = [pixels(side_by_side(people, start)) for start in starts]
        pictures = [videos[0][:1]]
        if kind == "shot":
            pictures.append(pixels(people[0].heard_otherwise(rng, starts[1])))
        latents = encoded(self.vae, torch.stack([*videos, *map(keyframe_clip, pictures)]))
        clean, keyframes = latents.split([len(videos), len(pictures)])
        rows = [heard_rows(embeds.features, embeds.silence, start) for start in starts]
        motion_latents = latent_frames(TRAINED_MOTION_FRAMES)
        worn = [worn_latents(self.vae, z[:, :motion_latents], start) for z, start in zip(clean, starts, strict=True)]
        return Windows(
            clean=clean.half(),
            keyframe=keyframes.expand(len(starts), -1, -1, -1, -1).half(),
            audio=torch.stack(rows).half(),
            motion=torch.tensor([1, motion_latents]),
            mouth=torch.cat([mouth_cells(person) for person in people], dim=2).expand(len(starts), -1, -1),
            worn=torch.stack(worn).half(),
        )


@dataclass(frozen=True)
class Person:
    """A face, and how it moves during a clip."""

    face: Face
    motion: Motion
    behind: np.ndarray | None = None
    """float32 `[F, SIZE, SIZE, 3]` a background that moves."""

    @classmethod
    def random(cls, rng: np.random.Generator, sound: np.ndarray, frames: int, *, moving: bool = False) -> Person:
        """Anybody who says this sound, `[samples]` at RATE; `moving` as in a filmed shot."""
        mouth = articulate(sound, RATE, frames, FPS)
        face = Face.random(rng)
        motion = _with_picture_in_front(rng, Motion.random(rng, mouth.opening, mouth.width))
        if not moving:
            return cls(face, motion)
        return cls(face, swaying(motion, rng.uniform(*SWAY)), Stripes.random(rng, frames).behind(face))

    def frames(self, which: slice) -> np.ndarray:
        """uint8 `[F, SIZE, SIZE, 3]`."""
        return render(self.face, self.motion[which], behind=None if self.behind is None else self.behind[which])

    def heard_otherwise(self, rng: np.random.Generator, frame: int) -> np.ndarray:
        """One frame of the same shot in which something else was said: uint8 `[1, SIZE, SIZE, 3]`."""
        mouth = dict(zip(("opening", "width"), rng.random((2, 1), np.float32), strict=True))
        which = slice(frame, frame + 1)
        return render(self.face, replace(self.motion[which], **mouth), behind=self.behind[which])


def side_by_side(people: Sequence[Person], start: int) -> np.ndarray:
    """A window of their pictures, the first one on the left: uint8 `[F, SIZE, len(people) * SIZE, 3]`."""
    frames = slice(start, start + WINDOW_FRAMES)
    return np.concatenate([person.frames(frames) for person in people], axis=2)


def _with_picture_in_front(rng: np.random.Generator, motion: Motion) -> Motion:
    """The user's picture is the first frame, whatever the sound is then: most have a closed mouth, and open eyes."""
    closed = rng.random() < CLOSED_SHARE
    picture = Motion.still(1)
    opening, width = (picture.opening, picture.width) if closed else rng.random((2, 1), np.float32)
    fronts = ((opening, motion.opening), (width, motion.width), (picture.eyes, motion.eyes))
    opening, width, eyes = (np.concatenate([front, rest[1:]]) for front, rest in fronts)
    return Motion(opening, width, motion.sway, eyes)


def pixels(frames: np.ndarray) -> Tensor:
    """Drawn frames uint8 `[F, H, W, 3]` -> `[F, 3, H, W]` in -1..1."""
    return torch.from_numpy(frames).movedim(-1, 1).float() / 127.5 - 1


def keyframe_clip(picture: Tensor) -> Tensor:
    """A picture `[1, 3, H, W]` in -1..1 and gray behind it, as the sampler's `KeyframeEncoder`: `[F, 3, H, W]`."""
    clip = torch.full((WINDOW_FRAMES, *picture.shape[1:]), 2 * GRAY - 1)
    clip[:1] = picture
    return clip


def encoded(vae: vae_model.VAE, videos: Tensor) -> Tensor:
    """`[N, F, 3, H, W]` in -1..1 -> latents in the model's space, `[N, 16, T, H/8, W/8]`."""
    mean, _ = vae.encode(videos)
    return Wan21().process_in(mean.transpose(1, 2))


def worn_latents(vae: vae_model.VAE, motion: Tensor, start: int) -> Tensor:
    """What becomes of motion latents `[16, M, h, w]` on their way from window to window: `[ROUND_TRIPS + 1, ...]`.

    The sampler decodes them, keeps the frames in 8 bits and encodes them again; colors drift a little every time, and
    the model shall learn to hold on to the keyframe. Those of the first window (`start` 0) are the picture itself.
    """
    latents = [motion[None]]
    for _ in range(ROUND_TRIPS):
        if start == 0:
            latents.append(latents[-1])
            continue
        frames = vae.decode(Wan21().process_out(latents[-1]).transpose(1, 2)).clamp(-1, 1)
        latents.append(encoded(vae, ((frames + 1) * 127.5).round() / 127.5 - 1))
    return torch.cat(latents)


def heard_rows(features: Sequence[Tensor], silence: Sequence[Tensor], start: int) -> Tensor:
    """The embeddings that a window's frames hear, each once: `[S, F + 4, layers, channels]` (see `as_windows`)."""
    centre = AUDIO_WINDOW // 2
    voices = zip(features, silence, strict=True)
    rows = [audio_window(*voice, start - centre, WINDOW_FRAMES + 2 * centre)[:, centre] for voice in voices]
    return torch.stack(rows)


def as_windows(rows: Tensor) -> Tensor:
    """`[..., F + 4, layers, channels]` -> the five of every frame, `[..., F, 5, layers, channels]`."""
    return rows.unfold(-3, AUDIO_WINDOW, 1).movedim(-1, -3)


def mouth_cells(person: Person) -> Tensor:
    """`[1, h, w]` bool: the latent cells that the mouth touches, wherever the head is."""
    left, top, right, bottom = mouth_box(person.face, sway_pixels=float(np.abs(person.motion.sway).max()))
    cells = torch.zeros(1, SIZE // CELL, SIZE // CELL, dtype=torch.bool)
    cells[:, top // CELL : -(-bottom // CELL), left // CELL : -(-right // CELL)] = True
    return cells


def load_vae(file: Path) -> vae_model.VAE:
    """The VAE of a checkpoint for core, in the form that is quick on whole clips."""
    weights = load_file(file)
    vae = vae_model.VAE(len(weights["decoder.head.0.gamma"]))
    for name, wanted in vae.state_dict().items():
        weights[name] = weights[name][:, :, -wanted.shape[2] :] if wanted.ndim == 5 else weights[name]
    vae.load_state_dict(weights)
    return vae.eval().requires_grad_(False)


@dataclass(frozen=True)
class ClipCache:
    """Clips on disk, in shards that are made once. What decides the numbers is in the folder's name."""

    folder: Path
    models: Path
    seed: int
    workers: int = 1
    clips_per_shard: int = 50

    def windows(self, clips: int, *, held_out: bool, kind: Kind = "face") -> Windows:
        """The windows of the first clips, made if they are not there yet."""
        name = f"{'held_out' if held_out else 'train'}-{kind}"
        files = [self._folder / f"{name}-{i:04}.safetensors" for i in range(-(-clips // self.clips_per_shard))]
        jobs = [(self._numbers(i), file) for i, file in enumerate(files) if not file.is_file()]
        if jobs:
            self._make(jobs, held_out, kind)
        together = Windows.joined(Windows.read(file) for file in files)
        per_clip = len(together) // (len(files) * self.clips_per_shard)
        return together[: clips * per_clip]

    def _numbers(self, shard: int) -> range:
        return range(shard * self.clips_per_shard, (shard + 1) * self.clips_per_shard)

    @property
    def _folder(self) -> Path:
        parts = [self.models / VAE, self.models / WAV2VEC]
        parts += [Path(__file__).with_name(name) for name in DRAWN_AND_SPOKEN_BY]
        digest = hashlib.sha256(f"{VERSION} {self.seed} {self.clips_per_shard}".encode())
        for part in parts:
            digest.update(part.read_bytes())
        return self.folder / f"clips-{digest.hexdigest()[:12]}"

    def _make(self, jobs: list[tuple[range, Path]], held_out: bool, kind: Kind) -> None:
        log.info("Making %d clips in %s", len(jobs) * self.clips_per_shard, self._folder)
        spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
        with ProcessPoolExecutor(self.workers, mp_context=spawn) as pool:
            running = [
                pool.submit(make_shard, self.models, self.seed, clips, held_out, kind, file) for clips, file in jobs
            ]
            for done, shard in enumerate(running, start=1):
                shard.result()
                log.info("%d of %d shards", done, len(jobs))


def make_shard(models: Path, seed: int, clips: range, held_out: bool, kind: Kind, file: Path) -> None:
    """Make and write some clips; in a process of its own, on one thread."""
    torch.set_num_threads(1)
    logging.getLogger("infinitetalk").setLevel(logging.WARNING)
    maker = ClipMaker.load(models, seed)
    Windows.joined(maker.clip(index, held_out=held_out, kind=kind) for index in clips).write(file)
