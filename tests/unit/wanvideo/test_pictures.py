"""Sizes, crops, masks and colors, against the reference's numbers."""

from __future__ import annotations

import json
import os
import weakref
from fractions import Fraction

import pytest
import torch
from infinitetalk.errors import UserError
from infinitetalk.timebase import exact_frame_rate
from infinitetalk.video_io.read.image_frames import ImageFrames
from infinitetalk.wanvideo import resolution
from infinitetalk.wanvideo.color import match_colors
from infinitetalk.wanvideo.masks import box_masks, half_masks, token_masks
from infinitetalk.wanvideo.pictures import Pictures
from infinitetalk.wanvideo.resolution import BUCKETS, check_custom_size, cover_and_crop, video_size
from safetensors.torch import load_file

from ...support.shapes import largest_difference


@pytest.fixture(scope="module")
def misc(golden_dir):
    return load_file(golden_dir / "misc.safetensors")


@pytest.fixture(scope="module")
def facts(golden_dir):
    return json.loads((golden_dir / "misc.json").read_text(encoding="utf-8"))


def test_buckets_and_choices_are_the_references(facts):
    for ours, theirs in (("480p", "ASPECT_RATIO_627"), ("720p", "ASPECT_RATIO_960")):
        assert {ratio: list(size) for ratio, size in BUCKETS[ours].items()} == {
            float(ratio): size for ratio, size in facts[theirs].items()
        }
        for choice in facts["bucket_choice"]:
            assert list(video_size(ours, choice["h"], choice["w"], (0, 0))) == choice[theirs]


def test_sizes_from_the_picture_and_custom_ones_are_rounded_to_16():
    assert video_size("from image", 479, 833, (0, 0)) == (480, 832)
    assert video_size("from image", 3, 41, (0, 0)) == (16, 48)
    assert video_size("custom", 1, 1, (480, 832)) == (480, 832)
    assert video_size("custom", 1, 1, (481, 500)) == (480, 496)
    with pytest.raises(UserError, match="no resolution '4k'"):
        video_size("4k", 1, 1, (480, 832))


@pytest.mark.parametrize(("height", "width", "named"), [(480, 500, "width is 500.*496 or 512"), (0, 16, "height is 0")])
def test_a_typed_size_that_is_no_multiple_of_16_is_refused(height, width, named):
    with pytest.raises(UserError, match=named):
        check_custom_size(height, width)


def test_cover_and_crop_is_the_references(misc, facts):
    checked = 0
    for case in facts["resize_and_centercrop"]:
        source = misc[f"resize_{case['case']}_in"]
        ours = cover_and_crop(source.float() / 255, *case["target"])[0]
        golden = misc[f"resize_{case['case']}_out"].permute(1, 2, 0)
        assert torch.equal((ours * 255).round().to(torch.uint8), golden)
        checked += 1
    assert checked == 5


def test_half_masks_are_the_references(misc, facts):
    checked = 0
    for case in facts["masks"]:
        if case["bbox"] is not None or case["face_scale"] != 0.05:
            continue
        golden = misc[f"mask_{case['case']}"].float()  # at latent size
        expected = torch.nn.functional.interpolate(golden[None], scale_factor=0.5, mode="nearest")[0].flatten(1)
        ours = token_masks(half_masks(*case["src"]), 2, tuple(case["src"]), tuple(case["target"]))
        assert torch.equal(ours, expected)
        checked += 1
    assert checked == 2


def test_boxes_are_shares_of_the_picture():
    masks = box_masks("0 0 0.5 1\n\n0.5, 0.25, 0.5, 0.5", 8, 16)
    assert masks.shape == (2, 8, 16)
    assert masks[0, :, :8].all()
    assert masks[0].sum() == 64
    assert masks[1, 2:6, 8:].all()
    assert masks[1].sum() == 32


@pytest.mark.parametrize("boxes", ["", "1 2 3", "a b c d", "0.5 0 0.6 1", "0 0 0 1", "10 10 200 200", "nan 0 1 1"])
def test_boxes_that_make_no_sense_get_a_sentence(boxes):
    with pytest.raises(UserError, match="box"):
        box_masks(boxes, 8, 8)


def test_a_mask_between_the_sampled_pixels_is_not_lost():
    masks = torch.zeros(2, 64, 96)
    masks[0, 20:24, 20:24] = 1  # touches no multiple of 16
    masks[1, 40:, 60:] = 1
    tokens = token_masks(masks, 2, (64, 96), (64, 96))
    assert tokens[0].nonzero().flatten().tolist() == [1 * 6 + 1]


