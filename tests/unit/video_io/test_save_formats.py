"""Every format, decoded by others: frame count, size, rate, times, colors, transparency."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from evaluation.finished import decode
from infinitetalk.timebase import exact_frame_rate
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.video_io.save.formats import FORMATS
from infinitetalk.video_io.store.stored_frames import StoredFrames

from ...support import media

ALL = list(FORMATS)
KEEP_ALPHA = ["webm vp9", "mkv ffv1", "mov prores"]
CHROMA_IN_PAIRS = ["mp4 h264", "mp4 h265", "mp4 av1", "webm vp9"]


@pytest.mark.parametrize("name", ALL)
def test_a_file_has_the_frames_the_size_the_rate_and_the_color_tags(save, name):
    saved = save(media.make_pictures(30, 48, 64), format=name, fps=25)
    decoded = decode(saved.path)
    assert decoded.frames.shape == (30, 48, 64, 3)
    assert decoded.frame_rate == 25
    assert decoded.times == pytest.approx([index / 25 for index in range(30)], abs=1e-3)
    wanted = "gbr/bt709/bt709" if name == "mkv ffv1" else "tv, bt709,"
    assert wanted in decoded.picture
    assert (saved.frames, saved.width, saved.height, saved.seconds) == (30, 64, 48, 1.2)


# The largest size takes its time, and is the same to the writer whatever the format.
SIZES = [(name, size) for size in ((1, 1), (17, 33), (479, 833)) for name in ALL] + [("mp4 h264", (4096, 2160))]


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_any_size_is_saved_and_padding_repeats_the_edge_and_is_said(save, name, size):
    width, height = size
    saved = save(media.make_pictures(2, height, width), format=name, crf=10)
    decoded = decode(saved.path)
    assert decoded.frames.shape == (2, saved.height, saved.width, 3)
    assert saved.width - width < (2 if name != "mp4 h265" else 16)
    assert saved.height - height < (2 if name != "mp4 h265" else 16)
    padded = (saved.width, saved.height) != (width, height)
    assert padded == any("padded" in note for note in saved.notes)
    if name not in CHROMA_IN_PAIRS:
        assert not padded
    if padded:
        edge = decoded.frames[:, :height, :width].astype(int)[:, -1, -1]
        assert np.abs(decoded.frames[:, -1, -1].astype(int) - edge).max() <= 12


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("frames", [1, 2, 1000])
def test_one_two_and_a_thousand_frames_all_arrive(save, name, frames):
    images = media.make_pictures(2, 32, 32).repeat(frames // 2 + 1, 1, 1, 1)[:frames]
    decoded = decode(save(images, format=name).path)
    assert len(decoded.frames) == len(decoded.times) == frames
    assert decoded.times[0] == 0
    assert decoded.times[-1] == pytest.approx((frames - 1) / 25, abs=1e-3)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("fps", [23.976, 29.97, 12.5, 60, 0.5])
def test_fractional_rates_lose_no_frame_and_do_not_drift(save, name, fps):
    rate = exact_frame_rate(fps)
    decoded = decode(save(media.make_pictures(48, 16, 16), format=name, fps=rate).path)
    assert len(decoded.frames) == 48
    assert decoded.times == pytest.approx([float(index / rate) for index in range(48)], abs=1e-3)


@pytest.mark.parametrize("name", ["mp4 h264", "webm vp9", "mkv ffv1"])
@pytest.mark.parametrize("fps", [119.88, 239.76])
def test_a_rate_that_ffmpeg_would_round_does_not_drift(save, name, fps):
    rate = exact_frame_rate(fps)
    decoded = decode(save(media.make_pictures(601, 16, 16), format=name, fps=rate).path)
    assert decoded.times[-1] == pytest.approx(float(600 / rate), abs=6e-4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("fps", [Fraction(1, 100), 1000])
def test_the_slowest_and_the_fastest_rate_are_saved(save, name, fps):
    decoded = decode(save(media.make_pictures(3, 64, 64), format=name, fps=fps).path)
    assert decoded.times == pytest.approx([float(index / fps) for index in range(3)], abs=1e-3)


@pytest.mark.parametrize("name", ALL)
def test_a_color_chart_comes_back_within_two_levels(save, name):
    patches = np.random.default_rng(1).integers(0, 256, (6, 10, 3))
    patches[0, :8] = [[255 * (code >> bit & 1) for bit in range(3)] for code in range(8)]
    chart = patches.repeat(32, axis=0).repeat(32, axis=1)
    images = torch.from_numpy(chart / 255).float()[None].repeat(3, 1, 1, 1)
    decoded = decode(save(images, format=name, crf=1).path)
    centres = decoded.frames[:, 16::32, 16::32].astype(int)
    tolerance = {"mkv ffv1": 0, "mp4 av1": 3}.get(name, 2)  # AV1 at CRF 1 still quantises chroma
    assert np.abs(centres - patches).max() <= tolerance


def test_ffv1_is_lossless_and_rounds_to_the_nearest_level(save):
    images = torch.rand(3, 31, 45, 3)
    decoded = decode(save(images, format="mkv ffv1").path)
    assert np.array_equal(decoded.frames, np.floor(images.numpy() * 255 + 0.5).astype(np.uint8))


def test_prores_is_422_hq_and_keeps_ten_bits(save):
    ramp = torch.linspace(0.2, 0.3, 512).repeat(64, 1)[None, :, :, None].repeat(2, 1, 1, 3)
    saved = save(ramp, format="mov prores")
    decoded = decode(saved.path)
    assert "prores (HQ)" in decoded.picture
    assert "yuv422p10le" in decoded.picture


class Deep:
    """A source of 16-bit frames."""

    frame_rate, notes = Fraction(25), ()

    def __init__(self, frames: np.ndarray) -> None:
        self._frames = frames
        self.count, self.height, self.width, self.channels = frames.shape

    def frames(self, first: int = 0):
        yield from self._frames[first:]


@pytest.mark.parametrize("kind", ["floats", "floats and alpha", "16 bits"])
def test_black_and_white_of_prores_are_those_of_limited_range(save, kind: str):
    bars = torch.linspace(0, 1, 5).repeat_interleave(32).repeat(64, 1)[None, :, :, None].repeat(2, 1, 1, 3)
    opaque = torch.cat([bars, torch.ones_like(bars[..., :1])], dim=-1)
    deep = Deep((bars * 65535).round().numpy().astype(np.uint16))
    source = {"floats": bars, "floats and alpha": opaque, "16 bits": deep}[kind]
    with av.open(str(save(source, format="mov prores").path)) as file:
        frame = next(file.decode(video=0))
    scale = 1 << (frame.format.components[0].bits - 8)
    luma = np.frombuffer(bytes(frame.planes[0]), np.uint16).reshape(frame.height, -1)[32, 16:160:32]
    assert np.abs(luma - scale * (16 + 219 * np.linspace(0, 1, 5))).max() <= scale / 4


def test_h265_in_mp4_carries_the_tag_that_apple_players_need(save):
    assert "hvc1" in decode(save(media.make_pictures(2, 32, 32), format="mp4 h265").path).picture


@pytest.mark.parametrize("name", KEEP_ALPHA)
def test_transparency_is_kept_where_the_format_has_it(save, name):
    images = media.make_pictures(3, 48, 64, channels=4).clone()
    images[:, :, :32, 3] = 0.25
    saved = save(images, format=name, crf=4)
    decoded = decode(saved.path, alpha=True)
    assert np.abs(decoded.frames[:, 8:-8, 8:24, 3].astype(int) - 64).max() <= 3
    assert np.abs(decoded.frames[:, 8:-8, 40:56, 3].astype(int) - 255).max() <= 3
    assert not any("transparency" in note for note in saved.notes)


@pytest.mark.parametrize("name", [name for name in ALL if name not in KEEP_ALPHA])
def test_transparency_is_laid_over_black_elsewhere_and_that_is_said(save, name):
    images = torch.ones(2, 64, 64, 4)
    images[:, :, :32, 3] = 0.5
    saved = save(images, format=name, crf=4)
    frames = decode(saved.path).frames.astype(int)
    assert np.abs(frames[:, 8:-8, 8:24] - 128).max() <= 3
    assert np.abs(frames[:, 8:-8, 40:56] - 255).max() <= 3
    assert any("transparency" in note for note in saved.notes)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_gives_the_same_picture(save, dtype):
    images = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (2, 24, 40, 3))) / 255
    frames = decode(save(images.to(dtype), format="mkv ffv1").path).frames
    tolerance = 1 if dtype == torch.bfloat16 else 0
    assert np.abs(frames - (images * 255).round().numpy()).max() <= tolerance


def test_one_channel_becomes_grey_and_strided_views_are_read_right(save):
    planar = torch.rand(2, 3, 20, 30)
    view = planar.permute(0, 2, 3, 1)[:, ::2]
    frames = decode(save(view, format="mkv ffv1").path).frames
    assert np.array_equal(frames, np.floor(view.numpy() * 255 + 0.5).astype(np.uint8))
    gray = decode(save(view[..., :1], format="mkv ffv1").path).frames
    assert np.array_equal(gray, frames[..., :1].repeat(3, axis=-1))


def test_pixels_out_of_range_are_clipped_and_nan_is_black_and_both_are_said(save):
    images = torch.full((3, 16, 16, 3), 0.5)
    images[0] = 7.0
    images[1] = -3.0
    images[2, 4:8] = float("nan")
    images[2, 8:12] = float("inf")
    saved = save(images, format="mkv ffv1")
    frames = decode(saved.path).frames
    assert (frames[0] == 255).all()
    assert (frames[1] == 0).all()
    assert (frames[2, 4:8] == 0).all()
    assert (frames[2, 8:12] == 255).all()
    assert (frames[2, :4] == 128).all()
    assert any("1 frames, the first of them number 2" in note and "NaN" in note for note in saved.notes)
    assert any("clipped" in note for note in saved.notes)


def test_alpha_beside_the_images_is_kept_like_a_fourth_channel(save):
    images, alpha = torch.rand(2, 16, 16, 3), torch.rand(2, 16, 16, 1)
    saved = save(ImageFrames(images, Fraction(25), alpha), format="mkv ffv1")
    frames = decode(saved.path, alpha=True).frames
    assert np.array_equal(frames, np.floor(torch.cat((images, alpha), -1).numpy() * 255 + 0.5).astype(np.uint8))


class Chunks:
    """A VIDEO that hands out uint8 chunks, as our stored videos do."""

    sound = None

    def __init__(self, frames: np.ndarray) -> None:
        self.data = frames

    def get_dimensions(self):
        return self.data.shape[2], self.data.shape[1]

    def get_frame_rate(self):
        return Fraction(25)

    def get_frame_count(self):
        return len(self.data)

    def iter_frames(self, start=0, stop=None, chunk_frames=None):
        for first in range(0, len(self.data), chunk_frames):
            yield self.data[first : first + chunk_frames]


@pytest.mark.parametrize("width", [32, 33])
def test_stored_eight_bit_frames_pass_unchanged(save, width):
    stored = np.random.default_rng(3).integers(0, 256, (11, 24, width, 3), dtype=np.uint8)
    decoded = decode(save(StoredFrames(Chunks(stored)), format="mkv ffv1").path)
    assert np.array_equal(decoded.frames, stored)
    padded = decode(save(StoredFrames(Chunks(stored)), format="webm vp9").path)
    assert padded.frames.shape == (11, 24, 32 if width == 32 else 34, 3)
