"""Do lips follow the speech? Cartoon clips that nobody trained on, from picture and sound to the saved MP4.

    python benchmarks/lipsync.py [--json FILE] [--clips 20] [--pairs 5]

A real ComfyUI server with the small models of the demo makes 6 to 12 seconds of video of every clip, several windows
each, and videos of two faces side by side that talk at the same time; voices, sentences and faces are held out from the
training. What is measured is the file: its pictures against its own sound, and against ideal renders of the face. Needs
espeak-ng.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import support

support.enter_environment()

import numpy as np
from cartoon_models import MOTION_FRAMES, WINDOW_FRAMES, copy_models
from comfy_client import ComfyClient
from evaluation import measure
from evaluation.clips import Clip, talking_prompt, two_speakers_prompt
from evaluation.finished import Decoded, decode, run
from talking_picture import CARTOON_SAMPLER
from training.speech import RATE

SHORTEST, LONGEST = 6.0, 12.0  # seconds
LATE_FRAMES = 5
AUDIO_CFGS = (1.0, 2.0, 4.0)
GUIDED_CLIPS = 3  # of which there is a video for each of AUDIO_CFGS
PAIR_SECONDS = 8.0


@dataclass(frozen=True)
class Made:
    """A clip and what is in its file."""

    clip: Clip
    wall_seconds: float
    video: Decoded
    opening: np.ndarray
    """Of the mouth, `[F]`."""
    psnr: np.ndarray
    """Of all but the mouth, `[F]` dB."""

    def drive(self, late_frames: int = 0) -> np.ndarray:
        """Opening that the file's sound asks for, `[F]`, when the sound comes so much later."""
        samples = round(late_frames / measure.FPS * self.video.sample_rate)
        sound = np.roll(self.video.sound, samples, axis=0)
        return measure.opening_for(sound, self.video.sample_rate, len(self.video.frames))

    def windows(self) -> list[slice]:
        """The frames of each window."""
        return measure.windows_of(len(self.video.frames), WINDOW_FRAMES, MOTION_FRAMES)


@dataclass(frozen=True)
class Row:
    """The figures of one clip."""

    seed: int
    seconds: float
    wall_seconds: float
    r: float
    best_lag: int
    windows: int
    """In which the mouth should move."""
    windows_off: int
    """Of those, the ones whose best lag is another than 0 give or take LAG_FRAMES."""
    r_first: float
    r_last: float
    """Both by `measure.r_within`."""
    r_other: float
    """With the sound of the next clip."""
    r_other_shifted: float
    """With the same sound at another time."""
    shift_found: int
    """Best lag when the sound is LATE_FRAMES early."""
    in_silence: float
    """Opening in silent frames over the mouth's range."""
    psnr: float
    psnr_first: float
    psnr_last: float
    background_change: float
    """In the last window, of 255 levels."""


def make(client: ComfyClient, clip: Clip, folder: Path, **sampler: float) -> Made:
    """Queue a clip and measure its file."""
    prompt = talking_prompt(client, clip, folder, **sampler)
    start = time.monotonic()
    file, _ = run(client, prompt)
    wall_seconds = time.monotonic() - start
    video = decode(file)
    opening = measure.mouth_opening(video.frames, clip.face)
    return Made(clip, wall_seconds, video, opening, measure.outside_psnr(video.frames, clip.face))


