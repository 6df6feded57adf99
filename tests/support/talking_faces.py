"""Cartoon faces whose mouths follow a voice that the test makes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from infinitetalk.sync.report import SyncReport, analyze
from infinitetalk.video_io.read.audio_source import TensorAudio
from infinitetalk.video_io.read.image_frames import ImageFrames
from PIL import Image, ImageDraw

SAMPLE_RATE = 16_000
WIDTH, HEIGHT = 192, 128
MOUTH = (120, 84)  # its middle in pixels
MOUTH_WIDTH, MOUTH_OPEN = 28, 20


@dataclass(frozen=True)
class Voice:
    """Syllables of any length, strength and distance, with pauses between phrases; no part is like another.

    envelope, wave: [samples] at `SAMPLE_RATE`, 0 to 1 and ±1.
    """

    envelope: np.ndarray
    wave: np.ndarray

    @property
    def audio(self) -> dict[str, Any]:
        """As ComfyUI's AUDIO."""
        return {"waveform": torch.from_numpy(self.wave)[None, None].float(), "sample_rate": SAMPLE_RATE}

    def opening(self, frames: int, fps: float, late_frames: float = 0) -> np.ndarray:
        """How far the mouth is open, 0 to 1, in each frame: the envelope's mean over it, some frames late."""
        edges = (np.arange(frames + 1) - late_frames) / fps * SAMPLE_RATE
        sums = np.concatenate(([0.0], np.cumsum(self.envelope)))
        at = np.interp(edges, np.arange(len(sums)), sums)
        return np.diff(at) / (SAMPLE_RATE / fps)


def voice(seconds: float, seed: int) -> Voice:
    """A voice of its own for every seed."""
    random = np.random.default_rng(seed)
    envelope = np.zeros(round(seconds * SAMPLE_RATE))
    position = 0.0
    while position < seconds:
        length = random.uniform(0.1, 0.35)
        syllable = np.sin(np.pi * np.linspace(0, 1, round(length * SAMPLE_RATE))) ** 2 * random.uniform(0.3, 1)
        first = round(position * SAMPLE_RATE)
        room = envelope[first : first + len(syllable)]
        room += syllable[: len(room)]
        position += length * random.uniform(0.8, 1.2) + (random.uniform(0.2, 0.6) if random.random() < 0.2 else 0)
    time = np.arange(len(envelope)) / SAMPLE_RATE
    hum = sum(np.sin(2 * np.pi * 120 * k * time + random.uniform(0, 6)) / k for k in range(1, 8))
    breath = random.standard_normal(len(envelope))
    return Voice(envelope, 0.3 * envelope * (hum / 2 + 0.3 * breath) + 1e-3 * breath)


def face(opening: float, sway: float = 0.0, eyes: float = 1.0, light: float = 1.0) -> np.ndarray:
    """A frame [HEIGHT, WIDTH, 3] uint8: a face before a window with a curtain.

    opening of the mouth and of the eyes: 0 to 1; sway: of the curtain, in its widths; light: 1 is bright.
    """
    scale = 4
    image = Image.new("RGB", (WIDTH * scale, HEIGHT * scale), (96, 140, 170))
    pen = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, rx: float, ry: float, color: tuple[int, int, int]) -> None:
        pen.ellipse([(x - rx) * scale, (y - ry) * scale, (x + rx) * scale, (y + ry) * scale], fill=color)

    for stripe in range(6):
        left = (stripe * 10 + 8 * sway) * scale
        pen.rectangle([left, 0, left + 5 * scale, HEIGHT * scale], fill=(240, 240, 220))
    ellipse(120, 62, 38, 50, (240, 200, 168))
    for side in (-1, 1):
        ellipse(120 + 16 * side, 50, 7, max(0.5, 6 * eyes), (250, 250, 250))
        ellipse(120 + 16 * side, 50, 3, max(0.5, 4 * eyes), (40, 30, 30))
    ellipse(*MOUTH, MOUTH_WIDTH / 2, 1 + MOUTH_OPEN / 2 * opening, (110, 30, 40))
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    return (np.asarray(small) * light).astype(np.uint8)


def talking(openings: np.ndarray, *, lively: bool = True, seed: int = 0) -> torch.Tensor:
    """IMAGE [F, H, W, 3] of a face that talks; a lively one blinks, and the curtain beside it sways all the time."""
    random = np.random.default_rng(seed)
    frames = len(openings)
    wind = np.convolve(random.standard_normal(frames + 20), np.hanning(8), mode="same")[:frames] * lively
    blinks = np.where(random.random(frames) < 0.05, 0.0, 1.0) if lively else np.ones(frames)
    pictures = [face(o, w, e) for o, w, e in zip(openings, wind, blinks, strict=True)]
    return torch.from_numpy(np.stack(pictures)).float() / 255


def report_on(images: torch.Tensor, audio: dict[str, Any], fps: float = 25, **options: Any) -> SyncReport:
    """Compare images with a sound."""
    box = options.pop("box", None)
    return analyze(ImageFrames(images, Fraction(fps)), TensorAudio(audio), box, **options)
