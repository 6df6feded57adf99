"""Cartoon videos to be dubbed, and whether the dubbed ones keep their motion.

A head sways by several pixels and blinks before a background that moves; it says something. Nothing of it was trained
on.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import talking_picture
from comfy_client import ComfyClient, Prompt
from environment import ROOT
from talking_picture import find_node, inputs_of
from training.articulation import articulate
from training.faces import FPS, SIZE, Face, Motion, mouth_box, render
from training.shots import Stripes, swaying, wave
from training.speech import RATE

from . import measure
from .clips import Clip, uploaded_sound, with_settings

SWAY = 4.0  # pixels that a head moves from its place at most
STRIPE_WIDTH, STRIPE_STRENGTH = 16, 30  # of the background, see `Stripes`
DRIFT, HERTZ = 5.0, (0.15, 0.4)  # pixels that they move from their place at most, and how often
COVERED = 0.02  # opacity from which on a pixel does not belong to the background
REACH = 8  # pixels that a head is looked for around its place
LOOK = 0.7  # of the face's half width and height: what is looked at to find a head
MARGIN = 4  # pixels around the mouth that may change
SEAM_NEIGHBORS = 4
WORKFLOW = ROOT / "example_workflows" / "api" / "dubbing_keep_the_shot.json"
LOSSLESS = "mkv ffv1"


@dataclass(frozen=True)
class Source:
    """A video to be dubbed."""

    face: Face
    frames: np.ndarray
    """uint8 `[F, SIZE, SIZE, 3]`."""
    sway: np.ndarray
    """`[F, 2]` x and y of the head in pixels."""
    drift: np.ndarray
    """`[F]` x of the background in pixels."""
    background: np.ndarray
    """bool `[SIZE, SIZE]`: pixels that nothing ever covers."""
    drive: np.ndarray
    """`[F]`, how open the mouth is, by the sound that the video comes with."""

    @classmethod
    def of(cls, clip: Clip, sound: np.ndarray, frames: int) -> Source:
        """The clip's face says another sound `[n]` at `speech.RATE`."""
        rng = np.random.default_rng(clip.seed)
        mouth = articulate(sound, RATE, frames)
        motion = Motion.random(rng, mouth.opening, mouth.width)
        motion = swaying(motion, SWAY)
        drift = DRIFT * wave(rng.uniform(*HERTZ), rng.uniform(0, 2 * np.pi), frames)
        behind = Stripes(STRIPE_WIDTH, STRIPE_STRENGTH, drift).behind(clip.face)
        pixels = render(clip.face, motion, behind=behind)
        return cls(clip.face, pixels, motion.sway, drift, _never_covered(clip.face, motion), mouth.opening)

    @property
    def mouth_box(self) -> tuple[float, float, float, float]:
        """`x y w h` around all that the mouth can do, and a margin, in the first frame, as shares of the picture."""
        left, top, right, bottom = mouth_box(self.face)
        x, y = self.sway[0]
        box = np.array([left + x - MARGIN, top + y - MARGIN, right - left + 2 * MARGIN, bottom - top + 2 * MARGIN])
        return tuple((box / SIZE).tolist())

    def near_the_mouth(self, margin: float) -> np.ndarray:
        """Which pixels are in that box, or nearer to it than so many, wherever the head is: bool `[F, SIZE, SIZE]`."""
        left, top, width, height = (share * SIZE for share in self.mouth_box)
        moved = self.sway - self.sway[0]
        rows, columns = np.arange(SIZE)[None, :, None], np.arange(SIZE)[None, None]
        x, y = (left + moved[:, 0])[:, None, None], (top + moved[:, 1])[:, None, None]
        inside = (columns >= x - margin) & (columns < x + width + margin)
        return inside & (rows >= y - margin) & (rows < y + height + margin)

    def mouth_opening(self, frames: np.ndarray) -> np.ndarray:
        """How far the mouth is open in frames uint8 `[F, SIZE, SIZE, 3]`, wherever the head is; `[F]`."""
        places = np.rint(head_places(frames, self.face)).astype(int)
        still = np.stack([np.roll(frame, (-y, -x), (0, 1)) for frame, (x, y) in zip(frames, places, strict=True)])
        return measure.mouth_opening(still, self.face)

    def motion_r(self, frames: np.ndarray) -> dict[str, float]:
        """How well the motion of dubbed frames follows the source: head (x and y) and background."""
        places = head_places(frames, self.face)
        drift = background_drift(frames, self.background)
        n = len(frames)
        return {
            "head x": measure.pearson(places[:, 0], self.sway[:n, 0]),
            "head y": measure.pearson(places[:, 1], self.sway[:n, 1]),
            "background": measure.pearson(drift, self.drift[:n]),
        }


