"""Does the memory grow with the length? Peak RAM and disk for videos of 10 s to 20 min, from sound file to MP4.

Everything is real (ComfyUI's server, the graph, decoding and mixing of the sound, fingerprint, window loop, frame
store, ffmpeg) except the arithmetic of the transformer, the VAE and wav2vec: see `stand_in_nodes.py`. Every length gets
a new server. Beside it: the same with all frames collected in one IMAGE tensor and core's Save Video.

    python benchmarks/length.py [--json FILE] [--seconds 10 60 300 1200] [--collected 10 60] [--size 832x448]

20 minutes need 35 GB of disk for a while.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import support

support.enter_environment()

import numpy as np
import talking_picture
import tiny_models
from comfy_client import ComfyClient, Prompt
from comfy_server import ComfyServer
from talking_picture import find_node, inputs_of

FPS = 25
SAMPLE_RATE = 48_000
MB = 1e6
SAMPLING_SECONDS = 0.05
ROOM = 1.3
"""Needed room on disk or in RAM, over that of the frames themselves."""


@dataclass
class Peak:
    """The most memory that a server and its ffmpeg had at one moment, in MB."""

    rss_mb: float = 0.0
    """All pages in RAM, also those of mapped files, which the system may drop at any time."""
    own_mb: float = 0.0
    """Pages that cannot be dropped (RssAnon + RssShmem; Linux only, elsewhere as `rss_mb`)."""


@dataclass(frozen=True)
class Measured:
    """One video."""

    seconds: int
    peak: Peak
    runs_mb: float
    """Disk that the finished frames take, states included."""
    wall_seconds: float
    video_mb: float = 0.0
    base: Peak = field(default_factory=Peak)
    """The server before the job."""


def write_sound(file: Path, seconds: int) -> None:
    """A stereo hum in syllables, 16 bit, written a second at a time."""
    import soundfile

    random = np.random.default_rng(0)
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 2, "PCM_16") as sound:
        for second in range(seconds):
            time_seconds = second + np.arange(SAMPLE_RATE) / SAMPLE_RATE
            voice = np.sin(2 * np.pi * (110 + second % 50) * time_seconds) * np.sin(np.pi * 3 * time_seconds) ** 2
            sound.write(np.stack([voice, voice * 0.8], axis=1) * 0.3 + random.normal(0, 0.01, (SAMPLE_RATE, 2)))


def make_server(base: Path) -> ComfyServer:
    """A server with tiny models, whose InfiniteTalk weights hear true-sized embeddings, and the stand-ins."""
    audio = tiny_models.TinyWav2Vec(hidden=768, layers=12)
    weights = tiny_models.infinitetalk(tiny_models.TinyInfiniteTalk(audio=audio), seed=2)
    tiny_models.write(base / "models" / tiny_models.INFINITETALK, weights)
    tiny_models.write_models(base / "models")
    nodes = base / "custom_nodes" / "stand_ins"
    nodes.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).with_name("stand_in_nodes.py"), nodes / "__init__.py")
    return support.server(base)


def stand_in_prompt(client: ComfyClient, sound: str, size: tuple[int, int]) -> Prompt:
    """The shipped workflow with the stand-ins behind its loaders."""
    prompt = talking_picture.with_tiny_models(talking_picture.load_workflow())
    prompt = talking_picture.with_media(prompt, client.upload(talking_picture.PICTURE), sound)
    loaders = [find_node(prompt, name) for name in ("UNETLoader", "VAELoader", "InfiniteTalkWav2VecLoader")]
    prompt["stand-ins"] = {
        "class_type": "StandInModels",
        "inputs": {name: [node, 0] for name, node in zip(("model", "vae", "wav2vec"), loaders, strict=True)},
    }
    sampler = inputs_of(prompt, "InfiniteTalkSampler")
    sampler.update(model=["stand-ins", 0], vae=["stand-ins", 1], steps=1, text_cfg=1.0, audio_cfg=1.0)
    sampler.update(resolution="custom", width=size[0], height=size[1])
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")["wav2vec"] = ["stand-ins", 2]
    return prompt


def collected(prompt: Prompt) -> Prompt:
    """The same video by way of one IMAGE tensor and core's nodes."""
    sampler, embeds = find_node(prompt, "InfiniteTalkSampler"), find_node(prompt, "InfiniteTalkAudioEmbeds")
    del prompt[find_node(prompt, "SaveVideoWithAudio")]
    prompt["frames"] = {"class_type": "CollectFrames", "inputs": {"video": [sampler, 0]}}
    video = {"images": ["frames", 0], "fps": float(FPS), "audio": [embeds, 1]}
    prompt["video"] = {"class_type": "CreateVideo", "inputs": video}
    saved = {"video": ["video", 0], "filename_prefix": "talk", "format": "auto", "codec": "auto"}
    prompt["save"] = {"class_type": "SaveVideo", "inputs": saved}
    return prompt


def memory(pid: int) -> Peak:
    """What a process and its children hold now."""
    import psutil

    now = Peak()
    server = psutil.Process(pid)
    for process in (server, *server.children(recursive=True)):
        try:
            if process != server and process.cmdline() == server.cmdline():
                continue  # not yet ffmpeg: between fork and exec a child shows its parent's memory as its own
            rss = process.memory_info().rss / MB
            status = Path(f"/proc/{process.pid}/status")
            own = rss
            if status.exists():
                lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
                own = sum(int(lines[key].split()[0]) * 1024 / MB for key in ("RssAnon", "RssShmem") if key in lines)
        except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            continue
        now.rss_mb += rss
        now.own_mb += own
    return now