@pytest.mark.parametrize(
    ("masks", "named"),
    [
        (torch.zeros(2, 64, 96), "speaker 1 covers nothing"),
        (torch.ones(1, 64, 96), "one speaker mask covers all of the 96 × 64 video"),
        (torch.ones(3, 64, 96), "3 speaker masks .* but 2 voices"),
        (torch.ones(64, 96), "2 speakers need 2 masks"),
    ],
)
def test_masks_that_cannot_work_get_a_sentence(masks, named):
    with pytest.raises(UserError, match=named):
        token_masks(masks, 2, (64, 96), (64, 96))


def test_masks_take_no_memory_of_the_pictures_size():
    masks = torch.zeros(2, 8, 8)
    masks[0, :, :4] = masks[1, :, 4:] = 1
    tokens = token_masks(masks, 2, (1_000_000, 1_000_000), (32, 64))
    assert tokens.tolist() == [[1, 1, 0, 0] * 2, [0, 0, 1, 1] * 2, [0] * 8]


def test_masks_of_another_size_than_the_picture_mean_the_same_places():
    small, large = half_masks(100, 200), half_masks(400, 800)
    assert torch.equal(token_masks(small, 2, (400, 800), (64, 128)), token_masks(large, 2, (400, 800), (64, 128)))


def test_one_mask_for_two_is_the_first_speakers_and_the_other_has_the_rest():
    mask = torch.zeros(1, 64, 96)
    mask[:, :, :48] = 1
    first, second, background = token_masks(mask, 2, (64, 96), (64, 96))
    assert torch.equal(first + second, torch.ones(24))
    assert not background.any()


@pytest.mark.parametrize("strength", [0, 0.25, 0.5, 1])
def test_color_match_is_the_references(misc, strength):
    frames, reference, golden = (
        misc[name][0].permute(1, 2, 3, 0) for name in ("color_chunk", "color_reference", f"color_out_{strength:g}")
    )
    ours = match_colors((frames + 1) / 2, (reference + 1) / 2, strength) * 2 - 1
    assert largest_difference(ours, golden) < 1e-4


def test_a_flat_frame_takes_the_references_mean_and_nothing_else():
    torch.manual_seed(0)
    matched = match_colors(torch.full((1, 8, 8, 3), 0.37), torch.rand(1, 8, 8, 3), 1.0)
    assert torch.isfinite(matched).all()
    assert matched.std((0, 1, 2)).max() < 1e-5


def pictures(images, size=(16, 16), fps=25, rate=25, frames=100):
    return Pictures(ImageFrames(images, Fraction(rate)), exact_frame_rate(fps), frames, size)


def test_transparency_is_laid_over_black():
    image = torch.ones(1, 16, 16, 4)
    image[..., 3] = 0.5
    assert (pictures(image).at(7) - 128 / 255).abs().max() < 1e-6


def test_a_picture_that_many_scenes_show_is_scaled_once_and_memory_holds_one():
    first = pictures(torch.rand(1, 64, 48, 3))
    second = first.of_another(torch.rand(1, 32, 48, 3))
    shown = first.at(0)
    assert first.at(9) is shown
    kept = weakref.ref(shown)
    del shown
    assert not torch.equal(second.at(0), first.at(0))
    second.at(0)
    assert kept() is None


def test_a_source_video_is_aligned_in_time_and_its_last_frame_stays():
    images = (torch.arange(30.0) / 255)[:, None, None, None].expand(30, 16, 16, 3)
    source = pictures(images, fps=25, rate=30)
    shown = [round(source.at(frame)[0, 0, 0, 0].item() * 255) for frame in (0, 1, 5, 24, 25, 90)]
    assert shown == [0, 1, 6, 28, 29, 29]
    assert round(source.at(5)[0, 0, 0, 0].item() * 255) == 6  # going back is possible, too


def test_scene_cuts_are_found_and_movement_is_not_one():
    torch.manual_seed(0)
    scenes = [torch.rand(1, 64, 64, 3) * 0.4, torch.rand(1, 64, 64, 3) * 0.4 + 0.6]
    moving = [scenes[0].roll(k, 2) for k in range(20)] + [scenes[1].roll(k, 2) for k in range(20)]
    source = pictures(torch.cat(moving), fps=25, rate=50, frames=20)
    assert source.cuts == [10]
    assert pictures(scenes[0]).cuts == []


