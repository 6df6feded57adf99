"""Channels in the order of WAV files, in which ComfyUI's AUDIO has them and encoders take them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

# The bits of WAVEFORMATEXTENSIBLE's channel mask, by FFmpeg's names.
WAV = ["FL", "FR", "FC", "LFE", "BL", "BR", "FLC", "FRC", "BC", "SL", "SR"]
WAV += ["TC", "TFL", "TFC", "TFR", "TBL", "TBC", "TBR"]
# Vorbis I specification, 4.3.9; RFC 7845, 5.1.1.2 has the same for Opus. One, two and four channels are in WAV's order.
VORBIS = {
    3: "FL FC FR",
    5: "FL FC FR BL BR",
    6: "FL FC FR BL BR LFE",
    7: "FL FC FR SL SR BC LFE",
    8: "FL FC FR SL SR BL BR LFE",
}
IN_ITS_OWN_ORDER = re.compile(r"(\d+ channels) \((.*)")  # as FFmpeg describes such a layout: `2 channels (FC+FC)`


def to_wav_order(names: Sequence[str]) -> list[int] | None:
    """Where the channels of WAV's order stand among channels of these names; None where they are none of WAV's."""
    if len(set(names)) < len(names) or not set(names) <= set(WAV):
        return None
    return sorted(range(len(names)), key=lambda index: WAV.index(names[index]))


def from_vorbis(channels: int) -> list[int] | None:
    """Where the channels of WAV's order stand in Vorbis and Opus; None where nothing is to be moved."""
    return to_wav_order(VORBIS[channels].split()) if channels in VORBIS else None


def without_own_order(stream: av.AudioStream) -> list[int] | None:
    """Have a stream that lists its channels one by one (QuickTime, CAF, AIFF) decoded as so many without names.

    PyAV (seen in 18.1) frees such a list once for each frame and ends the process with it. To be called before the
    first packet is decoded.

    Returns:
        Where the channels of WAV's order stand; None where nothing is to be moved.
    """
    codec = stream.codec_context
    own = IN_ITS_OWN_ORDER.match(codec.layout.name)
    if own is None:
        return None
    codec.layout = own[1]
    return to_wav_order(own[2].rstrip(")").split("+"))
