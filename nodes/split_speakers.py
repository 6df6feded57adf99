"""Split Speakers: one recording of several people becomes a voice for each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..audio.segments import EXAMPLE, parse_segments
from ..errors import UserError
from .checked import CheckedNode
from .folders import temp_folder
from .sockets import CATEGORY
from .takers import is_taken
from .validation import refusal

if TYPE_CHECKING:
    from ..audio.split import Part

OUTPUTS = 4


class InfiniteTalkSplitSpeakers(CheckedNode):
    """Thin over `audio.segments` (who speaks when) and `audio.split` (the sounds)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs; ids are public for ever."""
        return io.Schema(
            node_id="InfiniteTalkSplitSpeakers",
            display_name="Split Speakers",
            category=CATEGORY,
            description="Splits one recording of several people into a voice for each, by a text that says who speaks "
            "when.",
            inputs=[
                io.Audio.Input("audio", tooltip="The recording: an interview, a podcast, a film's dialogue."),
                io.String.Input(
                    "segments",
                    default=EXAMPLE,
                    multiline=True,
                    tooltip="Who speaks when: the text of an RTTM, SRT or VTT file with names, or a line "
                    "start end name for each, in seconds or m:ss.",
                ),
                io.String.Input(
                    "speakers",
                    default="",
                    tooltip="Names in the order of the outputs, between commas; who is not named is left out. Empty: "
                    "all, by their first words.",
                ),
            ],
            outputs=[
                *(
                    io.Audio.Output(
                        f"voice_{number}",
                        display_name=f"audio_{number}",
                        tooltip=f"Speaker {number}: as long as the recording, silent where the others speak.",
                    )
                    for number in range(1, OUTPUTS + 1)
                ),
                io.String.Output(
                    "who", display_name="who", tooltip="Who is on which output, and how long each speaks."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    def validate_inputs(cls, segments: str | None = None, speakers: str | None = None) -> bool | str:
        """Refuse a text that cannot be read, before anything runs."""
        from ..audio.split import choose_speakers

        known = partial(cls.check_inputs, segments=segments, speakers=speakers)
        return refusal((known,), (lambda text, names: choose_speakers(parse_segments(text), names), segments, speakers))

    @classmethod
    def run(cls, audio: dict[str, Any], segments: str, speakers: str = "") -> io.NodeOutput:
        """Split the recording; an output without a speaker that is taken is refused.

        Where a loop has put the node into the graph, it stops who takes it: that is only seen by who listens.
        """
        from ..audio.audio_clip import AudioClip
        from ..audio.split import choose_speakers, split_speakers

        recording = AudioClip.from_audio(audio, "audio")
        recording.check_finite("audio")
        found = parse_segments(segments)
        names = choose_speakers(found, speakers)
        nobody = range(len(names) + 1, OUTPUTS + 1)
        for number in nobody:
            if is_taken(cls.hidden.prompt or {}, cls.hidden.unique_id, number - 1):
                raise UserError(_nobody(number, names))
        parts = split_speakers(recording, found, names, temp_folder())
        who = "\n".join(_facts(number, part) for number, part in enumerate(parts, 1))
        empty = [ExecutionBlocker(_nobody(number, names)) for number in nobody]
        return io.NodeOutput(
            *(part.sound.to_audio() for part in parts), *empty, who, ui={"text": [*recording.notes, who]}
        )


def _facts(number: int, part: Part) -> str:
    turns = "1 turn" if len(part.turns) == 1 else f"{len(part.turns)} turns"
    return f"audio_{number}: {part.speaker}, {turns}, {part.seconds:.1f} s, from {float(part.turns[0][0]):.1f} s on"


def _nobody(number: int, names: list[str]) -> str:
    there = f"there are {len(names)}" if len(names) > 1 else "there is 1"
    return f"Split Speakers has no speaker {number} ({there}: {', '.join(names)}): disconnect its audio_{number}."
