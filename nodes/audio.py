"""The nodes for sound: load a wav2vec model, load a sound file, make embeddings."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ..audio.decode import decode_file
from ..audio.embeds import COMBINE, MAX_VOICES, embed_voices
from ..audio.sound import Sound
from ..audio.wav2vec import Wav2VecEncoder, load_encoder
from ..errors import UserError
from .types import CATEGORY, InfiniteTalkAudio, Wav2Vec

log = logging.getLogger(__name__)

MODEL_FOLDERS = ("wav2vec2", "audio_encoders")
MODEL_SUFFIXES = {".safetensors", ".sft", ".bin", ".pt", ".pth"}
LOAD_DEVICES = ("main_device", "offload_device", "cpu")
NO_MODEL = "(no wav2vec2 model found)"
WHERE_TO_PUT = (
    "put chinese-wav2vec2-base (model.safetensors of TencentGameMate/chinese-wav2vec2-base, or "
    "wav2vec2-chinese-base_fp16.safetensors) into ComfyUI/models/audio_encoders and reload the page"
)


def register_model_folder() -> None:
    """Make `models/wav2vec2` known to ComfyUI, beside whatever else knows it already."""
    folder_paths.add_model_folder_path("wav2vec2", str(Path(folder_paths.models_dir) / "wav2vec2"))
    paths, suffixes = folder_paths.folder_names_and_paths["wav2vec2"]
    folder_paths.folder_names_and_paths["wav2vec2"] = (paths, {*suffixes, *MODEL_SUFFIXES})


def model_choices() -> dict[str, Path]:
    """What the loader offers: name → file, or folder with a config.json; names are paths inside the model folders."""
    choices: dict[str, Path] = {}
    for kind in MODEL_FOLDERS:
        for root in folder_paths.get_folder_paths(kind) if kind in folder_paths.folder_names_and_paths else []:
            for path in _models_below(Path(root)):
                choices.setdefault(path.relative_to(root).as_posix(), path)
    return choices


def _models_below(root: Path) -> Iterator[Path]:
    """Model files and model folders; a folder stands for the files in it."""
    for folder, subfolders, files in os.walk(root, followlinks=True):
        if "config.json" in files and Path(folder) != root:
            subfolders.clear()
            yield Path(folder)
            continue
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        yield from (Path(folder, f) for f in sorted(files) if Path(f).suffix.lower() in MODEL_SUFFIXES)


def find_model(name: str) -> Path:
    """The file or folder behind a choice; `UserError` if there is none (the server does not check choices)."""
    choices = model_choices()
    # A graph saved on Windows has its separators the other way.
    path = choices.get(name) or choices.get(name.replace("\\", "/"))
    if path is not None:
        return path
    if not choices:
        raise UserError(f"There is no wav2vec2 model: {WHERE_TO_PUT}.")
    raise UserError(
        f"The wav2vec2 model {name} is not in {' or '.join(f'models/{f}' for f in MODEL_FOLDERS)}: choose one of "
        f"{', '.join(list(choices)[:5])}, or {WHERE_TO_PUT}."
    )


def load_for_core(path: Path, precision: str, load_device: str) -> Wav2VecEncoder:
    """Load a wav2vec model and hand it to core's memory management."""
    import comfy.model_management as mm
    import comfy.model_patcher
    import comfy.ops

    if load_device not in LOAD_DEVICES:
        raise UserError(f"load_device is {load_device}, and one of {', '.join(LOAD_DEVICES)} is needed.")
    cpu = torch.device("cpu")
    device = cpu if load_device == "cpu" else mm.get_torch_device()
    encoder = load_encoder(path, precision, ops=comfy.ops.disable_weight_init, cpu=mm.is_device_cpu(device))
    rest = cpu if load_device == "cpu" else mm.unet_offload_device()
    patcher = comfy.model_patcher.ModelPatcher(encoder.model, load_device=device, offload_device=rest)

    @contextmanager
    def on_device() -> Iterator[torch.device]:
        mm.load_models_gpu([patcher])
        try:
            yield device
        finally:
            if load_device == "offload_device":
                _unload(patcher)

    encoder.on_device = on_device
    return encoder


def _unload(patcher: Any) -> None:
    """Take one model off its device and out of core's list."""
    import comfy.model_management as mm

    for loaded in [m for m in mm.current_loaded_models if m.model is patcher]:
        loaded.model_unload()
        mm.current_loaded_models.remove(loaded)
    mm.soft_empty_cache()


