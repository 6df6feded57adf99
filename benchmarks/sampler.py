"""What the window loop costs beyond the core calls that it must make.

    python benchmarks/sampler.py [--json FILE] [--rounds 3]

Four questions:

(a) How much work is done for a second of video (model passes, VAE frames, CLIP pictures), counted, beside what the
    authors' loop does with the same settings (MeiGen InfiniteTalk, `generate_infinitetalk`)?
(b) How long does our loop take over the bare core calls inside it? The calls of one run (model forwards, VAE encodes
    and decodes) are recorded, then loop and bare calls take turns.
(c) Which share of a transformer block is the audio hook, in time and in memory?
(d) Which share of the floating-point operations of a block are our hooks, at the real sizes? Counted, not computed.

The model has random weights and more than 100 M parameters, in core's own classes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import support

WIDTH = HEIGHT = 96
FPS = 25
WINDOW_FRAMES, MOTION_FRAMES, STEPS = 17, 5, 2
FRAMES = WINDOW_FRAMES + 2 * (WINDOW_FRAMES - MOTION_FRAMES)
SETTINGS = {
    "text 5, audio 4": {"text_cfg": 5.0, "audio_cfg": 4.0},
    "text 5, audio 4, APG": {"text_cfg": 5.0, "audio_cfg": 4.0, "apg": True},
    "text 1, audio 2": {"text_cfg": 1.0, "audio_cfg": 2.0},
    "text 5, audio 1": {"text_cfg": 5.0, "audio_cfg": 1.0},
    "text 1, audio 1": {"text_cfg": 1.0, "audio_cfg": 1.0},
}


def load_models(folder: Path) -> SimpleNamespace:
    """Base model, InfiniteTalk weights and VAE through the real loaders."""
    import comfy.sd
    import comfy.utils
    import tiny_models
    import torch
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    sizes = tiny_models.TinyWan(dim=768, layers=12, ffn_dim=3072)
    talk = tiny_models.TinyInfiniteTalk(base=sizes, intermediate=256, tokens=32, out_dim=768)
    files = {
        "base": tiny_models.wan_transformer(sizes, 1),
        "talk": tiny_models.infinitetalk(talk, 2),
        "vae": tiny_models.wan_vae(16, 3),
    }
    for name, weights in files.items():
        tiny_models.write(folder / f"{name}.safetensors", weights)
    models = SimpleNamespace(
        model=comfy.sd.load_diffusion_model(str(folder / "base.safetensors"), model_options={"dtype": torch.float32}),
        infinitetalk=load_infinitetalk(folder / "talk.safetensors"),
        vae=comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(folder / "vae.safetensors"))),
        layers=talk.audio.layers,
        channels=talk.audio.hidden,
    )
    models.parameters = sum(p.numel() for p in models.model.model.parameters())
    return models


def make_job(models: SimpleNamespace, clip: Any, guidance: dict[str, Any]) -> Any:
    """A picture and three windows of speech."""
    import torch
    from infinitetalk.video_io.read.image_frames import ImageFrames
    from infinitetalk.wanvideo.job import TalkingVideoJob
    from infinitetalk.wanvideo.pictures import Pictures
    from infinitetalk.wanvideo.settings import SamplerSettings

    generator = torch.Generator().manual_seed(0)
    voice = torch.randn(FRAMES, models.layers, models.channels, generator=generator)
    embeds = SimpleNamespace(
        features=[voice],
        silence=[voice[:1]],
        audible=[torch.ones(FRAMES, dtype=torch.bool)],
        frame_rate=Fraction(FPS),
        frames=FRAMES,
        digests=["voice"],
    )
    image = torch.rand(1, HEIGHT, WIDTH, 3, generator=generator)
    return TalkingVideoJob(
        model=models.model,
        infinitetalk=models.infinitetalk,
        embeds=embeds,
        vae=models.vae,
        pictures=Pictures(ImageFrames(image, Fraction(FPS)), Fraction(FPS), FRAMES, (HEIGHT, WIDTH)),
        settings=SamplerSettings(
            seed=1, steps=STEPS, shift=3.0, window_frames=WINDOW_FRAMES, motion_frames=MOTION_FRAMES, **guidance
        ),
        clip_vision=clip,
    )


class Nobody:
    """An observer that does not look."""

    def step(self, *_: Any) -> None:
        """Nothing."""


class CountingClip:
    """Stands for CLIP vision, whose cost is not measured here: counts what it is asked to encode."""

    def __init__(self) -> None:
        self.pictures = 0

    def encode_image(self, image: Any, crop: bool) -> SimpleNamespace:
        """Zero features of the real shape."""
        import torch

        self.pictures += len(image)
        return SimpleNamespace(penultimate_hidden_states=torch.zeros(1, 257, 1280))


@dataclass
class Recorder:
    """The core calls of a run: what was called, with what, and how much work it was."""

    calls: list[Callable[[], Any]] = field(default_factory=list)
    passes: int = 0
    encoded: int = 0
    decoded: int = 0


def run(job: Any) -> None:
    """Sample all windows."""
    for _ in job.run(Nobody()):
        pass


def record(models: SimpleNamespace, guidance: dict[str, Any], *, compute: bool = True) -> tuple[Recorder, CountingClip]:
    """Run once and keep every core call, to be made again; who only counts them needs no real answers."""
    import torch
    from infinitetalk.wanvideo.model.audio_patches import ATTACHMENT_KEY

    seen, clip = Recorder(), CountingClip()
    base, vae = models.model.model, models.vae
    apply_model, encode, decode = base.apply_model, vae.encode, vae.decode

    def seen_apply(x: Any, t: Any, **conditions: Any) -> Any:
        seen.passes += len(x)
        seen.calls.append(lambda: apply_model(x, t, **conditions))
        if compute:
            return apply_model(x, t, **conditions)
        report = conditions["transformer_options"][ATTACHMENT_KEY].report
        if report is not None:  # the sampler refuses a model whose blocks did not hear the audio
            report.calls.append(len(base.diffusion_model.blocks))
        return x * 0.5

    def seen_encode(pixels: Any) -> Any:
        seen.encoded += len(pixels)
        seen.calls.append(lambda: encode(pixels))
        frames, height, width, _ = pixels.shape
        return encode(pixels) if compute else torch.zeros(1, 16, (frames - 1) // 4 + 1, height // 8, width // 8)

    def seen_decode(latent: Any) -> Any:
        seen.decoded += (latent.shape[2] - 1) * 4 + 1
        seen.calls.append(lambda: decode(latent))
        _, _, times, height, width = latent.shape
        return decode(latent) if compute else torch.zeros(1, (times - 1) * 4 + 1, height * 8, width * 8, 3)

    base.apply_model, vae.encode, vae.decode = seen_apply, seen_encode, seen_decode
    try:
        run(make_job(models, clip, guidance))
    finally:
        del base.apply_model, vae.encode, vae.decode
    return seen, clip


def reference_work(passes: int) -> dict[str, float]:
    """What the authors' loop does for the same video: condition, motion frames and CLIP anew in every window."""
    windows = 1 + (FRAMES - WINDOW_FRAMES) // (WINDOW_FRAMES - MOTION_FRAMES)
    motion = 1 + (windows - 1) * MOTION_FRAMES
    return {
        "passes": passes * STEPS * windows,
        "encode": windows * WINDOW_FRAMES + motion,
        "decode": windows * WINDOW_FRAMES,
        "clip": windows,
    }


