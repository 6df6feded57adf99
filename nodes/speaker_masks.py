"""Speaker Masks: where in the picture each speaker is."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from comfy_api.latest import io
from torch import Tensor

from .checked import CheckedNode
from .known import refusal
from .sockets import CATEGORY

HALVES, BOXES = "halves", "boxes"


class InfiniteTalkSpeakerMasks(CheckedNode):
    """Thin over `wanvideo.masks`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs; ids are public for ever."""
        return io.Schema(
            node_id="InfiniteTalkSpeakerMasks",
            display_name="Speaker Masks",
            category=CATEGORY,
            description="Tells InfiniteTalk which part of the picture belongs to which voice.",
            inputs=[
                io.Image.Input("image", tooltip="The picture that the sampler gets; the masks take its size."),
                io.Combo.Input(
                    "layout",
                    options=[HALVES, BOXES],
                    default=HALVES,
                    tooltip="halves: speaker 1 on the left, speaker 2 on the right. boxes: as written below.",
                ),
                io.String.Input(
                    "boxes",
                    default="0.05 0.05 0.4 0.9\n0.55 0.05 0.4 0.9",
                    multiline=True,
                    tooltip="For layout boxes: one line per speaker, x y w h as shares (0 to 1) of the picture, "
                    "x and y being the upper left corner.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    "masks",
                    display_name="speaker_masks",
                    tooltip="One mask per speaker, in the order of the voices, for the sampler's speaker_masks.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, layout: str | None = None, boxes: str | None = None) -> bool | str:
        """Refuse boxes that cannot be read, before anything runs."""
        return refusal((partial(cls.check_inputs, layout=layout, boxes=boxes),), (_masks, layout, boxes, 1, 1))

    @classmethod
    def run(cls, image: Tensor, layout: str, boxes: str) -> io.NodeOutput:
        """Make the masks, `[speakers, H, W]`."""
        from ..video_io.read.image_frames import ImageFrames

        picture = ImageFrames(image, Fraction(1))
        return io.NodeOutput(_masks(layout, boxes, picture.height, picture.width))


def _masks(layout: str, boxes: str, height: int, width: int) -> Tensor:
    """The masks that a layout means, `[speakers, height, width]`."""
    from ..wanvideo.masks import box_masks, half_masks

    return half_masks(height, width) if layout == HALVES else box_masks(boxes, height, width)
