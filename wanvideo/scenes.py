"""The storyboard of a long video: from when which picture is seen, and which prompt counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from torch import Tensor

from ..errors import UserError
from ..timebase import first_frame_at
from .conditioning import Conditioning
from .pauses import REACH_SECONDS, Pause, pauses_of, snapped
from .pictures import Pictures
from .windows import TRANSITIONS, Transition

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass(frozen=True, kw_only=True)
class SceneWish:
    """A scene as the user described it. Making one checks what can be known without the sound.

    Raises:
        UserError: a value that cannot work; the sentence names it.
    """

    start: float
    """Seconds from the beginning of the video."""
    snap_to_pause: bool = True
    transition: Transition = "cut"
    image: Tensor | None = None
    """`[1, H, W, C]` in 0 … 1; None keeps what is seen before."""
    positive: Conditioning | None = None
    negative: Conditioning | None = None
    """None keeps the prompt before."""
    node_id: str | None = None
    """The node that it comes from, which is told where the scene begins."""

    def __post_init__(self) -> None:
        check_start(self.start)
        check_transition(self.transition)
        if self.image is not None and self.image.shape[0] != 1:
            raise UserError(
                f"The image of the scene at {self.start:g} s holds {self.image.shape[0]} pictures, but a scene has "
                "one: connect a single picture, or choose one with a node such as Get Image From Batch."
            )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A scene with everything that it shows."""

    start: int
    """First frame."""
    pictures: Pictures
    positive: Conditioning | None
    negative: Conditioning | None
    is_cut: bool = True
    """Whether it begins from its own picture; else the motion goes on."""
    wish: SceneWish | None = None
    """None for the first scene, and for one that was found in a source video."""
    is_snapped: bool = False
    """Whether its start was moved into a pause."""


def check_start(start: float) -> None:
    """Refuse times at which no scene after the first can begin.

    Raises:
        UserError: a negative time, zero, or no number.
    """
    if not math.isfinite(start) or start < 0:
        raise UserError(f"start is {start:g}, but a scene needs a time in seconds above 0: set it.")
    if start == 0:
        raise UserError(
            "start is 0, but there the sampler's own picture and prompt begin: connect these to the sampler, and set "
            "start to where the next scene begins."
        )


def check_transition(transition: str) -> None:
    """Refuse a transition that does not exist.

    Raises:
        UserError: an unknown name.
    """
    if transition not in TRANSITIONS:
        raise UserError(f"There is no transition '{transition}': choose {' or '.join(TRANSITIONS)}.")


def check_order(wishes: Sequence[SceneWish]) -> None:
    """Refuse scenes that do not follow each other in time.

    Raises:
        UserError: two at one time, or one before the scene that is connected to it.
    """
    for before, wish in pairwise(wishes):
        if wish.start == before.start:
            raise UserError(f"Two scenes begin at {wish.start:g} s, but only one can: change the start of one of them.")
        if wish.start < before.start:
            raise UserError(
                f"The scene at {wish.start:g} s comes after the one at {before.start:g} s, but scenes must be in the "
                "order of time: connect the earlier one to the input `scenes` of the later one."
            )