def counted_work(models: SimpleNamespace) -> dict[str, Any]:
    """(a): print the table of counted work; the figures per step and per second of video."""
    seconds = FRAMES / FPS
    passes_per_step, vae = {}, {}
    print(f"(a) Work per second of video ({WINDOW_FRAMES} / {MOTION_FRAMES} frames, {STEPS} steps); the authors' in ()")
    print(f"    {'settings':22} {'passes':>16} {'VAE encode':>18} {'VAE decode':>18} {'CLIP':>14}")
    for name, guidance in SETTINGS.items():
        seen, clip = record(models, guidance, compute=False)
        theirs = reference_work(2 if guidance["text_cfg"] == 1 else 3)
        steps = STEPS * len(make_job(models, clip, guidance).windows)
        passes_per_step[name] = seen.passes / steps
        vae = {"encode": seen.encoded / seconds, "decode": seen.decoded / seconds}
        ours = {"passes": seen.passes, "encode": seen.encoded, "decode": seen.decoded, "clip": clip.pictures}
        cells = [f"{ours[key] / seconds:8.1f} ({theirs[key] / seconds:.1f})" for key in ours]
        print(f"    {name:22} " + " ".join(f"{cell:>17}" for cell in cells))
    return {"passes_per_step": passes_per_step, "vae_frames_per_output_second": vae}


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def loop_over_core(models: SimpleNamespace, rounds: int) -> dict[str, float]:
    """(b): our loop and its bare core calls, taking turns."""
    seen, clip = record(models, SETTINGS["text 5, audio 4"])
    loops, bare = [], []

    def call_all() -> None:
        for call in seen.calls:
            call()

    for _ in range(rounds):
        loops.append(timed(lambda: run(make_job(models, clip, SETTINGS["text 5, audio 4"]))))
        bare.append(timed(call_all))
    ratios = [(ours[0] / core[0], ours[1] / core[1]) for ours, core in zip(loops, bare, strict=True)]
    wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
    seconds = [statistics.median(round_[0] for round_ in rounds_) for rounds_ in (loops, bare)]
    print(f"(b) Loop over bare core calls, median of {rounds} rounds: wall {wall:.3f}, CPU {cpu:.3f}")
    print(f"    loop {seconds[0]:.2f} s, calls {seconds[1]:.2f} s")
    return {"loop_over_core": wall, "loop_over_core_cpu": cpu}