def row_of(made: Made, other: Made) -> Row:
    """Measure one clip; another lends its sound for comparison."""
    drive, windows = made.drive(), made.windows()
    first, last = windows[0], windows[-1]
    lags = [lag for lag in measure.window_lags(made.opening, drive, windows) if lag is not None]
    wrong = np.resize(other.drive(), len(drive))
    return Row(
        seed=made.clip.seed,
        seconds=made.clip.seconds,
        wall_seconds=made.wall_seconds,
        r=measure.pearson(made.opening, drive),
        best_lag=measure.correlation_over_lags(made.opening, drive).best_lag,
        windows=len(lags),
        windows_off=sum(abs(lag) > measure.LAG_FRAMES for lag in lags),
        r_first=r_of_all([made], 0),
        r_last=r_of_all([made], -1),
        r_other=measure.pearson(made.opening, wrong),
        r_other_shifted=measure.pearson(made.opening, np.roll(wrong, len(wrong) // 3)),
        shift_found=measure.correlation_over_lags(made.opening, made.drive(-LATE_FRAMES)).best_lag,
        in_silence=measure.opening_in_silence(made.opening, drive),
        psnr=float(made.psnr.mean()),
        psnr_first=float(made.psnr[first].mean()),
        psnr_last=float(made.psnr[last].mean()),
        background_change=float(measure.background_change(made.video.frames, made.clip.face)[last].mean()),
    )


def r_of_all(clips: list[Made], window: int) -> float:
    """Correlation by one window of all clips together: a single second of one clip says little."""
    openings, drives = [made.opening for made in clips], [made.drive() for made in clips]
    return measure.r_within(openings, drives, [made.windows()[window] for made in clips])


def guided(client: ComfyClient, usual: list[Made], folder: Path) -> dict[float, float]:
    """Mean opening, where the sound asks for an open mouth, by strength of the audio guidance; one is the usual."""
    found = {}
    for scale in AUDIO_CFGS:
        videos = usual
        if scale != CARTOON_SAMPLER["audio_cfg"]:
            videos = [make(client, made.clip, folder, audio_cfg=scale) for made in usual]
        found[scale] = float(np.mean([made.opening[made.drive() > measure.OPEN].mean() for made in videos]))
    return found


@dataclass(frozen=True)
class Speaker:
    """One of two faces that talk at the same time."""

    seed: int
    r_own: float
    """With this speaker's voice."""
    r_others: float
    """With the voice of the one beside."""


def speakers_of_pair(client: ComfyClient, pair: tuple[Clip, Clip], folder: Path) -> list[Speaker]:
    """Make a video of two and measure each half of it against both voices, which the file has as one sound only."""
    file, _ = run(client, two_speakers_prompt(client, pair, folder))
    frames = decode(file).frames
    faces, drives = zip(*((c.face, measure.opening_for(c.sound, RATE, len(frames))) for c in pair), strict=True)
    found = measure.r_of_two_speakers(frames, faces, drives)
    return [Speaker(clip.seed, *r) for clip, r in zip(pair, found, strict=True)]


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("clip", lambda row: f"{row.seed}"),
    ("video", lambda row: f"{row.seconds:.1f} s"),
    ("made in", lambda row: f"{row.wall_seconds:.1f} s"),
    ("r", lambda row: f"{row.r:.3f}"),
    ("lag", lambda row: f"{row.best_lag:d}"),
    ("windows off", lambda row: f"{row.windows_off} of {row.windows}"),
    ("r first", lambda row: f"{row.r_first:.2f}"),
    ("last", lambda row: f"{row.r_last:.2f}"),
    ("other", lambda row: f"{row.r_other:.2f}"),
    ("shifted", lambda row: f"{row.r_other_shifted:.2f}"),
    (f"{LATE_FRAMES} late", lambda row: f"{row.shift_found:d}"),
    ("silence", lambda row: f"{row.in_silence:.1%}"),
    ("PSNR first", lambda row: f"{row.psnr_first:.1f}"),
    ("last", lambda row: f"{row.psnr_last:.1f} dB"),
    ("backgr.", lambda row: f"{row.background_change:.1f}"),
)


def line(cells: list[str]) -> str:
    """One line of the table."""
    return " ".join(cell.rjust(max(len(name), 8)) for (name, _), cell in zip(COLUMNS, cells, strict=True))


@dataclass(frozen=True)
class Criterion:
    """What is asked for, and what was found."""

    name: str
    found: float
    asked: str
    met: bool

    @classmethod
    def least(cls, name: str, found: float, least: float) -> Criterion:
        """At least this."""
        return cls(name, found, f">= {least:g}", found >= least)

    @classmethod
    def most(cls, name: str, found: float, most: float) -> Criterion:
        """At most this."""
        return cls(name, found, f"<= {most:g}", found <= most)


def criteria_of_pairs(speakers: list[Speaker]) -> list[Criterion]:
    """What is asked of two speakers side by side."""
    return [
        Criterion.least("two speakers: r with one's own voice, worst", min(s.r_own for s in speakers), measure.OWN_R),
        Criterion.most("two speakers: r with the other's, worst", max(s.r_others for s in speakers), measure.OTHERS_R),
    ]


def criteria(clips: list[Made], rows: list[Row], by_cfg: dict[float, float]) -> list[Criterion]:
    """What is asked of those who are alone."""
    mean = {name: float(np.mean([getattr(row, name) for row in rows])) for name in ("r", "r_other", "r_other_shifted")}
    openings = list(by_cfg.values())
    return [
        Criterion.least("r, mean", mean["r"], measure.MEAN_R),
        Criterion.least("r, worst clip", min(row.r for row in rows), measure.LEAST_R),
        Criterion.most("lag, worst clip", max(abs(row.best_lag) for row in rows), measure.LAG_FRAMES),
        Criterion.most("windows with another lag", sum(row.windows_off for row in rows), 0),
        Criterion.most(
            "r of all first windows less that of all last",
            r_of_all(clips, 0) - r_of_all(clips, -1),
            measure.WORSE_AT_END,
        ),
        Criterion.most("r with another sound, mean", mean["r_other"], measure.OTHER_R),
        Criterion.most("r with that at another time, mean", mean["r_other_shifted"], measure.OTHER_R),
        Criterion.most(
            f"error of the lag when {LATE_FRAMES} late, worst clip",
            max(abs(row.shift_found - LATE_FRAMES) for row in rows),
            measure.LAG_FRAMES,
        ),
        Criterion.most("opening in silence, worst clip", max(row.in_silence for row in rows), measure.IN_SILENCE),
        Criterion.least("PSNR outside the mouth, worst clip", min(row.psnr for row in rows), measure.OUTSIDE_DB),
        Criterion.most(
            "PSNR lost by the last window, worst clip",
            max(row.psnr_first - row.psnr_last for row in rows),
            measure.LOST_DB,
        ),
        Criterion.least("least gain in opening by audio_cfg", float(np.diff(openings).min()), 0),
    ]


def measured_pairs(client: ComfyClient, first: int, count: int, folder: Path) -> list[Speaker]:
    """Make and measure pairs of the clips from a number on, printing them as they come."""
    speakers: list[Speaker] = []
    for number in range(first, first + 2 * count, 2):
        pair = Clip.held_out(number, PAIR_SECONDS), Clip.held_out(number + 1, PAIR_SECONDS)
        speakers += speakers_of_pair(client, pair, folder)
        for side, one in zip(("left", "right"), speakers[-2:], strict=True):
            print(f"{one.seed:>8} {side:>5}: own voice {one.r_own:.3f}, the other's {one.r_others:.2f}", flush=True)
    return speakers


def measured(client: ComfyClient, count: int, folder: Path) -> tuple[list[Row], list[Criterion], dict[float, float]]:
    """Make and measure all clips, printing the table as it grows."""
    lengths = [round(float(seconds), 1) for seconds in np.linspace(SHORTEST, LONGEST, count)]
    clips = [Clip.held_out(number, seconds) for number, seconds in enumerate(lengths)]
    print(line([name for name, _ in COLUMNS]), flush=True)
    made, rows = [make(client, clips[0], folder)], []
    for clip in [*clips[1:], None]:
        if clip:
            made.append(make(client, clip, folder))
        rows.append(row_of(made[len(rows)], made[(len(rows) + 1) % len(made)]))
        print(line([text(rows[-1]) for _, text in COLUMNS]), flush=True)
    by_cfg = guided(client, made[:GUIDED_CLIPS], folder)
    return rows, criteria(made, rows, by_cfg), by_cfg


def main() -> None:
    """Make, measure, print, write."""
    parser = support.arguments(__doc__)
    parser.add_argument("--clips", type=int, default=20, help="2 or more")
    parser.add_argument("--pairs", type=int, default=5, help="1 or more")
    options = parser.parse_args()
    if options.clips < 2 or options.pairs < 1:
        parser.error("Two clips at least, as one lends the other its sound for comparison, and a pair.")
    with tempfile.TemporaryDirectory() as folder:
        copy_models(Path(folder) / "server" / "models")
        with support.server(Path(folder) / "server") as server:
            client = ComfyClient(server.url)
            rows, asked, by_cfg = measured(client, options.clips, Path(folder))
            speakers = measured_pairs(client, options.clips, options.pairs, Path(folder))
    asked += criteria_of_pairs(speakers)
    print("\nOpening by audio_cfg: " + ", ".join(f"{scale:g}: {opening:.3f}" for scale, opening in by_cfg.items()))
    for one in asked:
        print(f"{'met' if one.met else 'NOT MET':>8}  {one.name}: {one.found:.3g}, asked for {one.asked}")
    found = {"clips": [asdict(row) for row in rows], "opening_by_audio_cfg": by_cfg}
    found["speakers"] = [asdict(speaker) for speaker in speakers]
    found["criteria"] = {one.name: {"found": one.found, "asked": one.asked, "met": one.met} for one in asked}
    support.write_json(options.json, found)


if __name__ == "__main__":
    main()
