"""What only a GPU shows, in the real sizes (14B, 480p and 720p), with random weights.

    python benchmarks/gpu.py [--tiny] [--only CHECK ...] [--json FILE]

Run it with the Python of a ComfyUI that has a GPU and with COMFYUI_PATH set to its folder; it takes up to 8 minutes and
60 GB of GPU memory. Without a GPU, or with --tiny, small models go through the same checks in the environment that
`python tests/run.py` makes: their times say nothing, and their ratios are not judged.

Each check prints one line: PASS or FAIL, and its figures. No video is looked at: what is asked is whether bits are the
same, memory is bounded, the GPU never waits for the CPU inside of a block, and what the audio costs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import support

CHECKS = (
    "block", "fingerprint", "windows", "batching", "wav2vec", "compile", "regimes", "dubbing", "fp8", "partial", "720p",
    "saving", "loaders",
)  # fmt: skip
ONE_VOICE_LIMIT, TWO_VOICES_LIMIT, MEMORY_LIMIT = 1.10, 1.13, 1.15
STEP_LIMIT_SECONDS = 6
FINGERPRINT_LIMIT_SECONDS = 2
BLOCK_ROUNDS = 9
LONG_SOUND_SECONDS = 400
COMPILED_BLOCKS = LOADED_BLOCKS = 6
"""Of the 40: compiling one costs as long as compiling all, and waiting for the others says nothing."""
PARTIAL_GIB = 14
"""Left of the GPU's memory for a model of 30 GiB."""


class Report:
    """Prints a line for every check and keeps the figures."""

    def __init__(self) -> None:
        self.results: dict[str, dict[str, Any]] = {}
        self._start = time.perf_counter()

    def add(self, name: str, ok: bool, **figures: Any) -> None:
        """One check is done."""
        self.results[name] = {"ok": bool(ok), **figures}
        shown = ", ".join(f"{key} {value}" for key, value in figures.items())
        seconds = time.perf_counter() - self._start
        print(f"{seconds:6.1f} s  {'PASS' if ok else 'FAIL'}  {name}: {shown}", flush=True)

    @contextlib.contextmanager
    def faults(self, name: str) -> Iterator[None]:
        """An error in a check is a result of it; the other checks go on."""
        try:
            yield
        except Exception as error:
            self.add(name, False, error=f"{type(error).__name__}: {str(error)[:300]}")


