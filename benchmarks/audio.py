"""What does it take to embed speech? Time and memory for 10 s to 60 min, from sound file to embeddings.

Side by side on the same random weights of the real shape (12 layers of 768 channels): ours as it is, ours with all
frames near each other (one piece), and plain `transformers` on the whole sound. Every measurement has a process of its
own, and so a peak of its own; the ways take turns, and of several rounds the median is shown.

    python benchmarks/audio.py [--json FILE] [--seconds 10 60 600 3600] [--rounds 3] [--whole-up-to 600]

The differences are those of the embeddings (values around 1) from one piece in fp32, over `--compare-seconds` of
speech-like sound that never repeats.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import support

support.enter_environment()

import numpy as np
import torch

SAMPLE_RATE = 44_100
FPS = 25
WAYS = ("ours", "one piece", "transformers")
WHOLE_BYTES_PER_SECOND = 22e6  # what the first convolution alone takes in transformers, three times over
SAMPLING_SECONDS = 0.02
ALL_NEAR = 10**9  # frames


@dataclass(frozen=True)
class Run:
    """One measurement."""

    way: str
    seconds: int
    wall_seconds: float
    cpu_seconds: float
    rss_mb: float
    own_mb: float  # without pages of mapped files, which the system may drop at any time (Linux)


def write_speech(path: Path, seconds: int) -> None:
    """Stereo sound in syllables at changing pitch, level and timbre, 16 bit; no two seconds are alike."""
    import soundfile

    random = np.random.default_rng(0)
    time_seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 2, "PCM_16") as file:
        for _ in range(seconds):
            pitch, speed, level = random.uniform(80, 300), random.uniform(2, 6), random.uniform(0, 0.4)
            tones = sum(random.uniform(0, 1) / n * np.sin(2 * np.pi * n * pitch * time_seconds) for n in range(1, 12))
            hiss = random.normal(0, random.uniform(0.002, 0.05), SAMPLE_RATE)
            voice = level * tones * np.abs(np.sin(np.pi * speed * time_seconds)) + hiss
            file.write(np.clip(np.stack([voice, 0.8 * voice], axis=1), -1, 1))


def write_model(path: Path) -> None:
    """A model of the real shape with random weights, as transformers starts one."""
    from safetensors.torch import save_file
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    model = Wav2Vec2Model(Wav2Vec2Config())
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)


class PeakMemory:
    """Watches this process; the most it had at one moment, in MB, above nothing (the interpreter counts too)."""

    def __init__(self) -> None:
        self.rss_mb = self.own_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            rss, own = _memory_mb()
            self.rss_mb, self.own_mb = max(self.rss_mb, rss), max(self.own_mb, own)
            if self._stop.wait(SAMPLING_SECONDS):
                return


def _memory_mb() -> tuple[float, float]:
    """Resident memory of this process, and the part of it that cannot be dropped."""
    status = Path("/proc/self/status")
    if not status.is_file():
        import psutil

        rss = psutil.Process(os.getpid()).memory_info().rss / 1e6
        return rss, rss
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if line.startswith(("VmRSS", "Rss")))
    kib = {key: int(value.split()[0]) for key, value in fields.items()}
    return kib["VmRSS"] * 1.024e-3, (kib["RssAnon"] + kib["RssShmem"]) * 1.024e-3


def embed(way: str, model: Path, sound: Path, folder: Path) -> None:
    """The whole way from the files to the embeddings."""
    if way == "transformers":
        _embed_with_transformers(model, sound)
        return
    from infinitetalk.audio.decode import decode_file
    from infinitetalk.audio.embeds import embed_voices
    from infinitetalk.audio.layer_sweep import Reach
    from infinitetalk.audio.wav2vec import load_encoder

    encoder = load_encoder(model, "fp32")
    if way == "one piece":
        encoder.reach = Reach(ALL_NEAR)
    embed_voices(encoder, [decode_file(sound, folder=folder)], folder=folder)


@torch.no_grad()
def _embed_with_transformers(model: Path, sound: Path) -> None:
    """As other packs do it: the file at once, mono at 16 kHz, all hidden states (at 50 Hz: no interpolation)."""
    import soundfile
    import soxr
    from safetensors.torch import load_file
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    net = Wav2Vec2Model(Wav2Vec2Config()).eval()
    net.load_state_dict(load_file(model))
    samples, rate = soundfile.read(sound, dtype="float32")
    wave = torch.from_numpy(soxr.resample(samples.mean(axis=1), rate, 16_000))
    torch.stack(net(wave[None], output_hidden_states=True).hidden_states[1:], dim=2)


def measure(way: str, seconds: int, model: Path, sound: Path, folder: Path) -> Run:
    """In this process."""
    support.load_pack()
    with PeakMemory() as peak:
        wall, cpu = time.perf_counter(), time.process_time()
        embed(way, model, sound, folder)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Run(way, seconds, wall, cpu, peak.rss_mb, peak.own_mb)


def measure_apart(way: str, seconds: int, model: Path, sound: Path, folder: Path) -> Run | None:
    """In a process of its own; None if that one fails (out of memory, mostly)."""
    command = [sys.executable, __file__, "--measure", way, str(seconds), str(model), str(sound), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{way} failed on {seconds} s: {done.stderr.strip().splitlines()[-1:] or done.returncode}")
        return None
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def median_run(runs: list[Run]) -> Run:
    """The medians of several rounds."""
    middle = {
        k: statistics.median(getattr(r, k) for r in runs) for k in ("wall_seconds", "cpu_seconds", "rss_mb", "own_mb")
    }
    return Run(runs[0].way, runs[0].seconds, **middle)


def compare(args: argparse.Namespace, model: Path, folder: Path) -> dict[str, float]:
    """How far pieces and fp16 are from one piece in fp32."""
    support.load_pack()
    from infinitetalk.audio.decode import decode_file
    from infinitetalk.audio.layer_sweep import Reach
    from infinitetalk.audio.resampling import resampled
    from infinitetalk.audio.wav2vec import Wav2VecEncoder, load_encoder

    sound = folder / "compare.wav"
    write_speech(sound, args.compare_seconds)
    wave = resampled(decode_file(sound), 16_000, mono=True).samples[0]
    frames = args.compare_seconds * FPS
    encoder = load_encoder(model, "fp32")
    encoder.reach = Reach(ALL_NEAR)
    whole = encoder.encode(wave, frames)
    # As far out of reach as an hour has it with the real settings: at most a sixth of the frames are near.
    near = frames // 12
    encoder.reach = Reach(near_frames=near, piece_frames=near)
    pieces = encoder.encode(wave, frames)
    few = min(frames, args.fp16_seconds * FPS)
    half = Wav2VecEncoder(load_encoder(model, "fp16", cpu=False).model, torch.float16)
    in_fp16 = half.encode(wave[: few * 640], few)
    in_fp32 = encoder.encode(wave[: few * 640], few)
    gc.collect()
    return {
        "pieces_max_abs_diff": float((pieces - whole).abs().max()),
        "pieces_rms_diff": float((pieces - whole).square().mean().sqrt()),
        "fp16_max_abs_diff": float((in_fp16 - in_fp32).abs().max()),
        "fp16_rms_diff": float((in_fp16 - in_fp32).square().mean().sqrt()),
    }


def run_all(args: argparse.Namespace, model: Path, folder: Path) -> list[Run]:
    """All measurements, printed as they come."""
    print(f"{'':>14} {'sound':>8} {'wall s/s':>9} {'CPU s/s':>8} {'peak MB':>8} {'own MB':>7}")
    results: list[Run] = []
    for seconds in args.seconds:
        sound = folder / f"{seconds}.wav"
        write_speech(sound, seconds)
        rounds: dict[str, list[Run]] = {way: [] for way in WAYS}
        for _ in range(args.rounds if seconds < 600 else 1):
            for way in WAYS:
                if way == "ours" or (seconds <= args.whole_up_to and _fits(way, seconds)):
                    run = measure_apart(way, seconds, model, sound, folder)
                    rounds[way] += [run] if run else []
        sound.unlink()
        for way, runs in rounds.items():
            if not runs:
                print(f"{way:>14} {seconds:>6} s {'not run: too much memory or time':>35}")
                continue
            run = median_run(runs)
            results.append(run)
            print(
                f"{way:>14} {seconds:>6} s {run.wall_seconds / seconds:>9.3f} {run.cpu_seconds / seconds:>8.3f} "
                f"{run.rss_mb:>8.0f} {run.own_mb:>7.0f}",
                flush=True,
            )
    return results


def _fits(way: str, seconds: int) -> bool:
    """Whether transformers' first layer has room on this machine."""
    if way != "transformers" or not hasattr(os, "sysconf"):
        return True
    return seconds * WHOLE_BYTES_PER_SECOND < 0.8 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def figures(runs: list[Run], differences: dict[str, float]) -> dict[str, Any]:
    """What `--json` writes: ours under the agreed names, the others beside it."""
    by_way = {way: {str(r.seconds): r for r in runs if r.way == way} for way in WAYS}

    def ratios(way: str) -> dict[str, float]:
        return {s: r.wall_seconds / r.seconds for s, r in by_way[way].items()}

    return {
        "peak_rss_mb": {s: r.rss_mb for s, r in by_way["ours"].items()},
        "peak_own_mb": {s: r.own_mb for s, r in by_way["ours"].items()},
        "seconds_per_second": ratios("ours"),
        **differences,
        "others": {
            way: {"peak_rss_mb": {s: r.rss_mb for s, r in by_way[way].items()}, "seconds_per_second": ratios(way)}
            for way in WAYS[1:]
        },
    }


def main() -> None:
    """Measure and print."""
    parser = support.arguments(__doc__)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60, 600, 3600], help="lengths of the sound")
    parser.add_argument("--rounds", type=int, default=3, help="rounds for lengths below ten minutes")
    parser.add_argument("--whole-up-to", type=int, default=600, help="longest sound for the two that take it whole")
    parser.add_argument("--compare-seconds", type=int, default=240, help="sound for the difference of pieces")
    parser.add_argument("--fp16-seconds", type=int, default=20, help="sound for the difference of fp16 (slow on a CPU)")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        way, seconds, *paths = args.measure
        print(json.dumps(asdict(measure(way, int(seconds), *map(Path, paths)))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "wav2vec2 random.safetensors"
        write_model(model)
        runs = run_all(args, model, folder)
        differences = compare(args, model, folder)
    print("\nlargest difference from one piece in fp32 (values are around 1):")
    for label, value in differences.items():
        print(f"{label:>22} {value:.2e}")
    support.write_json(args.json, figures(runs, differences))


if __name__ == "__main__":
    main()
