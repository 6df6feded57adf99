"""Saving, side by side: this pack, the limit (plain ffmpeg on ready raw frames), and other ways to save a video.

Every save runs in a fresh process that first holds the frames in memory, so that only what the save itself adds
is counted. The candidates take turns in rounds; the table shows medians.

    python benchmarks/save.py [--json FILE] [--rounds 3] [--case 832x480x500 ...]

OpenCV is used when it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import support

support.enter_environment()

import numpy as np

FPS = 25
SAMPLE_RATE = 48000
CRF = 19
TO_BT709 = "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd"
DEFAULT_CASES = ("832x480x500", "480x480x2000")
MIB = 2**20


@dataclass(frozen=True)
class Case:
    """One size and length to save."""

    width: int
    height: int
    frames: int

    @classmethod
    def parse(cls, text: str) -> Case:
        """From `WIDTHxHEIGHTxFRAMES`."""
        return cls(*map(int, text.split("x")))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}"


def make_media(case: Case, folder: Path) -> None:
    """A drifting, slightly grainy picture [F, H, W, 3] float32, the same as raw bytes, and stereo sound."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: case.height, : case.width].astype(np.float32)
    grain = rng.normal(0, 0.008, (8, case.height, case.width, 3)).astype(np.float32)
    frames = np.lib.format.open_memmap(
        folder / "frames.npy", mode="w+", dtype=np.float32, shape=(case.frames, case.height, case.width, 3)
    )
    with (folder / "frames.rgb").open("wb") as raw:
        for index in range(case.frames):
            phase = index / FPS
            mouth = np.exp(-(((x / case.width - 0.5) * 6) ** 2) - ((y / case.height - 0.6) * 9) ** 2)
            red = 0.5 + 0.3 * np.sin(x / 40 + phase) + 0.2 * mouth * np.sin(9 * phase)
            green = 0.5 + 0.3 * np.sin(y / 30 - phase) + 0.2 * mouth * np.sin(7 * phase)
            blue = 0.5 + 0.3 * np.sin((x + y) / 60 + 2 * phase)
            frame = np.clip(np.stack((red, green, blue), axis=-1) + grain[index % len(grain)], 0, 1)
            frames[index] = frame
            raw.write((frame * 255 + 0.5).astype(np.uint8).tobytes())
    samples = case.frames * SAMPLE_RATE // FPS
    np.save(folder / "sound.npy", rng.normal(0, 0.1, (2, samples)).astype(np.float32))
    np.load(folder / "sound.npy").T.astype("<f4").tofile(folder / "sound.f32")


@dataclass(frozen=True)
class Media:
    """What a candidate saves: everything is in memory before the clock starts."""

    case: Case
    folder: Path
    frames: np.ndarray | None
    sound: np.ndarray
    output: Path


def ffmpeg_exe() -> str:
    """The binary that all candidates share where they use one."""
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def prepare_ours(media: Media) -> Callable[[], None]:
    """This pack's writer."""
    import torch

    support.load_pack()
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.video_io.save import file_name, formats, writer

    images = torch.from_numpy(media.frames)
    audio = {"waveform": torch.from_numpy(media.sound)[None], "sample_rate": SAMPLE_RATE}
    settings = writer.SaveSettings(formats.format_named("mp4 h264"), crf=CRF)
    source = ImageFrames(images, Fraction(FPS))
    goal = file_name.make_target("video", media.output, ".mp4")
    return lambda: writer.save_video(source, audio, goal, settings)