def hook_share(models: SimpleNamespace) -> dict[str, float]:
    """(c): the audio hook as a share of the block that it works in."""
    from infinitetalk.wanvideo.model import audio_patches

    spent = {"hook": 0.0, "block": 0.0}
    depth = {"block": 0}
    patch, blocks = audio_patches.hear_audio, models.model.model.diffusion_model.blocks

    def timed_patch(args: dict[str, Any]) -> Any:
        start = time.perf_counter()
        try:
            return patch(args)
        finally:
            spent["hook"] += time.perf_counter() - start

    def enter(*_: Any) -> None:
        depth["start"] = time.perf_counter()

    def leave(*_: Any) -> None:
        spent["block"] += time.perf_counter() - depth["start"]

    handles = [
        h for block in blocks for h in (block.register_forward_pre_hook(enter), block.register_forward_hook(leave))
    ]
    audio_patches.hear_audio = timed_patch  # the name that `attach` looks up
    try:
        run(make_job(models, None, SETTINGS["text 1, audio 1"]))
    finally:
        audio_patches.hear_audio = patch
        for handle in handles:
            handle.remove()
    share = spent["hook"] / spent["block"]
    print(f"(c) Audio hook: {share:.1%} of a block's time")
    return {"hook_share_of_block": share}


def peak_bytes(work: Callable[[], Any]) -> int:
    """The most tensor memory that `work` holds at one moment beyond what it began with."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    # The public list of events adds the changes up per operation; the raw one has each of them with its time.
    changes = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(changes, key=lambda e: e.start_ns())))


def hook_memory(models: SimpleNamespace) -> dict[str, float]:
    """(c), memory: the peak of one model pass with the audio hook, over that of core's model alone."""
    from infinitetalk.wanvideo.model.audio_patches import AUDIO_TOKENS_KEY

    base, seen = models.model.model, []
    apply_model = base.apply_model

    def seen_apply(x: Any, t: Any, **conditions: Any) -> Any:
        seen.append((x, t, conditions))
        return apply_model(x, t, **conditions)

    base.apply_model = seen_apply
    try:
        run(make_job(models, None, SETTINGS["text 1, audio 1"]))
    finally:
        del base.apply_model
    x, t, conditions = seen[0]
    bare = {**conditions, "transformer_options": {}}
    del bare[AUDIO_TOKENS_KEY]
    with_hook, without = (peak_bytes(lambda c=c: apply_model(x, t, **c)) for c in (conditions, bare))
    print(f"    and {with_hook / without - 1:.1%} more memory ({with_hook / 1e6:.1f} over {without / 1e6:.1f} MB)")
    return {"hook_extra_memory": with_hook / without - 1}


def hook_flops_share() -> dict[str, dict[str, dict[str, float]]]:
    """(d): hooks over block with hooks, by size and number of voices, counted by PyTorch on the meta device."""
    from flops import GRIDS, block_flops

    shares: dict[str, dict[str, float]] = {}
    for size, grid in GRIDS.items():
        bare = block_flops(grid, 0)
        shares[size] = {str(voices): 1 - bare / block_flops(grid, voices) for voices in (1, 2)}
        print(f"(d) {size}: hooks are {shares[size]['1']:.1%} of a block's operations with one voice, ", end="")
        print(f"{shares[size]['2']:.1%} with two ({bare / 1e12:.1f} TF without)")
    return {"hook_flops_share": shares}


def main() -> None:
    """Answer all four and print the answers."""
    parser = support.arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    support.enter_environment()
    support.import_core()
    support.load_pack()
    import comfy.cli_args

    comfy.cli_args.args.use_pytorch_cross_attention = True  # as on GPUs
    import torch

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        models = load_models(Path(folder))
        print(f"{models.parameters / 1e6:.0f} M parameters, {FRAMES} frames of {WIDTH} × {HEIGHT}\n")
        run(make_job(models, None, SETTINGS["text 1, audio 1"]))  # first run: kernels and memory are made ready
        figures = counted_work(models)
        figures |= loop_over_core(models, options.rounds)
        figures |= hook_share(models)
        figures |= hook_memory(models)
        figures |= hook_flops_share()
    support.write_json(options.json, figures)


if __name__ == "__main__":
    main()