class InfiniteTalkWav2VecLoader(io.ComfyNode):
    """Loads the model that hears the speech."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Ids, names and defaults are public: they never change."""
        return io.Schema(
            node_id="InfiniteTalkWav2VecLoader",
            display_name="Load Wav2Vec",
            category=CATEGORY,
            description="Loads a wav2vec2-base model: InfiniteTalk was trained on chinese-wav2vec2-base.",
            inputs=[
                io.Combo.Input(
                    "model",
                    options=list(model_choices()) or [NO_MODEL],
                    tooltip="A file or a Hugging Face folder in models/wav2vec2 or models/audio_encoders. "
                    "InfiniteTalk was trained on chinese-wav2vec2-base.",
                ),
                io.Combo.Input(
                    "base_precision",
                    options=["fp16", "bf16", "fp32"],
                    default="fp16",
                    tooltip="What the model computes in. fp16 is exact enough; on a CPU it is computed in fp32.",
                ),
                io.Combo.Input(
                    "load_device",
                    options=list(LOAD_DEVICES),
                    default="main_device",
                    tooltip="main_device: stays on the GPU while there is room. offload_device: visits the GPU for the "
                    "work and leaves at once. cpu: never uses the GPU.",
                ),
            ],
            outputs=[Wav2Vec.Output("wav2vec_model", display_name="wav2vec", tooltip="For Audio Embeds.")],
        )

    @classmethod
    def validate_inputs(cls, model: str = "") -> bool | str:
        """Say before anything runs that the model is not there."""
        try:
            find_model(model)
        except UserError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, model: str, base_precision: str, load_device: str) -> io.NodeOutput:
        """Load the model; its weights move when they are used."""
        return io.NodeOutput(load_for_core(find_model(model), base_precision, load_device))


class InfiniteTalkLoadAudio(io.ComfyNode):
    """Reads a sound file, or the sound of a video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Ids, names and defaults are public: they never change."""
        return io.Schema(
            node_id="InfiniteTalkLoadAudio",
            display_name="Load Audio File",
            category=CATEGORY,
            description="Reads any sound file, or the sound of a video, at its own rate and with all of its channels.",
            inputs=[
                io.Combo.Input(
                    "audio",
                    options=_sounds_in_input(),
                    upload=io.UploadType.audio,
                    tooltip="A sound file or a video with sound in ComfyUI's input folder.",
                ),
                io.Float.Input(
                    "start_time",
                    default=0.0,
                    min=0.0,
                    max=1_000_000.0,
                    step=0.001,
                    tooltip="Where to begin, in seconds; exact to the sample.",
                ),
                io.Float.Input(
                    "duration",
                    default=0.0,
                    min=0.0,
                    max=1_000_000.0,
                    step=0.001,
                    tooltip="How much to take, in seconds; 0 takes all of the rest.",
                ),
            ],
            outputs=[
                io.Audio.Output("sound", display_name="audio", tooltip="The sound at its own rate and channels."),
                io.Float.Output("seconds", tooltip="Duration of the sound in seconds."),
            ],
        )

    @classmethod
    def validate_inputs(cls, audio: str = "") -> bool | str:
        """Say before anything runs that the file is not there."""
        try:
            input_file(audio)
        except UserError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, audio: str = "", **_: Any) -> str:
        """A changed file is read again, whatever its name and date."""
        digest = hashlib.sha256()
        with input_file(audio).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()

    @classmethod
    def execute(cls, audio: str, start_time: float = 0.0, duration: float = 0.0) -> io.NodeOutput:
        """Decode the part that was asked for."""
        import comfy.model_management as mm

        sound = decode_file(
            input_file(audio),
            start_time,
            duration,
            folder=_temp_folder(),
            on_block=mm.throw_exception_if_processing_interrupted,
        )
        return io.NodeOutput(sound.to_audio(), float(sound.seconds))


def _sounds_in_input() -> list[str]:
    """Sound and video files in the input folder, as core's Load Audio lists them."""
    folder = Path(folder_paths.get_input_directory())
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    return sorted(folder_paths.filter_files_content_types(names, ["audio", "video"]))


def input_file(name: str) -> Path:
    """The file behind a name such as `talk.wav` or `talk.wav [output]`, which must lie inside that folder."""
    plain, base = folder_paths.annotated_filepath(name)
    root = Path(base or folder_paths.get_input_directory()).resolve()
    path = root / plain
    try:
        inside = path.resolve().is_relative_to(root)
        found = inside and path.is_file()
    except (OSError, ValueError):  # a name that the system cannot even look up
        inside, found = True, False
    if not inside:
        raise UserError(
            f"{name} lies outside ComfyUI's {root.name} folder: put the file there and choose it by its name."
        )
    if not found:
        raise UserError(
            f"The sound file {name!r} is not in ComfyUI's {root.name} folder: upload it or choose another one."
        )
    return path