@pytest.mark.parametrize("color", [0.0, 1.0])
@pytest.mark.parametrize(("rows", "columns"), [(44, 0), (0, 44), (36, 24)])
def test_cuts_are_found_between_bars_and_a_light_on_a_plain_ground_is_none(color: float, rows: int, columns: int):
    torch.manual_seed(0)
    scenes = [torch.rand(1, 64, 64, 3) * 0.3 + low for low in (0.2, 0.6)]
    images = torch.cat([scene.roll(k, 2) for scene in scenes for k in range(10)])
    images[:, :rows] = images[:, :, :columns] = color
    assert pictures(images, frames=20).cuts == [10]
    images[:] = color
    images[10:, 30:40, 30:40] = 0.5
    assert pictures(images, frames=20).cuts == []


def test_a_plain_wall_whose_light_flickers_is_no_cut():
    images = torch.full((20, 64, 64, 3), 224 / 255)
    images[:, 20:, 16:40] = torch.rand(44, 24, 3)  # somebody who stands before it
    for level in (223, 218):
        images[::2, :20] = images[::2, :, 40:] = level / 255
        assert pictures(images, frames=20).cuts == []


def test_who_looks_through_a_long_source_shows_how_far_and_can_be_stopped():
    told: list[tuple[int, int]] = []

    def watch(done: int, total: int) -> None:
        told.append((done, total))
        if done == 50:
            raise InterruptedError

    images = torch.zeros(300, 8, 8, 3)
    source = Pictures(ImageFrames(images, Fraction(25)), Fraction(25), 200, (16, 16), watch)
    with pytest.raises(InterruptedError):
        _ = source.cuts
    assert told == [(0, 200), (25, 200), (50, 200)]


def test_two_cuts_before_the_videos_next_frame_are_one():
    torch.manual_seed(0)
    images = torch.rand(1, 64, 64, 3).expand(40, -1, -1, -1).clone() * 0.4
    images[25:] = 1  # white from 0.50 s to 0.52 s, where the video shows its frame 13
    images[26:] = torch.rand(64, 64, 3) * 0.4 + 0.5
    assert pictures(images, fps=25, rate=50, frames=20).cuts == [13]


@pytest.mark.parametrize(
    ("rate", "flash", "cuts"), [(25, 1, []), (25, 2, []), (25, 3, [20, 23]), (50, 1, []), (8, 1, [63, 66])]
)
def test_a_flash_is_no_cut_and_what_lasts_is(rate: int, flash: int, cuts: list[int]):
    torch.manual_seed(0)
    images = torch.rand(1, 64, 64, 3).expand(40, -1, -1, -1).clone() * 0.4
    images[20 : 20 + flash] = 1
    assert pictures(images, fps=25, rate=rate, frames=100).cuts == cuts


def test_each_picture_has_a_key_of_its_own():
    torch.manual_seed(0)
    source = pictures(torch.rand(3, 300, 200, 3))
    assert len({source.key(0), source.key(1), source.key(2)}) == 3
    assert source.key(2) == source.key(50)


def test_every_pixel_of_a_frame_counts_for_its_key():
    images = torch.zeros(2, 300, 400, 3)
    images[1, 151, 201, 1] = 1 / 255  # between the pixels by which scenes are told apart
    source = pictures(images)
    assert source.key(0) != source.key(1)


def test_a_picture_with_pixels_that_are_no_numbers_gets_a_sentence():
    with pytest.raises(UserError, match="NaN"):
        pictures(torch.full((1, 16, 16, 3), torch.nan)).at(0)


def test_a_mask_is_no_picture():
    with pytest.raises(UserError, match="1 channel"):
        pictures(torch.zeros(1, 16, 16, 1))


@pytest.mark.parametrize(("height", "width"), [(5_000, 1), (1, 5_000), (4_000, 2)])
@pytest.mark.skipif(os.name == "nt", reason="no peak of memory")
def test_a_strip_is_cropped_before_it_is_scaled(height: int, width: int):
    import resource

    from infinitetalk.wanvideo.masks import token_masks

    strip = torch.linspace(0, 1, height * width).reshape(height, width, 1).expand(-1, -1, 3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shown = cover_and_crop(strip, 320, 320)[0]
    masks = torch.zeros(2, height, width)
    masks[0], masks[1, height // 2, width // 2] = 1, 1
    token_masks(masks, 2, (height, width), (320, 320))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 100_000_000
    assert shown.shape == (320, 320, 3)
    assert (shown - 0.5).abs().max() < 0.1  # its middle


@pytest.mark.parametrize("size", [(333, 200), (64, 640), (97, 480)])
def test_cropping_first_is_the_same_picture(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch):
    picture = torch.rand(*size, 3, generator=torch.Generator().manual_seed(0))
    whole = cover_and_crop(picture, 256, 192)
    monkeypatch.setattr(resolution, "STRIP", 0)
    assert (cover_and_crop(picture, 256, 192) - whole).abs().max() < 1.01 / 255
