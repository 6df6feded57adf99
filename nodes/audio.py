"""The nodes for sound: load a wav2vec model, load a sound file, make embeddings."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management as mm
import folder_paths
from comfy_api.latest import io

from ..audio.options import COMBINE, PRECISIONS
from ..errors import UserError
from ..timebase import exact_frame_rate
from .advanced import folds
from .checked import CheckedNode
from .feedback import progress_callback
from .folders import temp_folder
from .sockets import CATEGORY, InfiniteTalkAudio, Wav2Vec
from .validation import refusal
from .wav2vec_models import LOAD_DEVICES, NO_MODEL, find_model, load_for_core, model_choices, register_model_folder

if TYPE_CHECKING:
    from ..audio.embeds import AudioEmbeds
    from ..audio.wav2vec import Wav2VecEncoder

log = logging.getLogger(__name__)

__all__ = [
    "InfiniteTalkAudioEmbeds",
    "InfiniteTalkLoadAudio",
    "InfiniteTalkWav2VecLoader",
    "register_model_folder",
]


class InfiniteTalkWav2VecLoader(CheckedNode):
    """Loads the model that hears the speech."""

    LOOKED_UP = ("model",)

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
                    options=list(PRECISIONS),
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
    def validate_inputs(
        cls, model: str | None = None, base_precision: str | None = None, load_device: str | None = None
    ) -> bool | str:
        """Say before anything runs that the model is not there; a name from another node is not known yet."""
        known = partial(cls.check_inputs, model=model, base_precision=base_precision, load_device=load_device)
        return refusal((known,), (find_model, model))

    @classmethod
    def run(cls, model: str, base_precision: str, load_device: str) -> io.NodeOutput:
        """Load the model; its weights move when they are used."""
        return io.NodeOutput(load_for_core(find_model(model), base_precision, load_device))


class InfiniteTalkLoadAudio(CheckedNode):
    """Reads a sound file, or the sound of a video."""

    LOOKED_UP = ("audio",)

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
                io.Float.Output("seconds", display_name="seconds", tooltip="Duration of the sound in seconds."),
            ],
        )

    @classmethod
    def validate_inputs(cls, audio: str | None = None) -> bool | str:
        """Say before anything runs that the file is not there; a name from another node is not known yet."""
        return refusal((partial(cls.check_inputs, audio=audio),), (input_file, audio))

    @classmethod
    def fingerprint_inputs(cls, audio: str | None = None, **_: Any) -> str | float:
        """A changed file is read again, whatever its name and date.

        A name from another node is not known yet: it may be that of a changed file. A new NaN is never what was before
        (`math.nan` is one object, which core's cache finds to be itself).
        """
        from ..video_io.read.long_sound import content_digest

        return float("nan") if audio is None else content_digest(input_file(audio))

    @classmethod
    def run(cls, audio: str, start_time: float = 0.0, duration: float = 0.0) -> io.NodeOutput:
        """Decode the part that was asked for."""
        from ..audio.decode import decode_file

        sound = decode_file(
            input_file(audio),
            start_time,
            duration,
            folder=temp_folder(),
            on_block=mm.throw_exception_if_processing_interrupted,
        )
        return io.NodeOutput(sound.to_audio(), float(sound.seconds))


def _sounds_in_input() -> list[str]:
    """Sound and video files in the input folder, as core's Load Audio lists them."""
    folder = Path(folder_paths.get_input_directory())
    names = [p.name for p in folder.iterdir() if _lies_in(folder, p)] if folder.is_dir() else []
    return sorted(folder_paths.filter_files_content_types(names, ["audio", "video"]))


def _lies_in(folder: Path, path: Path) -> bool:
    """Whether a file is in the folder, and not a link to somewhere else."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a link to itself
        return False


def input_file(name: str) -> Path:
    """The file behind a name such as `talk.wav` or `talk.wav [output]`.

    Raises:
        UserError: it lies outside of that folder, or is not there.
    """
    plain, base = folder_paths.annotated_filepath(name)
    root = Path(base or folder_paths.get_input_directory()).resolve()
    path = root / plain
    try:
        inside = path.resolve().is_relative_to(root)
        found = inside and path.is_file()
    except (OSError, ValueError, RuntimeError):  # a name that the system cannot even look up, a link to itself
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


class InfiniteTalkAudioEmbeds(CheckedNode):
    """Turns speech into what moves the lips."""

    @classmethod
    @folds("fps", "max_frames")
    def define_schema(cls) -> io.Schema:
        """Ids, names and defaults are public: they never change."""
        more = [io.Audio.Input(f"audio_{i}", optional=True, tooltip=_voice_tooltip(i)) for i in (2, 3, 4)]
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
                io.Audio.Input(
                    "soundtrack",
                    optional=True,
                    tooltip="The sound for the file in place of the voices' mix: the song whose voice alone is "
                    "connected above, or the recording that was split into speakers.",
                ),
            ],
            outputs=[
                InfiniteTalkAudio.Output(
                    "embeds", display_name="audio_embeds", tooltip="For the InfiniteTalk Sampler."
                ),
                io.Audio.Output(
                    "mix", display_name="audio", tooltip="The sound for the file, at the sources' own quality."
                ),
                io.Int.Output("frames", display_name="frames", tooltip="Length of the video in frames."),
                io.Float.Output("frame_rate", display_name="fps", tooltip="Frames per second of the video."),
            ],
        )

    @classmethod
    def validate_inputs(cls, combine: str | None = None) -> bool | str:
        """Refuse another way to combine than those of the list, before anything runs."""
        return refusal((partial(cls.check_inputs, combine=combine),))

    @classmethod
    def run(
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
        soundtrack: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """Encode all voices that are connected."""
        from ..audio.audio_clip import AudioClip
        from ..audio.embeds import embed_voices
        from ..audio.soundtrack import with_soundtrack

        inputs = {f"audio_{i}": a for i, a in enumerate((audio_1, audio_2, audio_3, audio_4), 1) if a is not None}
        voices = [AudioClip.from_audio(a, name) for name, a in inputs.items()]
        embeds = embed_voices(
            wav2vec,
            voices,
            combine=combine,
            normalize_loudness=normalize_loudness,
            frame_rate=exact_frame_rate(fps),
            max_frames=max_frames,
            progress=progress_callback(),
            folder=temp_folder(),
        )
        notes = [note for voice in voices for note in voice.notes] + _same_voices(embeds, list(inputs))
        if soundtrack is not None:
            clip = AudioClip.from_audio(soundtrack, "soundtrack")
            embeds, misfits = with_soundtrack(embeds, clip, temp_folder())
            notes += [*clip.notes, *misfits]
        facts = _embeds_facts(embeds, notes)
        return io.NodeOutput(embeds, embeds.sound, embeds.frames, embeds.fps, ui={"text": [facts]})


def _same_voices(embeds: AudioEmbeds, inputs: list[str]) -> list[str]:
    """What to say of one sound as two voices: a node that has split a recording may be bypassed."""
    if embeds.same_voices is None:
        return []
    one, other = (inputs[number - 1] for number in embeds.same_voices)
    return [
        f"{one} and {other} are the same sound, so both speakers say all of it: connect a voice for each (Split "
        "Speakers makes them of one recording, unless it is bypassed)."
    ]


def _embeds_facts(embeds: AudioEmbeds, notes: list[str]) -> str:
    """What web/report.js shows on the node: what is wrong (logged here), the log's line, and what that means."""
    for note in notes:
        log.warning("%s", note)
    speakers = "1 speaker" if embeds.speakers == 1 else f"{embeds.speakers} speakers"
    facts = f"{float(embeds.frames / embeds.frame_rate):.2f} s, {embeds.fps:g} fps, {speakers}"
    warnings = [f"WARNING: {note}" for note in notes]
    return "\n".join([*warnings, f"Audio embeds created, actual frames: {embeds.frames}", facts])


def _voice_tooltip(voice: int) -> str:
    """What the inputs beside the first voice say."""
    text = f"The voice of speaker {voice}, if there is one."
    if voice <= 2:
        return text
    return f"{text} InfiniteTalk is trained on two: no more than two may be heard at the same time."