@dataclass(frozen=True)
class Storyboard:
    """Puts scenes on the frames of one video."""

    frames: int
    frame_rate: Fraction
    audible: Sequence[Tensor]
    """For every voice bool `[F]`, whether it is heard."""
    motion_frames: int

    def plan(self, first: Scene, wishes: Sequence[SceneWish]) -> tuple[Scene, ...]:
        """All scenes of the video, in order, with those that are found in its source video.

        Args:
            first: the scene from 0 on.
            wishes: the others, in order.

        Raises:
            UserError: a scene that has no place; the sentence names it.
        """
        check_order(wishes)
        pauses = pauses_of(self.audible, self.frame_rate)
        scenes = [first]
        for wish in wishes:
            scene = self._scene(wish, pauses, scenes[-1])
            if scene.start <= scenes[-1].start:
                in_pause = scene.is_snapped or scenes[-1].is_snapped
                raise UserError(
                    f"The scenes at {self._asked(scenes[-1])} s and {wish.start:g} s both begin "
                    f"{'in the pause' if in_pause else 'with the frame'} at "
                    f"{float(scene.start / self.frame_rate):.2f} s: set their starts farther apart"
                    f"{', or switch snap_to_pause off' if in_pause else ''}."
                )
            scenes.append(scene)
        scenes = self._with_found_cuts(scenes)
        self._check_motion(scenes)
        return tuple(scenes)

    def _scene(self, wish: SceneWish, pauses: Sequence[Pause], before: Scene) -> Scene:
        asked = first_frame_at(wish.start, self.frame_rate)
        if asked >= self.frames:
            end, last = (float(frame / self.frame_rate) for frame in (self.frames, self.frames - 1))
            raise UserError(
                f"A scene begins at {wish.start:g} s, but the video ends at {end:.2f} s and its last frame begins at "
                f"{math.floor(last * 100) / 100:.2f} s: set its start to that or earlier, or take it out."
            )
        moved = snapped(asked, pauses, self.frame_rate) if wish.snap_to_pause else None
        return Scene(
            start=min(max(asked if moved is None else moved, 1), self.frames - 1),
            pictures=before.pictures if wish.image is None else before.pictures.of_another(wish.image),
            positive=wish.positive or before.positive,
            negative=wish.negative or before.negative,
            is_cut=wish.transition == "cut",
            wish=wish,
            is_snapped=moved is not None,
        )

    def _with_found_cuts(self, scenes: Sequence[Scene]) -> list[Scene]:
        """The scenes, and what each shows of a source video from every cut in it on.

        A scene that would go on from where the source cuts begins with that cut: what was before it is another shot.
        """
        ends = [*(scene.start for scene in scenes[1:]), self.frames]
        return [
            part
            for scene, end in zip(scenes, ends, strict=True)
            for part in (
                replace(scene, is_cut=True) if scene.start in scene.pictures.cuts else scene,
                *(
                    replace(scene, start=cut, is_cut=True, wish=None)
                    for cut in scene.pictures.cuts
                    if scene.start < cut < end
                ),
            )
        ]

    def _check_motion(self, scenes: Sequence[Scene]) -> None:
        """A scene that goes on needs the motion frames of the picture before it."""
        cut = 0
        for scene in scenes:
            if scene.is_cut:
                cut = scene.start
            elif scene.start - cut < self.motion_frames:
                least = float((cut + self.motion_frames) / self.frame_rate)
                raise UserError(
                    f"The scene at {self._asked(scene)} s continues {scene.start - cut} frames after a cut, but it "
                    f"goes on from {self.motion_frames} frames: start it at {least:.2f} s or later, or make it a cut."
                )

    def _asked(self, scene: Scene) -> str:
        return f"{float(scene.start / self.frame_rate) if scene.wish is None else scene.wish.start:g}"


def told(scene: Scene, number: int, frame_rate: Fraction) -> str:
    """Where a scene begins and what was done to bring it there, in a sentence for its node."""
    assert scene.wish is not None
    seconds = float(scene.start / frame_rate)
    text = f"Scene {number} begins at {seconds:.2f} s (frame {scene.start})"
    if scene.is_snapped:
        text += f", moved by {seconds - scene.wish.start:+.2f} s into a pause"
    elif scene.wish.snap_to_pause:
        text += f", since there is no pause within {float(REACH_SECONDS):g} s"
    if scene.is_cut and scene.wish.transition == "continue":
        text += "; it begins with a cut, as the source video has one there"
    if scene.wish.image is not None and (shown := scene.pictures.size) != (own := scene.pictures.source_size):
        text += f"; its picture of {own[1]} × {own[0]} is scaled and cropped to {shown[1]} × {shown[0]}"
    return text
