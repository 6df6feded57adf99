"""Scene: another picture or prompt from some second on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ..wanvideo.windows import TRANSITIONS, Transition
from .checked import CheckedNode
from .sockets import CATEGORY, InfiniteTalkScenes
from .validation import refusal

if TYPE_CHECKING:
    from ..wanvideo.scenes import SceneWish


class InfiniteTalkScene(CheckedNode):
    """Thin over `wanvideo.scenes`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs; ids are public for ever."""
        return io.Schema(
            node_id="InfiniteTalkScene",
            display_name="Scene",
            category=CATEGORY,
            description="Another picture, another prompt, or both, from some second of the speech on. Connect scenes "
            "in the order of time, and the last one to the sampler, whose own picture and prompt are the first scene.",
            inputs=[
                InfiniteTalkScenes.Input("scenes", optional=True, tooltip="The scenes before this one."),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="What is seen from here on: one picture, scaled to cover the video's size and cropped in "
                    "the middle. Unconnected: the picture, or the source video, before.",
                ),
                io.Conditioning.Input(
                    "positive", optional=True, tooltip="The prompt from here on. Unconnected: the one before."
                ),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="The negative prompt from here on. Unconnected: the one before."
                ),
                io.Float.Input(
                    "start",
                    default=10.0,
                    min=0.0,
                    max=360_000.0,
                    step=0.01,
                    tooltip="Seconds from the beginning of the video, above 0. While the sampler runs, this node says "
                    "where its scene begins.",
                ),
                io.Boolean.Input(
                    "snap_to_pause",
                    default=True,
                    tooltip="Move the start to the middle of the nearest pause of 0.25 s or more within 1.5 s, so that "
                    "no word is cut. With several voices, a pause of all of them.",
                ),
                io.Combo.Input(
                    "transition",
                    options=list(TRANSITIONS),
                    default=TRANSITIONS[0],
                    tooltip="cut: starts from its own picture. continue: the movement goes on, towards the new picture "
                    "and prompt.",
                ),
            ],
            outputs=[
                InfiniteTalkScenes.Output(
                    "scenes_so_far",
                    display_name="scenes",
                    tooltip="All scenes up to this one, for the next Scene or the sampler.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, start: float | None = None, transition: str | None = None) -> bool | str:
        """Refuse a start or a transition that cannot be, before anything runs."""
        from ..wanvideo.scenes import check_start, check_transition

        return refusal(
            (partial(cls.check_inputs, start=start, transition=transition),),
            (check_start, start),
            (check_transition, transition),
        )

    @classmethod
    def run(
        cls,
        start: float,
        snap_to_pause: bool,
        transition: Transition,
        scenes: tuple[SceneWish, ...] = (),
        image: Tensor | None = None,
        positive: Any | None = None,
        negative: Any | None = None,
    ) -> io.NodeOutput:
        """Put one more scene behind the others."""
        from ..wanvideo.scenes import SceneWish, check_order

        wish = SceneWish(
            start=start,
            snap_to_pause=snap_to_pause,
            transition=transition,
            image=image,
            positive=positive,
            negative=negative,
            node_id=cls.hidden.unique_id,
        )
        wishes = (*scenes, wish)
        check_order(wishes)
        return io.NodeOutput(wishes)
