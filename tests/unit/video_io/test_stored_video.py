"""The video over stored frames: facts without decoding, views, tensors, files."""

from __future__ import annotations

import gc
import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.video_io.store import image_tensor as images
from infinitetalk.video_io.store.frame_store import FrameStore
from infinitetalk.video_io.store.image_tensor import frames_as_image
from infinitetalk.video_io.store.stored_video import StoredVideo

from ...support.known_frames import FRAMES, PIXELS, add_windows, frames_of, open_store

RATE = 44100


def make_sound(seconds: float, channels: int = 2) -> dict:
    times = torch.arange(round(seconds * RATE)) / RATE
    return {"waveform": 0.3 * torch.sin(2760 * times).repeat(1, channels, 1), "sample_rate": RATE}


@pytest.fixture
def video(tmp_path) -> StoredVideo:
    with open_store(tmp_path / "runs") as store:
        add_windows(store)
        return StoredVideo(store, make_sound(FRAMES / 25))


def store_of(root: Path, frames: np.ndarray, frame_rate: Fraction = Fraction(25)) -> FrameStore:
    store = FrameStore.open(
        root, "x", width=frames.shape[2], height=frames.shape[1], frame_rate=frame_rate, frames=len(frames), resume=True
    )
    store.append(frames, {})
    return store


def test_facts_are_known_without_reading_frames(video):
    for path in video._frames.folder.glob("window-*"):
        path.unlink()
    assert video.get_dimensions() == (6, 4)
    assert video.get_frame_count() == FRAMES
    assert video.get_frame_rate() == 25
    assert video.get_duration() == FRAMES / 25
    assert video.get_bit_depth() == 8
    assert video.get_active_trim_window() == (0.0, 0.0)


def test_a_rate_of_film_is_the_exact_fraction(tmp_path):
    video = StoredVideo(store_of(tmp_path, PIXELS[:4], frame_rate=Fraction(24000, 1001)), None)
    assert video.get_frame_rate() == Fraction(24000, 1001)


def test_the_sound_is_the_very_same_object_and_not_a_copy(tmp_path):
    sound = make_sound(3)
    video = StoredVideo(store_of(tmp_path, PIXELS[:4]), sound)
    assert video.sound is sound
    part = video.as_trimmed(0.04, 0.08)
    assert part.sound["waveform"].untyped_storage().data_ptr() == sound["waveform"].untyped_storage().data_ptr()


def test_components_are_the_frames_as_floats_and_the_sound(video):
    parts = video.get_components()
    assert parts.images.dtype == torch.float32
    assert torch.equal(parts.images, torch.from_numpy(PIXELS[:FRAMES]).float() / 255)
    assert parts.audio is video.sound
    assert parts.frame_rate == 25


def test_every_8_bit_value_survives_the_way_to_floats_and_back(tmp_path):
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    image = frames_as_image(store_of(tmp_path, values))
    assert np.array_equal(np.rint(image.numpy() * 255).astype(np.uint8), values)