def _temp_folder() -> Path:
    """ComfyUI's temporary folder, for sounds and embeddings that are too long for memory."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class InfiniteTalkAudioEmbeds(io.ComfyNode):
    """Turns speech into what moves the lips."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Ids, names and defaults are public: they never change."""
        more = [
            io.Audio.Input(f"audio_{i}", optional=True, tooltip=_voice_tooltip(i)) for i in range(2, MAX_VOICES + 1)
        ]
        return io.Schema(
            node_id="InfiniteTalkAudioEmbeds",
            display_name="Audio Embeds",
            category=CATEGORY,
            description="Turns one to four voices into an embedding per video frame, and mixes the sound for the file.",
            inputs=[
                Wav2Vec.Input("wav2vec", tooltip="From Load Wav2Vec."),
                io.Audio.Input("audio_1", tooltip="The voice of the first or only speaker."),
                *more,
                io.Combo.Input(
                    "combine",
                    options=list(COMBINE),
                    default="parallel",
                    tooltip="parallel: all voices start together. sequential: one after the other.",
                ),
                io.Boolean.Input(
                    "normalize_loudness",
                    default=True,
                    tooltip="Bring each voice to -23 LUFS before it is encoded, as in training. The sound of the video "
                    "keeps its level.",
                ),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=1.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Frames per second of the video. InfiniteTalk was trained on 25.",
                ),
                io.Int.Input(
                    "max_frames",
                    default=0,
                    min=0,
                    max=10_000_000,
                    tooltip="Longest video in frames; 0 takes all of the audio.",
                ),
            ],
            outputs=[
                InfiniteTalkAudio.Output(
                    "embeds", display_name="audio_embeds", tooltip="For the InfiniteTalk Sampler."
                ),
                io.Audio.Output(
                    "mix", display_name="audio", tooltip="The sound for the file, at the sources' own quality."
                ),
                io.Int.Output("frames", tooltip="Length of the video in frames."),
                io.Float.Output("frame_rate", display_name="fps", tooltip="Frames per second of the video."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        wav2vec: Wav2VecEncoder,
        audio_1: dict[str, Any],
        audio_2: dict[str, Any] | None = None,
        audio_3: dict[str, Any] | None = None,
        audio_4: dict[str, Any] | None = None,
        combine: str = "parallel",
        normalize_loudness: bool = True,
        fps: float = 25.0,
        max_frames: int = 0,
    ) -> io.NodeOutput:
        """Encode all voices that are connected."""
        if not isinstance(wav2vec, Wav2VecEncoder):
            raise UserError(f"wav2vec is {type(wav2vec).__name__}: connect the output of Load Wav2Vec.")
        inputs = {f"audio_{i}": a for i, a in enumerate((audio_1, audio_2, audio_3, audio_4), 1) if a is not None}
        embeds = embed_voices(
            wav2vec,
            [Sound.from_audio(a, name) for name, a in inputs.items()],
            combine=combine,
            normalize_loudness=normalize_loudness,
            fps=fps,
            max_frames=max_frames,
            progress=_progress(),
            folder=_temp_folder(),
        )
        _say_on_node(cls.hidden.unique_id, f"Audio embeds created, actual frames: {embeds.frames}")
        return io.NodeOutput(embeds, embeds.sound, embeds.frames, embeds.fps)


def _voice_tooltip(voice: int) -> str:
    """What the inputs beside the first voice say."""
    text = f"The voice of speaker {voice}, if there is one."
    if voice <= 2:
        return text
    return f"{text} InfiniteTalk is trained on two: no more than two may be heard at the same time."


def _progress() -> Any:
    """Core's progress bar as a callback that also lets an interrupt through."""
    import comfy.model_management as mm
    import comfy.utils

    bar = comfy.utils.ProgressBar(1)

    def report(done: int, total: int) -> None:
        mm.throw_exception_if_processing_interrupted()
        bar.update_absolute(done, total)

    return report


def _say_on_node(node_id: str | None, text: str) -> None:
    """Show a line of text on the node in the graph editor."""
    from server import PromptServer

    if node_id is not None and getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.send_progress_text(text, node_id)


AUDIO_NODES: list[type[io.ComfyNode]] = [InfiniteTalkWav2VecLoader, InfiniteTalkLoadAudio, InfiniteTalkAudioEmbeds]
