"""What the sampler and the Scene nodes say of scenes and parts."""

from __future__ import annotations

from collections.abc import Callable

from ..wanvideo.parts import Part
from ..wanvideo.resume.share import Share
from ..wanvideo.scenes import told
from .feedback import say


def tell_scenes(share: Share, part: Part | None, say_here: Callable[[str], None]) -> None:
    """Say on every Scene node where its scene begins, and on the sampler how many there are and which are made."""
    job = share.job
    rate = job.embeds.frame_rate
    for number, scene in enumerate(job.scenes, start=1):
        if scene.wish is not None:
            say(scene.wish.node_id, told(scene, number, rate))
    if len(job.scenes) > 1:
        starts = ", ".join(f"{float(scene.start / rate):.2f}" for scene in job.scenes)
        say_here(f"{len(job.scenes)} scenes, from {starts} s on")
    if part is None:
        return
    cuts = sum(window.place == 0 for window in job.windows)
    if not share.own:
        say_here(
            f"Part {part.number} of {part.count} is empty: of {cuts} {'scene' if cuts == 1 else 'scenes'} that begin "
            "with a cut there are fewer than parts, so there is nothing to make here."
        )
        return
    begin, end = (float(frame / rate) for frame in (share.first_frame, share.first_frame + share.frames))
    windows = f"{len(share.own)} of {len(job.windows)} windows"
    say_here(f"Part {part.number} of {part.count}: {begin:.2f} to {end:.2f} s, {windows}")
