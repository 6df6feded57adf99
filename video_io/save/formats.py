"""What can be written: containers, video encoders and sound encoders with the settings their users expect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ...errors import UserError
from .ffmpeg_process import encoders_of

CONTAINER_MOV_FLAGS = ("-movflags", "use_metadata_tags+faststart")

# Sample rates of AAC, ISO/IEC 14496-3 table 1.18 (sampling frequency index).
AAC_SAMPLE_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
AAC_BITS_PER_FRAME_AND_CHANNEL = 6144  # ISO/IEC 14496-3, 4.5.3.1: the decoder's input buffer
AAC_FRAME_SAMPLES = 1024


@dataclass(frozen=True)
class Encoder:
    """One way to encode the picture.

    Attributes:
        name: ffmpeg's name of the encoder.
        pixel_format: ffmpeg's name of the format that is stored.
        arguments: from the CRF to further arguments of the encoder.
        alpha_pixel_format: the stored format when transparency is kept; None where it cannot be.
        alpha_arguments: further arguments when transparency is kept.
        feed_bits: 8 or 16, bits per channel that frames are handed to ffmpeg with.
        side_multiple: width and height must be multiples of this (2 where chroma is halved).
        min_side: smallest width and height in pixels that the encoder takes.
        max_frame_rate: most frames per second that it takes; None for any.
    """

    name: str
    pixel_format: str
    arguments: Callable[[int], tuple[str, ...]]
    alpha_pixel_format: str | None = None
    alpha_arguments: tuple[str, ...] = ()
    feed_bits: int = 8
    side_multiple: int = 2
    min_side: int = 2
    max_frame_rate: int | None = None

    @property
    def stores_rgb(self) -> bool:
        """Whether pixels are stored as RGB, so that no color matrix is applied."""
        return self.pixel_format.startswith(("bgr", "gbr", "rgb"))

    def padded(self, side: int) -> int:
        """A width or height in pixels as the encoder takes it: `side` or the next one above."""
        side = max(side, self.min_side)
        return -(-side // self.side_multiple) * self.side_multiple


@dataclass(frozen=True)
class AudioCodec:
    """How the sound is encoded.

    Attributes:
        encoder: ffmpeg's name of the encoder.
        label: the name that people use.
        rates: sample rates in Hz that it takes, ascending; empty when it takes any.
        max_channels: most channels that it takes.
        lossless: whether a bit rate has no meaning.
        arguments: further arguments.
        layouts: names of channel layouts for those channel counts whose usual one the encoder refuses or, as the third
            of three channels, takes for one of low tones alone.
    """

    encoder: str
    label: str
    sample_rates: tuple[int, ...]
    max_channels: int
    lossless: bool = False
    arguments: tuple[str, ...] = ()
    layouts: tuple[tuple[int, str], ...] = ()

    def sample_rate_for(self, sample_rate: int) -> int:
        """The rate in Hz to encode at: the source's own, else the next higher one, else the highest."""
        if not self.sample_rates or sample_rate in self.sample_rates:
            return sample_rate
        return next((rate for rate in self.sample_rates if rate > sample_rate), self.sample_rates[-1])

    def channel_filters(self, channels: int) -> list[str]:
        """ffmpeg's filters that name the places of so many channels, where that has to be done."""
        layout = dict(self.layouts).get(channels)
        return [f"channelmap=map={'|'.join(map(str, range(channels)))}:channel_layout={layout}"] if layout else []

    def bits_per_second(self, kbit_per_second: int, sample_rate: int, channels: int) -> int:
        """The wanted bit rate, held to what the codec can carry at `sample_rate` (Hz)."""
        wanted = kbit_per_second * 1000
        if self.encoder == "aac":
            limit = AAC_BITS_PER_FRAME_AND_CHANNEL * channels * sample_rate // AAC_FRAME_SAMPLES
        else:
            limit = 256_000 * channels  # Opus: RFC 6716, 2.1.1 (510 kbit/s for a stereo pair)
        return min(wanted, limit)


@dataclass(frozen=True)
class VideoFormat:
    """One entry of the node's `format` list.

    Attributes:
        name: the entry.
        suffix: of the file, with its dot.
        muxer: ffmpeg's name of the container.
        mime: as VideoHelperSuite's clients read it in history (`video/CODEC-CONTAINER`).
        encoders: ways to encode the picture, the best first; the first that the binary has is used.
        sound: the sound's codec.
        max_crf: highest CRF; None when the codec has no such setting.
        container_arguments: further arguments of the muxer.
    """

    name: str
    suffix: str
    muxer: str
    mime: str
    encoders: tuple[Encoder, ...]
    sound: AudioCodec
    max_crf: int | None
    container_arguments: tuple[str, ...] = ()

    def encoder_for(self, exe: str, width: int, height: int, frame_rate: Fraction) -> Encoder:
        """The best encoder that the ffmpeg binary `exe` has: the first of those that need the least padding.

        Raises:
            UserError: it has none, or none for this rate; the sentence names the formats that it can write.
        """
        available = encoders_of(exe)
        found = [encoder for encoder in self.encoders if encoder.name in available]
        fast = [encoder for encoder in found if frame_rate <= (encoder.max_frame_rate or frame_rate)]
        if fast:
            return min(fast, key=lambda encoder: encoder.padded(width) * encoder.padded(height))
        if found:
            most = max(encoder.max_frame_rate or 0 for encoder in found)
            raise UserError(
                f"The video has {float(frame_rate):g} frames per second, and {self.name} takes at most {most} here: "
                "choose another format or a lower rate."
            )
        missing = " or ".join(encoder.name for encoder in self.encoders)
        others = [entry.name for entry in FORMATS.values() if any(one.name in available for one in entry.encoders)]
        raise UserError(
            f"The ffmpeg at {exe} has no {missing}, which {self.name} needs: "
            f"choose one of the formats it can write ({', '.join(others) or 'none'}) or reinstall imageio-ffmpeg."
        )

    def check_crf(self, crf: int) -> None:
        """Refuse a CRF that the format does not have.

        Raises:
            UserError: `crf` is outside 0 to `max_crf`.
        """
        if self.max_crf is not None and not 0 <= crf <= self.max_crf:
            raise UserError(f"crf is {crf}, but {self.name} takes 0 (best) to {self.max_crf}: set crf in that range.")