@pytest.mark.parametrize(
    ("start", "duration", "first", "end"),
    [
        (0.0, 0.0, 0, 40),
        (None, None, 0, 40),
        (0.4, 0.8, 10, 30),
        (0.41, 0.8, 11, 31),
        (0.4, 0.0, 10, 40),
        (-0.4, 0.0, 30, 40),
        (-0.4, 0.2, 30, 35),
        (-99.0, 0.04, 0, 1),
        (1.2, 9.0, 30, 40),
    ],
)
def test_a_trimmed_view_has_the_frames_and_the_sound_of_its_time(video, start, duration, first, end):
    part = video.as_trimmed(start, duration)
    assert type(part) is type(video)
    assert part.get_frame_count() == end - first
    assert np.array_equal(frames_of(part), PIXELS[first:end])
    assert torch.equal(part.get_components().images, torch.from_numpy(PIXELS[first:end]).float() / 255)
    whole = video.sound["waveform"]
    assert torch.equal(part.sound["waveform"], whole[..., first * RATE // 25 : end * RATE // 25])


def test_a_view_behind_the_end_of_the_sound_has_none_for_cores_nodes(tmp_path):
    # An AUDIO without samples ends core's Save Video in a MemoryError.
    with open_store(tmp_path) as store:
        add_windows(store)
        video = StoredVideo(store, {"waveform": torch.ones(1, 2, RATE // 2), "sample_rate": RATE})
    assert video.as_trimmed(0.4).get_components().audio["waveform"].shape[2] == RATE // 10
    assert video.as_trimmed(0.6).get_components().audio is None
    video.as_trimmed(0.6).save_to(tmp_path / "silent.mp4")
    with av.open(str(tmp_path / "silent.mp4")) as file:
        assert not file.streams.audio


def test_a_view_of_a_view_counts_from_the_view(video):
    part = video.as_trimmed(0.4, 0.8).as_trimmed(0.2, 0.2)
    assert np.array_equal(frames_of(part), PIXELS[15:20])
    assert np.array_equal(np.concatenate(list(part.iter_frames(1, 3))), PIXELS[16:18])
    with pytest.raises(ValueError, match="outside"):
        part.iter_frames(0, 6)


def test_seams_are_the_frames_where_another_window_begins(video):
    starts = video._frames.window_starts
    assert starts[0] == 0
    assert len(starts) > 1
    assert video.seams == starts[1:]
    second = starts[1]
    assert video.as_trimmed(second / 25).seams == [start - second for start in starts[2:]]


@pytest.mark.parametrize(("start", "duration", "strict"), [(1.6, 0, False), (0, -1, False), (1.0, 0.7, True)])
def test_a_view_without_frames_or_shorter_than_asked_is_none(video, start, duration, strict):
    assert video.as_trimmed(start, duration, strict) is None


def test_a_strict_view_of_the_whole_length_is_given(video):
    assert video.as_trimmed(1.0, 0.6, strict_duration=True).get_frame_count() == 15


def test_small_images_lie_in_ram_and_large_ones_in_a_file_with_the_same_content(video, caplog):
    caplog.set_level("INFO")
    in_ram = frames_as_image(video._frames)
    assert "memory-mapped" not in caplog.text
    mapped = frames_as_image(video._frames, share_of_free_ram=0.0)
    assert "memory-mapped" in caplog.text
    assert torch.equal(in_ram, mapped)
    mapped[0] = 0.5  # other nodes may write to it
    assert mapped[0].unique().tolist() == [0.5]
    assert torch.equal(frames_as_image(video._frames, 1, 5, share_of_free_ram=0.0), in_ram[1:5])


@pytest.mark.parametrize("share", ["0", "1"], ids=["file", "ram"])
def test_making_an_image_can_be_stopped_and_leaves_nothing(tmp_path, monkeypatch, share):
    monkeypatch.setenv("INFINITETALK_IMAGE_RAM_SHARE", share)
    calls = []

    class Stopped(StoredVideo):
        def _check(self) -> None:
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt

    with open_store(tmp_path) as store:
        add_windows(store)
        stopped = Stopped(store, None)
    with pytest.raises(KeyboardInterrupt):
        stopped.get_components()
    assert list(stopped._frames.folder.glob("temporary-*")) == []


def test_the_file_of_an_image_is_gone_with_it(video):
    mapped = frames_as_image(video._frames, share_of_free_ram=0.0)
    assert mapped.shape == (FRAMES, 4, 6, 3)
    del mapped
    gc.collect()
    assert list(video._frames.folder.glob("temporary-*")) == []


def test_an_image_that_fits_neither_ram_nor_disk_is_refused(video, monkeypatch):
    # A stand-in for a full disk, as in the tests of the frame store.
    usage = images.shutil.disk_usage(video._frames.folder)
    monkeypatch.setattr(images.shutil, "disk_usage", lambda folder: usage._replace(free=100))
    with pytest.raises(UserError, match=r"IMAGE output of 40 frames needs .* use the VIDEO output"):
        frames_as_image(video._frames, share_of_free_ram=0.0)


def test_a_video_needs_at_least_one_frame(tmp_path):
    with open_store(tmp_path) as store, pytest.raises(ValueError, match="does not fit 0 stored frames"):
        StoredVideo(store, None)


@pytest.fixture
def ramp(tmp_path) -> StoredVideo:
    """50 gray frames of 32x16, each a little brighter, so that a decoded frame tells its number."""
    levels = (40 + 4 * np.arange(50, dtype=np.uint8))[:, None, None, None]
    store = store_of(tmp_path / "runs", np.broadcast_to(levels, (50, 16, 32, 3)))
    return StoredVideo(store, make_sound(2))


def decode(file: str | io.BytesIO) -> tuple[np.ndarray, int, dict[str, str], str]:
    """Mean brightness of every frame, samples of sound, tags and codec, read with PyAV."""
    with av.open(file) as container:
        tags, codec = dict(container.metadata), container.streams.video[0].codec_context.name
        levels = [frame.to_ndarray(format="rgb24").mean() for frame in container.decode(video=0)]
    if isinstance(file, io.BytesIO):
        file.seek(0)
    with av.open(file) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
    return np.array(levels), samples, tags, codec


def test_a_saved_file_has_every_frame_the_sound_and_the_metadata(ramp, tmp_path):
    path = tmp_path / "a video.mp4"
    ramp.save_to(str(path), metadata={"prompt": {"1": {"class_type": "X"}}, "workflow": {"nodes": []}})
    levels, samples, tags, codec = decode(str(path))
    assert np.abs(levels - (40 + 4 * np.arange(50))).max() < 2
    assert abs(samples - 2 * RATE) <= 1024
    assert tags["prompt"] == '{"1": {"class_type": "X"}}'
    assert tags["workflow"] == '{"nodes": []}'
    assert codec == "h264"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "runs"] == ["a video.mp4"]


def test_a_view_is_saved_with_its_own_part_of_the_sound(ramp, tmp_path):
    ramp.as_trimmed(0.4, 0.8).save_to(tmp_path / "part.mp4")
    levels, samples, _, _ = decode(str(tmp_path / "part.mp4"))
    assert np.abs(levels - (40 + 4 * np.arange(10, 30))).max() < 2
    assert abs(samples - 0.8 * RATE) <= 1024


def test_a_stream_gets_the_same_video_and_the_run_folder_stays_clean(ramp):
    before = sorted(path.name for path in ramp._frames.folder.iterdir())
    buffer = io.BytesIO()
    ramp.save_to(buffer, format="mp4", codec="h264")
    buffer.seek(0)
    levels, _, _, _ = decode(buffer)
    assert len(levels) == 50
    assert sorted(path.name for path in ramp._frames.folder.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "arguments", "codec"),
    [
        ("x.webm", {}, "av1"),
        ("x.mkv", {"codec": "h265"}, "hevc"),
        ("x.mp4", {"format": "mp4", "codec": "av1", "crf": 40.0}, "av1"),
        ("x.bin", {"format": "webm", "codec": "vp9"}, "vp9"),
    ],
)
def test_containers_and_codecs_of_newer_cores_are_written(ramp, tmp_path, name, arguments, codec):
    ramp.save_to(tmp_path / name, **arguments)
    with av.open(str(tmp_path / name)) as container:
        assert codec in container.streams.video[0].codec_context.codec.canonical_name
        assert sum(1 for _ in container.decode(video=0)) == 50


def test_a_lower_crf_gives_a_larger_file(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (10, 64, 64, 3), dtype=np.uint8)
    video = StoredVideo(store_of(tmp_path / "runs", frames), None)
    for crf in (5, 45):
        video.save_to(tmp_path / f"{crf}.mp4", crf=crf)
    assert (tmp_path / "5.mp4").stat().st_size > 2 * (tmp_path / "45.mp4").stat().st_size


@pytest.mark.parametrize(("container", "codec"), [("avi", "auto"), ("webm", "h264"), ("mp4", "theora")])
def test_what_cannot_be_written_is_refused_with_what_can(ramp, tmp_path, container, codec):
    with pytest.raises(UserError, match="choose one of"):
        ramp.save_to(tmp_path / "x.mp4", format=container, codec=codec)
    assert not (tmp_path / "x.mp4").exists()


def test_arguments_of_newer_cores_are_tolerated_and_unmet_wishes_logged(ramp, tmp_path, caplog):
    ramp.save_to(tmp_path / "x.mp4", bit_depth=8, color_space="auto", encoding=None)
    assert "not supported" not in caplog.text
    ramp.save_to(tmp_path / "x.mp4", bit_depth=10, color_space="HDR", brand_new=1)
    assert "{'bit_depth': 10, 'color_space': 'HDR', 'brand_new': 1}" in caplog.text


def test_the_stream_source_is_one_file_of_all_frames(ramp):
    path = Path(ramp.get_stream_source())
    assert ramp.get_stream_source() == str(path)
    levels, _, _, _ = decode(str(path))
    assert len(levels) == 50
    assert ramp.get_container_format() == "mp4"


def test_the_stream_file_is_deleted_with_its_video(tmp_path):
    video = StoredVideo(store_of(tmp_path, np.zeros((5, 16, 16, 3), np.uint8)), None)
    path = Path(video.get_stream_source())
    assert path.exists()
    del video
    gc.collect()
    assert not path.exists()


def test_saving_into_a_folder_that_is_not_there_is_one_sentence(ramp, tmp_path):
    with pytest.raises(UserError, match="cannot be written to"):
        ramp.save_to(tmp_path / "nowhere" / "x.mp4")
