"""Speaker Masks: where in the picture each speaker is."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ..errors import UserError
from .checked import CheckedNode
from .feedback import progress_callback
from .folders import temp_folder
from .sockets import CATEGORY
from .validation import refusal

if TYPE_CHECKING:
    from ..video_io.read.frame_source import FrameSource

HALVES, BOXES, FROM_MASKS = LAYOUTS = ("halves", "boxes", "from masks")
LEFT_TO_RIGHT, AS_GIVEN = ORDERS = ("left to right", "as given")
BoundingBox = io.Custom("BOUNDING_BOX")
SOCKET_ONLY = {"forceInput": True}
"""Newer editors make four numbers of an open box, which would be sent as a face that nobody has found."""


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
                io.MultiType.Input(
                    "image",
                    [io.Image, io.Video],
                    tooltip="The picture or the source video that the sampler gets; the masks take its size.",
                ),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default=HALVES,
                    tooltip="halves: speaker 1 on the left, speaker 2 on the right. boxes: as written below. from "
                    "masks: the faces that a detector has found (masks or bboxes), grown to heads.",
                ),
                io.String.Input(
                    "boxes",
                    default="0.05 0.05 0.4 0.9\n0.55 0.05 0.4 0.9",
                    multiline=True,
                    tooltip="For layout boxes: one line per speaker, x y w h as shares (0 to 1) of the picture, "
                    "x and y being the upper left corner.",
                ),
                io.Mask.Input(
                    "masks",
                    optional=True,
                    tooltip="For layout from masks: one mask per face, or one mask with all faces apart from each "
                    "other.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default=LEFT_TO_RIGHT,
                    optional=True,
                    tooltip="For layout from masks: who is speaker 1. left to right, or as given (a detector begins "
                    "with the face that it is surest of).",
                ),
                BoundingBox.Input(
                    "bboxes",
                    optional=True,
                    tooltip="For layout from masks, in place of masks: a detector's boxes, in pixels of the picture.",
                    extra_dict=SOCKET_ONLY,
                ),
                io.Boolean.Input(
                    "follow",
                    optional=True,
                    default=False,
                    tooltip="For a video and the sampler's edit_mask: the boxes follow what is in them from the first "
                    "frame on, and there is one mask per frame, of all boxes together. At a cut they are where they "
                    "were written again.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    "speaker_masks",
                    display_name="speaker_masks",
                    tooltip="One mask per speaker, in the order of the voices, for the sampler's speaker_masks. With "
                    "follow, one per frame of the video, for its edit_mask.",
                )
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        layout: str | None = None,
        boxes: str | None = None,
        order: str | None = None,
        follow: bool | None = None,
    ) -> bool | str:
        """Refuse boxes that cannot be read, before anything runs."""
        known = partial(cls.check_inputs, layout=layout, boxes=boxes, order=order)
        return refusal((known,), (_written_masks, layout, boxes, 1, 1), (_check_follow, layout, follow))

    @classmethod
    def run(
        cls,
        image: Any,
        layout: str,
        boxes: str,
        masks: Tensor | None = None,
        order: str = LEFT_TO_RIGHT,
        bboxes: Any | None = None,
        follow: bool = False,
    ) -> io.NodeOutput:
        """Make the masks, `[speakers, H, W]`, or `[frames, h, w]` if they follow."""
        from ..wanvideo.found_faces import heads, masks_of_detected

        _check_follow(layout, follow)
        source = _frames_of(image)
        if layout == FROM_MASKS:
            faces = masks_of_detected(masks, bboxes, source.height, source.width)
            return io.NodeOutput(heads(faces, order == LEFT_TO_RIGHT))
        if masks is not None or bboxes is not None:
            raise UserError(f"Faces are connected, but layout is {layout}: choose '{FROM_MASKS}', or disconnect them.")
        if follow:
            return io.NodeOutput(_followed(source, boxes))
        return io.NodeOutput(_written_masks(layout, boxes, source.height, source.width))


def _check_follow(layout: str, follow: bool) -> None:
    if follow and layout != BOXES:
        raise UserError(f"follow is on, but the layout is {layout}: choose {BOXES}, and write a box around each face.")


def _frames_of(image: Any) -> FrameSource:
    """The frames of an IMAGE or of a VIDEO, of which none is read yet."""
    from ..video_io.read.image_frames import ImageFrames
    from .video_input import open_video

    return ImageFrames(image, Fraction(1)) if isinstance(image, Tensor) else open_video(image)[0]


def _followed(source: FrameSource, boxes: str) -> Tensor:
    """A mask for each frame, `[frames, h, w]`, in a file when they are many."""
    from ..spool import Spool
    from ..wanvideo.followed_boxes import followed_boxes, small_size
    from ..wanvideo.masks import parse_boxes

    report = progress_callback()
    with Spool(small_size(source.height, source.width), folder=temp_folder()) as spool:
        for done, mask in enumerate(followed_boxes(source, parse_boxes(boxes)), start=1):
            spool.append(mask[None])
            report(done, source.count)
        return spool.finish()


def _written_masks(layout: str, boxes: str, height: int, width: int) -> Tensor | None:
    """The masks that a layout means, `[speakers, height, width]`; None if they come from a detector."""
    from ..wanvideo.masks import box_masks, half_masks

    if layout == FROM_MASKS:
        return None
    return half_masks(height, width) if layout == HALVES else box_masks(boxes, height, width)