def dubbing_prompt(
    client: ComfyClient, clip: Clip, source: Source, folder: Path, *, masked: bool = True, **sampler: Any
) -> Prompt:
    """The shipped workflow with the cartoon models: the source says what the clip says, in a lossless file.

    Args:
        masked: only the mouth may change.
    """
    prompt = talking_picture.with_cartoon_models(talking_picture.load_workflow(WORKFLOW))
    inputs_of(prompt, "LoadVideo")["file"] = client.upload(lossless(source.frames, folder / f"{clip.seed}.mp4"))
    inputs_of(prompt, "InfiniteTalkLoadAudio")["audio"] = uploaded_sound(client, clip, folder)
    masks = find_node(prompt, "InfiniteTalkSpeakerMasks")
    if masked:
        prompt[masks]["inputs"]["boxes"] = " ".join(f"{share:.4f}" for share in source.mouth_box)
    else:
        del prompt[masks], inputs_of(prompt, "InfiniteTalkSampler")["edit_mask"]
    inputs_of(prompt, "SaveVideoWithAudio")["format"] = LOSSLESS
    return with_settings(prompt, **sampler)


def lossless(frames: np.ndarray, file: Path) -> Path:
    """Write frames uint8 `[F, H, W, 3]` to an MP4 that holds them bit for bit."""
    height, width = frames.shape[1:3]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FPS), "-i", "pipe:0"]
    coded = ["-c:v", "libx264rgb", "-crf", "0", "-preset", "ultrafast"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *raw, *coded, str(file)]
    subprocess.run(command, input=frames.tobytes(), check=True)
    return file


def head_places(frames: np.ndarray, face: Face) -> np.ndarray:
    """Where the head is, `[F, 2]` x and y in pixels from its place, in frames uint8 `[F, SIZE, SIZE, 3]`.

    The upper half of the face, without its mouth and what is behind it, is looked for among its ideal pictures with
    open and closed eyes, to a part of a pixel by a parabola through the errors around the best.
    """
    half_width, half_height = (round(LOOK * share * SIZE) for share in (face.size * face.roundness, face.size))
    x, y = round(face.x * SIZE), round(face.y * SIZE)
    rows, columns = slice(y - half_height, y + half_height // 3), slice(x - half_width, x + half_width)
    ideals = render(face, _at_rest(np.array([0.0, 0.5, 1.0])))[:, rows, columns].astype(np.float32)
    padded = np.pad(frames, ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)), mode="edge").astype(np.float32)
    steps = 2 * REACH + 1
    errors = np.empty((len(frames), steps, steps))
    for i in range(steps):
        for j in range(steps):
            seen = padded[:, rows.start + i : rows.stop + i, columns.start + j : columns.stop + j]
            errors[:, i, j] = np.min([np.mean((seen - ideal) ** 2, axis=(1, 2, 3)) for ideal in ideals], axis=0)
    best = errors.reshape(len(frames), -1).argmin(axis=1)
    found = np.empty((len(frames), 2))
    for k, (i, j) in enumerate(zip(*np.unravel_index(best, (steps, steps)), strict=True)):
        found[k] = j + _vertex(errors[k, i, :], j) - REACH, i + _vertex(errors[k, :, j], i) - REACH
    return found


def background_drift(frames: np.ndarray, background: np.ndarray) -> np.ndarray:
    """How far the stripes have moved, `[F]` pixels: the phase of their frequency where nothing covers them."""
    luma = frames.astype(np.float32).mean(axis=3)
    luma = np.where(background, luma - luma[:, background].mean(axis=1)[:, None, None], 0)
    wave = np.exp(-2j * np.pi * np.arange(frames.shape[2]) / STRIPE_WIDTH)
    phase = np.unwrap(np.angle((luma * wave).sum(axis=(1, 2))))
    return -phase * STRIPE_WIDTH / (2 * np.pi)


def seam_ratios(frames: np.ndarray, starts: list[int], length: int) -> list[float]:
    """Change of the picture where two windows meet over that around, frame by frame of the seam: mean of all seams.

    Args:
        frames: uint8 `[F, H, W, 3]`.
        starts: first frames of the windows after the first.
        length: frames that both windows hold; the seam goes on to the first one behind them.
    """
    changes = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))  # [k]: from k to k + 1
    ratios = []
    for start in starts:
        seam = changes[start - 1 : start + length]
        before, after = changes[start - 1 - SEAM_NEIGHBORS : start - 1], changes[start + length :][:SEAM_NEIGHBORS]
        ratios.append(seam / np.concatenate([before, after]).mean())
    return np.mean(ratios, axis=0).tolist()


def _never_covered(face: Face, motion: Motion) -> np.ndarray:
    """bool `[SIZE, SIZE]`: where white and black backgrounds are seen as they are, in every frame."""
    white, black = (
        render(replace(face, background=((level,) * 3, (level,) * 3)), motion).astype(np.float32) for level in (255, 0)
    )
    opaque = 1 - (white - black).mean(axis=3) / 255
    return np.all(opaque < COVERED, axis=0)


def _at_rest(eyes: np.ndarray) -> Motion:
    nothing = np.zeros(len(eyes), np.float32)
    return Motion(nothing, nothing + 0.5, np.zeros((len(eyes), 2), np.float32), eyes.astype(np.float32))


def _vertex(errors: np.ndarray, at: int) -> float:
    """Where between the neighbors of the smallest error the smallest is, -0.5 to 0.5."""
    if not 0 < at < len(errors) - 1:
        return 0.0
    before, here, after = errors[at - 1 : at + 2]
    bend = before - 2 * here + after
    return float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend > 0 else 0.0