AAC = AudioCodec("aac", "AAC", AAC_SAMPLE_RATES, max_channels=8, layouts=((3, "3.0"),))
# Channel layouts of RFC 7845, 5.1.1.2. Family 1 makes libopus order the channels: by itself ffmpeg (seen in 9.0)
# swaps those of 5 and 7 channels.
OPUS = AudioCodec(
    "libopus",
    "Opus",
    (48000,),
    max_channels=8,
    arguments=("-mapping_family", "1"),
    layouts=((3, "3.0"), (4, "quad")),
)
FLAC = AudioCodec(
    "flac",
    "FLAC",
    (),
    max_channels=8,
    lossless=True,
    # By itself ffmpeg (seen in 9.0) takes blocks that FLAC has not for a handful of samples, and at 768 kHz.
    arguments=("-sample_fmt", "s32", "-bits_per_raw_sample", "24", "-frame_size", "4096"),
)

X264 = Encoder("libx264", "yuv420p", lambda crf: ("-preset", "medium", "-crf", f"{crf}"))
X265 = Encoder(
    "libx265",
    "yuv420p",
    lambda crf: ("-preset", "medium", "-crf", f"{crf}", "-tag:v", "hvc1", "-x265-params", "log-level=error"),
    min_side=16,
)
SVT_AV1 = Encoder(
    "libsvtav1",
    "yuv420p",
    lambda crf: ("-preset", "6", "-crf", f"{crf}"),
    min_side=64,  # its documented least; below 16 it corrupts memory
    max_frame_rate=240,
)
AOM_AV1 = Encoder(
    "libaom-av1",
    "yuv420p",
    # FFmpeg 4 takes this encoder for experimental, which -strict -2 allows.
    lambda crf: ("-cpu-used", "6", "-row-mt", "1", "-crf", f"{crf}", "-b:v", "0", "-strict", "-2"),
)
VP9 = Encoder(
    "libvpx-vp9",
    "yuv420p",
    lambda crf: ("-deadline", "good", "-cpu-used", "2", "-row-mt", "1", "-crf", f"{crf}", "-b:v", "0"),
    alpha_pixel_format="yuva420p",
    alpha_arguments=("-auto-alt-ref", "0"),
)
FFV1 = Encoder(
    "ffv1",
    "bgr0",
    lambda crf: ("-level", "3", "-g", "1", "-slicecrc", "1"),
    alpha_pixel_format="bgra",
    side_multiple=1,
    min_side=1,
)
PRORES = Encoder(
    "prores_ks",
    "yuv422p10le",
    lambda crf: ("-profile:v", "3", "-vendor", "apl0"),
    alpha_pixel_format="yuva444p10le",
    alpha_arguments=("-profile:v", "4", "-alpha_bits", "16"),
    feed_bits=16,
    side_multiple=1,
    min_side=1,
)

FORMATS: dict[str, VideoFormat] = {
    entry.name: entry
    for entry in (
        VideoFormat("mp4 h264", ".mp4", "mp4", "video/h264-mp4", (X264,), AAC, 51, CONTAINER_MOV_FLAGS),
        VideoFormat("mp4 h265", ".mp4", "mp4", "video/h265-mp4", (X265,), AAC, 51, CONTAINER_MOV_FLAGS),
        VideoFormat("mp4 av1", ".mp4", "mp4", "video/av1-mp4", (SVT_AV1, AOM_AV1), AAC, 63, CONTAINER_MOV_FLAGS),
        VideoFormat("webm vp9", ".webm", "webm", "video/vp9-webm", (VP9,), OPUS, 63),
        VideoFormat("mkv ffv1", ".mkv", "matroska", "video/ffv1-mkv", (FFV1,), FLAC, None),
        VideoFormat("mov prores", ".mov", "mov", "video/prores-mov", (PRORES,), AAC, None, CONTAINER_MOV_FLAGS),
    )
}


def format_named(name: str) -> VideoFormat:
    """The format of that name.

    Raises:
        UserError: there is none of that name.
    """
    try:
        return FORMATS[name]
    except KeyError:
        raise UserError(f"There is no format {name!r}: choose one of {', '.join(FORMATS)}.") from None