def prepare_limit(media: Media) -> Callable[[], None]:
    """ffmpeg alone, with the arguments of this pack's writer, on raw frames that lie ready in a file."""
    case = media.case
    command = [
        *(ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pixel_format", "rgb24"),
        *("-video_size", f"{case.width}x{case.height}", "-framerate", str(FPS)),
        *("-i", str(media.folder / "frames.rgb"), "-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "2"),
        *("-i", str(media.folder / "sound.f32"), "-vf", f"{TO_BT709},format=yuv420p"),
        *("-c:v", "libx264", "-preset", "medium", "-crf", str(CRF), "-c:a", "aac", "-b:a", "192k"),
        *("-movflags", "use_metadata_tags+faststart", str(media.output / "limit.mp4")),
    ]
    return lambda: subprocess.run(command, check=True)


def prepare_core(media: Media) -> Callable[[], None]:
    """Core's Save Video (its own quality, crf 23): VideoFromComponents.save_to."""
    support.import_core()
    import torch
    from comfy_api.input_impl import VideoFromComponents
    from comfy_api.util import VideoComponents

    audio = {"waveform": torch.from_numpy(media.sound)[None], "sample_rate": SAMPLE_RATE}
    components = VideoComponents(images=torch.from_numpy(media.frames), audio=audio, frame_rate=Fraction(FPS))
    return lambda: VideoFromComponents(components).save_to(str(media.output / "core.mp4"))


def prepare_imageio(media: Media) -> Callable[[], None]:
    """The common recipe: all frames to uint8, a silent file with imageio-ffmpeg, then the sound muxed in."""
    import imageio_ffmpeg

    def save() -> None:
        size = (media.case.width, media.case.height)
        silent = media.output / "imageio-silent.mp4"
        options = ["-crf", str(CRF), "-preset", "medium"]
        writer = imageio_ffmpeg.write_frames(str(silent), size, fps=FPS, quality=None, output_params=options)
        writer.send(None)
        for frame in (media.frames * 255).clip(0, 255).astype(np.uint8):
            writer.send(frame)
        writer.close()
        mux(silent, media)

    return save


def prepare_opencv(media: Media) -> Callable[[], None]:
    """A silent file with OpenCV's own MPEG-4 encoder, then H.264 and the sound by ffmpeg: a second encode."""
    import cv2

    def save() -> None:
        silent = media.output / "opencv-silent.mp4"
        size = (media.case.width, media.case.height)
        writer = cv2.VideoWriter(str(silent), cv2.VideoWriter_fourcc(*"mp4v"), FPS, size)
        for frame in (media.frames * 255).clip(0, 255).astype(np.uint8):
            writer.write(np.ascontiguousarray(frame[..., ::-1]))
        writer.release()
        mux(silent, media, "libx264", "-crf", str(CRF))

    return save


def mux(silent: Path, media: Media, *codec: str) -> None:
    """Add the sound to a silent file, as the recipes do."""
    command = [ffmpeg_exe(), "-v", "error", "-y", "-i", str(silent), "-f", "f32le", "-ar", str(SAMPLE_RATE)]
    command += ["-ac", "2", "-i", str(media.folder / "sound.f32"), "-c:v", *(codec or ("copy",))]
    command += ["-c:a", "aac", "-b:a", "192k", "-shortest", str(silent.with_name("muxed.mp4"))]
    subprocess.run(command, check=True)


CANDIDATES: dict[str, Callable[[Media], Callable[[], None]]] = {
    "ours": prepare_ours,
    "limit": prepare_limit,
    "core Save Video": prepare_core,
    "imageio then mux": prepare_imageio,
    "OpenCV then mux": prepare_opencv,
}


@contextmanager
def peak_rss() -> Iterator[Callable[[], float]]:
    """Measure how far this process's memory rises above where it stood; yields a function that tells it in MiB."""
    import psutil

    process = psutil.Process()
    before = process.memory_info().rss
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    clear_refs = Path("/proc/self/clear_refs")
    exact = clear_refs.exists()
    if exact:  # Linux keeps the peak itself once it is reset
        clear_refs.write_text("5")
        yield lambda: (_peak_of_linux() - before) / MIB
        return
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: (peak[0] - before) / MIB
    finally:
        done.set()
        watcher.join()


def _peak_of_linux() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def run_candidate(name: str, case: Case, folder: Path) -> dict[str, float]:
    """Save once in this process and return what it took."""
    needs_frames = name != "limit"
    frames = np.load(folder / "frames.npy") if needs_frames else None
    with tempfile.TemporaryDirectory(dir=folder) as output:
        media = Media(case, folder, frames, np.load(folder / "sound.npy"), Path(output))
        save = CANDIDATES[name](media)
        with peak_rss() as extra:
            cpu, start = os.times(), time.perf_counter()
            save()
            wall, end = time.perf_counter() - start, os.times()
            rss = extra()
    cpu_seconds = sum(end[:4]) - sum(cpu[:4])
    return {"cpu_seconds": cpu_seconds, "wall_seconds": wall, "extra_rss_mb": rss}


def available_candidates() -> list[str]:
    """Names of the candidates that can run here."""
    names = list(CANDIDATES)
    if importlib.util.find_spec("cv2") is None:
        names.remove("OpenCV then mux")
    return names


def compare(case: Case, rounds: int) -> dict[str, dict[str, float]]:
    """Medians of every candidate, which take turns."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in available_candidates()}
    with tempfile.TemporaryDirectory() as folder:
        print(f"{case}: making {case.frames} frames …", flush=True)
        make_media(case, Path(folder))
        for number in range(rounds):
            for name, measured in results.items():
                command = [sys.executable, __file__, "--worker", name, "--case", str(case), "--folder", folder]
                answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                measured.append(json.loads(answer.splitlines()[-1]))
                print(f"  round {number + 1}: {name}: {measured[-1]['wall_seconds']:.1f} s", flush=True)
    return {
        name: {key: statistics.median(one[key] for one in measured) for key in measured[0]}
        for name, measured in results.items()
    }


def relative(measured: dict[str, float], limit: dict[str, float]) -> dict[str, float]:
    """The figures of the contract: CPU and wall time as multiples of the limit's, extra memory in MiB."""
    return {
        "cpu_over_limit": round(measured["cpu_seconds"] / limit["cpu_seconds"], 3),
        "wall_over_limit": round(measured["wall_seconds"] / limit["wall_seconds"], 3),
        "extra_rss_mb": round(measured["extra_rss_mb"], 1),
    }


def print_table(case: Case, medians: dict[str, dict[str, float]]) -> None:
    """One case for a person."""
    print(f"\n{case.frames} frames {case.width}×{case.height} float32, {case.frames / FPS:g} s, stereo sound")
    print(f"{'':18} {'CPU s':>8} {'wall s':>8} {'CPU/limit':>10} {'wall/limit':>11} {'extra MiB':>10}")
    for name, one in medians.items():
        ratio = relative(one, medians["limit"])
        print(
            f"{name:18} {one['cpu_seconds']:8.1f} {one['wall_seconds']:8.1f} {ratio['cpu_over_limit']:10.3f} "
            f"{ratio['wall_over_limit']:11.3f} {ratio['extra_rss_mb']:10.1f}"
        )


def summary(cases: dict[str, dict[str, dict[str, float]]]) -> dict[str, object]:
    """The worst of all cases under the contract's names, and every case by itself."""
    ratios = {
        case: {name: relative(one, medians["limit"]) for name, one in medians.items() if name != "limit"}
        for case, medians in cases.items()
    }
    keys = ("cpu_over_limit", "wall_over_limit", "extra_rss_mb")
    names = list(next(iter(ratios.values())))
    worst = {name: {key: max(one[name][key] for one in ratios.values()) for key in keys} for name in names}
    return {**worst.pop("ours"), "peers": worst, "cases": ratios}


def main() -> None:
    """Measure all cases, print the tables, write the figures."""
    parser = support.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", action="append", help="WIDTHxHEIGHTxFRAMES; may be repeated")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(run_candidate(options.worker, Case.parse(options.case[0]), options.folder)))
        return
    cases = {}
    for text in options.case or DEFAULT_CASES:
        case = Case.parse(text)
        cases[str(case)] = compare(case, options.rounds)
        print_table(case, cases[str(case)])
    support.write_json(options.json, summary(cases))


if __name__ == "__main__":
    main()