class Checks:
    """All checks on one set of models."""

    def __init__(self, report: Report, *, tiny: bool) -> None:
        import full_size

        self.full_size = full_size
        self.report = report
        self.tiny = tiny
        self.sizes = full_size.TINY if tiny else full_size.FULL
        self.models = self.make_models()

    def make_models(self, blocks: int | None = None, dtype: Any = None) -> Any:
        """Base, InfiniteTalk and VAE."""
        make = self.full_size
        base = make.base_model(self.sizes, dtype, blocks)
        return make.Models(self.sizes, base, make.infinitetalk_weights(self.sizes, blocks), make.vae(self.sizes))

    def block(self) -> None:
        """Time and memory of a transformer block with the hooks, over the bare one; does the CPU ever wait?"""
        from flops import GRIDS
        from one_block import measure

        grids = {"tiny": (4, 4)} if self.tiny else GRIDS
        for name, grid in grids.items():
            bare, one, two = (measure(self.models, grid, voices, BLOCK_ROUNDS) for voices in (0, 1, 2))
            ratios = one.seconds / bare.seconds, two.seconds / bare.seconds
            memory = two.gib <= bare.gib * MEMORY_LIMIT
            ok = ratios[0] < ONE_VOICE_LIMIT and ratios[1] < TWO_VOICES_LIMIT and memory
            self.report.add(
                f"block {name}", ok or self.tiny, base_ms=round(bare.seconds * 1e3, 1), voice=round(ratios[0], 3),
                two_voices=round(ratios[1], 3), peak_gib=[round(found.gib, 2) for found in (bare, one, two)],
            )  # fmt: skip
            waits = one.waits, two.waits
            self.report.add(f"no sync in block {name}", waits == (None, None), one=waits[0], two=waits[1])

    def fingerprint(self) -> None:
        """How long it takes to tell the loaded weights, and whether the answer is the same again."""
        import comfy.model_management
        from infinitetalk.wanvideo.resume.digest import Digester

        parts = [self.models.base, self.models.infinitetalk]
        comfy.model_management.load_models_gpu(parts)
        start = time.perf_counter()
        digest = Digester().digest(parts)
        seconds = time.perf_counter() - start
        ok = seconds < FINGERPRINT_LIMIT_SECONDS and digest == Digester().digest(parts)
        self.report.add("fingerprint of loaded weights", ok, seconds=round(seconds, 2))

    def windows(self) -> None:
        """Two windows with one pass: times, peak, and the same bits in a second run."""
        self.full_size.reset_peak()
        frames, watch = self.full_size.run(self.models.job(windows=2))
        step = watch.step_seconds(1)
        second = [moment for window, moment in watch.steps if window == 1]
        self.report.add(
            "two windows, 1 pass", bool(frames.isfinite().all()) and (self.tiny or step < STEP_LIMIT_SECONDS),
            step_s=round(step, 2), encode_s=_rounded(watch.vae["encode"]), decode_s=_rounded(watch.vae["decode"]),
            between_windows_s=round(second[0] - watch.windows[0] - step, 2),
            peak_gib=round(self.full_size.peak_gib(), 1),
        )  # fmt: skip
        again, _ = self.full_size.run(self.models.job(windows=2))
        self.report.add("the same again to the bit", bool(frames.equal(again)))

    def batching(self) -> None:
        """Three passes with all of the memory and with hardly any."""
        import comfy.model_management as memory

        job = {"steps": 1, "text_cfg": 5.0, "audio_cfg": 4.0}
        batches: list[int] = []
        model = self.models.base.model.diffusion_model
        hook = model.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
        frames, _ = self.full_size.run(self.models.job(**job))
        free, load, little = memory.get_free_memory, memory.load_models_gpu, 1 if self.tiny else 2**30

        def scarce(_: Any = None, torch_free_too: bool = False) -> Any:
            return (little, little) if torch_free_too else little

        memory.get_free_memory = scarce
        memory.load_models_gpu = lambda *_, **__: None  # only the batching may believe it
        try:
            again, _ = self.full_size.run(self.models.job(**job))
        finally:
            memory.get_free_memory, memory.load_models_gpu = free, load
            hook.remove()
        self.report.add(
            "bits do not depend on free memory", frames.equal(again) and set(batches) == {1},
            calls=len(batches), max_diff=float((frames - again).abs().max()),
        )  # fmt: skip

    def wav2vec(self) -> None:
        """A sound beyond five minutes, embedded twice."""
        import torch
        from infinitetalk.audio.layer_sweep import Reach
        from infinitetalk.audio.wav2vec import Wav2VecEncoder
        from infinitetalk.audio.wav2vec_model import Wav2VecConfig, Wav2VecModel

        dtype, where = self.full_size.compute_dtype(), self.full_size.device()
        config = Wav2VecConfig(
            768, 12, 12, 3072, (512,) * 7, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), False, True, False, 128, 16
        )
        model = self.full_size.randomized(Wav2VecModel(config, torch.nn).to(where, dtype))
        encoder = Wav2VecEncoder(model, dtype)
        seconds = 12 if self.tiny else LONG_SOUND_SECONDS
        if self.tiny:
            encoder.reach = Reach(near_frames=100, piece_frames=25, groups=64)
        wave = torch.randn(16_000 * seconds, generator=torch.Generator().manual_seed(3)) * 0.1
        start = time.perf_counter()
        first = encoder.encode(wave, seconds * 25).clone()
        taken = time.perf_counter() - start
        second = encoder.encode(wave, seconds * 25)
        differ = int((first != second).flatten(1).any(1).sum())
        name = "embeddings of a long sound are the same twice"
        self.report.add(name, differ == 0 and first.isfinite().all(), seconds=round(taken, 1), rows_differ=differ)

    def compile(self) -> None:
        """Blocks compiled by core's wrapper, over jobs that change voices and scale."""
        import comfy.model_management
        from comfy_api.torch_helpers import set_torch_compile_wrapper
        from torch._dynamo.utils import counters

        comfy.model_management.unload_all_models()
        plain = self.make_models(3 if self.tiny else COMPILED_BLOCKS)
        compiled = dataclasses.replace(plain, base=plain.base.clone())
        blocks = range(len(plain.base.model.diffusion_model.blocks))
        backend, keys = "eager" if self.tiny else "inductor", [f"diffusion_model.blocks.{k}" for k in blocks]
        set_torch_compile_wrapper(compiled.base, backend=backend, keys=keys)
        for voices, scale in ((1, 1.0), (1, 0.3), (2, 1.0)):

            def frames(models: Any, scale: float, voices: int = voices) -> Any:
                job = models.job(voices=voices, steps=1, audio_scale=scale)
                return self.full_size.run(job)[0]

            ours, theirs, deaf = frames(plain, scale), frames(compiled, scale), frames(plain, 0.0)
            heard, difference = (float((ours - other).abs().mean()) for other in (deaf, theirs))
            # inductor rounds at other places than eager kernels do: in half precision that is a share of the audio
            self.report.add(
                f"compiled blocks, {voices} voices, scale {scale}", difference < 0.25 * heard,
                audio_changes=heard, mean_diff=difference, graphs=counters["stats"]["unique_graphs"],
            )  # fmt: skip

    def regimes(self) -> None:
        """One window in each of the usual settings, cut to two steps."""
        for name, guidance in {
            "full quality, 3 passes": {"text_cfg": 5.0, "audio_cfg": 4.0},
            "FusionX, 2 passes": {"text_cfg": 1.0, "audio_cfg": 2.0},
            "lightx2v, 1 pass": {},
        }.items():
            self.full_size.reset_peak()
            frames, watch = self.full_size.run(self.models.job(**guidance))
            peak = round(self.full_size.peak_gib(), 1)
            step = round(watch.step_seconds(0), 2)
            self.report.add(f"window of {name}", bool(frames.isfinite().all()), step_s=step, peak_gib=peak)

    def dubbing(self) -> None:
        """Two windows of a source video that may change in a quarter of the picture: all else keeps its bits."""
        import torch

        job = self.models.job(windows=2, is_dubbing=True, denoise=0.6)
        height, width = job.pictures.size
        mask = torch.zeros(1, height, width)
        mask[:, height // 2 :, : width // 2] = 1
        job = dataclasses.replace(job, edit_mask=mask)
        self.full_size.reset_peak()
        frames, watch = self.full_size.run(job)
        source = torch.stack([job.pictures.at(frame)[0] for frame in range(len(frames))])
        kept = frames[:, : height // 4].equal(source[:, : height // 4])
        changed = float((frames - source)[:, height // 2 :, : width // 2].abs().mean())
        self.report.add(
            "two windows of a dubbed video", kept and changed > 0 and bool(frames.isfinite().all()),
            step_s=round(watch.step_seconds(1), 2), encode_s=_rounded(watch.vae["encode"]),
            decode_s=_rounded(watch.vae["decode"]), peak_gib=round(self.full_size.peak_gib(), 1),
        )  # fmt: skip

    def fp8(self) -> None:
        """A base model whose weights are fp8."""
        import torch

        fp8 = self.make_models(dtype=torch.float8_e4m3fn)
        self.full_size.reset_peak()
        frames, watch = self.full_size.run(fp8.job())
        step, peak = round(watch.step_seconds(0), 2), round(self.full_size.peak_gib(), 1)
        self.report.add("fp8 base", bool(frames.isfinite().all()), step_s=step, peak_gib=peak)

    def partial(self) -> None:
        """The model on a GPU that other programs have nearly filled, and the same bits."""
        import comfy.model_management
        import torch

        whole, _ = self.full_size.run(self.models.job())
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()
        ballast = None
        if torch.cuda.is_available() and not self.tiny:
            free, _ = torch.cuda.mem_get_info()
            ballast = torch.empty(max(0, free - PARTIAL_GIB * 2**30), dtype=torch.uint8, device="cuda")
        frames, watch = self.full_size.run(self.models.job())
        loaded = self.models.base.loaded_size() / max(1, self.models.base.model_size())
        del ballast
        self.report.add(
            "partial load", frames.equal(whole), loaded_share=round(loaded, 2), step_s=round(watch.step_seconds(0), 2)
        )

    def two_voices_720p(self) -> None:
        """Two voices in one window of 720p."""
        self.full_size.reset_peak()
        size = None if self.tiny else (720, 1280)
        frames, watch = self.full_size.run(self.models.job(voices=2, size=size))
        self.report.add(
            "two voices at 720p", bool(frames.isfinite().all()), step_s=round(watch.step_seconds(0), 2),
            encode_s=_rounded(watch.vae["encode"]), decode_s=_rounded(watch.vae["decode"]),
            peak_gib=round(self.full_size.peak_gib(), 1),
        )  # fmt: skip

    def saving(self) -> None:
        """A step alone, and beside a file that is being saved."""
        import torch
        from infinitetalk.video_io.read.image_frames import ImageFrames
        from infinitetalk.video_io.save import file_name, formats, writer

        _, alone = self.full_size.run(self.models.job(steps=3))
        source = ImageFrames(torch.rand(50, self.sizes.height, self.sizes.width, 3), Fraction(25))
        settings = writer.SaveSettings(formats.format_named("mp4 h264"))
        stop, saved = threading.Event(), []

        def save_again_and_again() -> None:
            with tempfile.TemporaryDirectory() as folder:
                while not stop.is_set():
                    goal = file_name.make_target("video", Path(folder), ".mp4")
                    saved.append(writer.save_video(source, None, goal, settings).path)

        beside_it = threading.Thread(target=save_again_and_again)
        beside_it.start()
        try:
            _, beside = self.full_size.run(self.models.job(steps=3))
        finally:
            stop.set()
            beside_it.join()
        slower = beside.step_seconds(0) / alone.step_seconds(0)
        self.report.add("saving beside sampling", bool(saved), step_over_alone=round(slower, 3), files=len(saved))

    def loaders(self) -> None:
        """Models from files, by core's loader and ours, in the memory management that core's own start would choose.

        It is the last check: there is no way back to unpaged weights.
        """
        import comfy.model_management

        comfy.model_management.unload_all_models()
        made = self.make_models(3 if self.tiny else LOADED_BLOCKS)
        wanted = [self.full_size.run(made.job(windows=2, voices=voices))[0] for voices in (1, 2)]
        comfy.model_management.unload_all_models()
        is_paged = self.full_size.page_weights_as_core_does()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps what is mapped
            loaded = made.saved_and_loaded(Path(folder))
            self.full_size.reset_peak()
            found = [self.full_size.run(loaded.job(windows=2, voices=voices)) for voices in (1, 2)]
        self.report.add(
            "models from files", all(frames.equal(other) for (frames, _), other in zip(found, wanted, strict=True)),
            dynamic_vram=is_paged, patcher=type(loaded.infinitetalk).__name__,
            step_s=[round(watch.step_seconds(1), 2) for _, watch in found],
            peak_gib=round(self.full_size.peak_gib(), 1),
        )  # fmt: skip

    def run(self, chosen: list[str]) -> None:
        """The chosen checks, in the order in which they stand here."""
        methods: dict[str, Callable[[], None]] = {name: getattr(self, _method(name)) for name in CHECKS}
        for name in CHECKS:
            if name in chosen:
                with self.report.faults(name):
                    methods[name]()


def _method(check: str) -> str:
    return {"720p": "two_voices_720p"}.get(check, check)


def _rounded(seconds: list[float]) -> list[float]:
    return [round(one, 2) for one in seconds]


def start_pager() -> None:
    """Newer cores' library that pages weights is started before their modules are imported, as their `main.py` does."""
    if importlib.util.find_spec("comfy.memory_management") and importlib.util.find_spec("comfy_aimdo"):
        importlib.import_module("comfy_aimdo.control").init()


def has_gpu_here() -> bool:
    """Whether this very interpreter can do it: PyTorch with a GPU, and ComfyUI named by the environment."""
    if not os.environ.get("COMFYUI_PATH") or importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def main() -> int:
    """Run the checks; 0 if all passed."""
    parser = support.arguments(__doc__)
    parser.add_argument("--tiny", action="store_true", help="small models, to test the checks themselves")
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS), metavar="CHECK")
    options = parser.parse_args()
    is_gpu = has_gpu_here()
    if not is_gpu:
        support.enter_environment()
        print("No GPU here: small models go through the same checks.")
    with tempfile.TemporaryDirectory() as base:
        support.import_core(Path(base), cpu=not is_gpu)
        if is_gpu:
            start_pager()
        support.load_pack()
        import comfy.cli_args

        # As on GPUs; the attention that core takes for a CPU cuts its work by the free memory.
        comfy.cli_args.args.use_pytorch_cross_attention = True
        import comfy.utils
        import torch

        comfy.utils.PROGRESS_BAR_ENABLED = False
        report = Report()
        card = torch.cuda.get_device_name() if is_gpu else "CPU"
        with torch.inference_mode():
            checks = Checks(report, tiny=options.tiny or not is_gpu)
            print(f"{card}, torch {torch.__version__}")
            checks.run(options.only)
    support.write_json(options.json, {"card": card, "torch": torch.__version__, "checks": report.results})
    return 0 if all(result["ok"] for result in report.results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