def system_peak_mb(pid: int) -> float:
    """The most RAM that a process has had since `forget_peak`, as Linux keeps it; elsewhere 0."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / MB


def forget_peak(pid: int) -> None:
    """Let Linux begin anew with the peak of a process."""
    switch = Path(f"/proc/{pid}/clear_refs")
    if switch.exists():
        switch.write_text("5")


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """The peak of a process and its children while the block runs.

    A look now and then misses peaks that last for a blink, the more of them the shorter the video: where the system
    keeps the server's own peak, that counts as well.
    """
    forget_peak(pid)
    peak, done = memory(pid), threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLING_SECONDS):
            now = memory(pid)
            peak.rss_mb, peak.own_mb = max(peak.rss_mb, now.rss_mb), max(peak.own_mb, now.own_mb)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
        peak.rss_mb = max(peak.rss_mb, system_peak_mb(pid))


def measure(seconds: int, size: tuple[int, int], folder: Path, *, collect: bool) -> Measured:
    """Make one video on a new server."""
    base = folder / f"{seconds} s{' collected' if collect else ''}"
    (base / "input").mkdir(parents=True)
    write_sound(base / "input" / "speech.wav", seconds)
    with make_server(base) as server:
        client = ComfyClient(server.url)
        prompt = stand_in_prompt(client, "speech.wav", size)
        before = memory(server.pid)
        start = time.monotonic()
        with watched(server.pid) as peak:
            result = client.run(collected(prompt) if collect else prompt)
        wall_seconds = time.monotonic() - start
        if result.error:
            raise SystemExit(f"The job failed: {result.error_message}\n{server.log()[-3000:]}")
    runs_mb = sum(file.stat().st_size for file in (base / "user").rglob("run-*/*")) / MB
    (video,) = (base / "output").rglob("*.mp4")
    measured = Measured(seconds, peak, runs_mb, wall_seconds, video.stat().st_size / MB, before)
    shutil.rmtree(base)
    return measured


def frames_bytes(seconds: int, size: tuple[int, int], bytes_per_number: int) -> float:
    """All frames of a video."""
    return seconds * FPS * size[0] * size[1] * 3 * bytes_per_number


def enough_disk(folder: Path, seconds: int, size: tuple[int, int]) -> bool:
    """Whether the frames fit, with room for the others on this disk."""
    return shutil.disk_usage(folder).free > ROOM * frames_bytes(seconds, size, 1)


def enough_ram(seconds: int, size: tuple[int, int]) -> bool:
    """Whether all frames fit in an IMAGE tensor."""
    import psutil

    return psutil.virtual_memory().available > ROOM * frames_bytes(seconds, size, 4)


def table(name: str, rows: list[Measured]) -> str:
    """Rows for a person."""
    lines = [f"\n{name}", f"{'video':>8} {'peak RSS':>10} {'of it own':>10} {'frames on disk':>15} {'wall':>8}"]
    lines += [
        f"{row.seconds:6d} s {row.peak.rss_mb:7.0f} MB {row.peak.own_mb:7.0f} MB {row.runs_mb:12.0f} MB "
        f"{row.wall_seconds:6.0f} s"
        for row in rows
    ]
    return "\n".join(lines)


def figures(ours: list[Measured], others: list[Measured]) -> dict[str, object]:
    """What the JSON file holds."""
    rss = {row.seconds: row.peak.rss_mb for row in ours}
    own = {row.seconds: row.peak.own_mb for row in ours}
    longest = ours[-1]
    found: dict[str, object] = {
        "rss_mb": {str(seconds): round(mb) for seconds, mb in rss.items()},
        "own_mb": {str(seconds): round(mb) for seconds, mb in own.items()},
        "disk_mb_per_second": round(longest.runs_mb / longest.seconds, 2),
        "wall_seconds": {str(row.seconds): round(row.wall_seconds, 1) for row in ours},
        "collected": {
            "rss_mb": {str(row.seconds): round(row.peak.rss_mb) for row in others},
            "own_mb": {str(row.seconds): round(row.peak.own_mb) for row in others},
        },
    }
    if 60 in rss and 1200 in rss:
        found["rss_20min_over_1min"] = round(rss[1200] / rss[60], 3)
        found["own_20min_over_1min"] = round(own[1200] / own[60], 3)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = support.arguments(__doc__)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60, 300, 1200])
    parser.add_argument("--collected", type=int, nargs="*", default=[10, 60])
    parser.add_argument("--size", default="832x448", help="WIDTHxHEIGHT, multiples of 16")
    parser.add_argument("--folder", type=Path, help="where the servers work (the system's temporary folder)")
    options = parser.parse_args()
    size = tuple(map(int, options.size.split("x")))
    ours, others = [], []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for seconds in options.seconds:
            if not enough_disk(Path(folder), seconds, size):
                print(f"{seconds} s: left out, {folder} has too little space", flush=True)
                continue
            ours.append(measure(seconds, size, Path(folder), collect=False))
            print(table(f"InfiniteTalk Sampler, {options.size}", ours[-1:]), flush=True)
        for seconds in options.collected:
            if not enough_ram(seconds, size):
                print(f"{seconds} s: left out, the frames do not fit in RAM", flush=True)
                continue
            others.append(measure(seconds, size, Path(folder), collect=True))
    print(table(f"InfiniteTalk Sampler and Save Video With Audio, {options.size}", ours))
    print(table("All frames in one IMAGE tensor, core's Save Video", others))
    support.write_json(options.json, figures(ours, others))


if __name__ == "__main__":
    main()
