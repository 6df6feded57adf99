"""The sound in the file: where it starts, where it ends, what it is, and what happens when it fails."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import torch
from evaluation.finished import decode
from infinitetalk.video_io.read.audio_source import AudioError, TensorAudio
from infinitetalk.video_io.save import writer
from infinitetalk.video_io.save.audio_fit import AudioFit, fit_audio
from infinitetalk.video_io.save.formats import AAC_SAMPLE_RATES, FORMATS

from ...support import media

ALL = list(FORMATS)
FRAMES = 25  # one second


@pytest.fixture
def pictures():
    """One second of pictures."""
    return media.make_pictures(FRAMES, 32, 32)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("sample_rate", "channels", "seconds"),
    [(48000, 2, 1.0), (44100, 1, 2.0), (8000, 1, 1.0), (96000, 6, 1.0), (22050, 2, 0.3), (16000, 1, 0.01)],
)
def test_sound_starts_with_the_picture_and_ends_with_it_to_the_sample(
    save, pictures, name, sample_rate, channels, seconds
):
    audio = media.make_sound(seconds, sample_rate, channels)
    saved = save(pictures, audio, format=name, audio_kbits=512)
    decoded = decode(saved.path)
    assert decoded.times[0] == 0
    assert decoded.sound_start == pytest.approx(0, abs=1e-3)
    rate = 48000 if name == "webm vp9" else sample_rate
    assert decoded.sample_rate == rate == saved.sound.sample_rate
    assert decoded.sound.shape == (rate, channels)
    heard = decoded.sound[:, 0]
    source = np.zeros(sample_rate)
    kept = min(audio["waveform"].shape[-1], sample_rate)
    source[:kept] = audio["waveform"][0, 0, :kept]
    if rate != sample_rate:
        positions = np.arange(rate) * sample_rate / rate
        source = np.interp(positions, np.arange(sample_rate), source)
    assert abs(media.samples_late(heard, source)) < rate / 1000
    assert np.corrcoef(heard, source)[0, 1] > (0.97 if channels < 6 else 0.85)  # 6 channels of noise in 512 kbit/s
    assert (rate == sample_rate) != any("resampled" in note for note in saved.notes)


def test_lossless_sound_comes_back_within_a_24_bit_step(save, pictures):
    audio = media.make_sound(1.0, 44100, 2)
    decoded = decode(save(pictures, audio, format="mkv ffv1").path)
    assert np.abs(decoded.sound - audio["waveform"][0].numpy().T).max() <= 2**-23


@pytest.mark.parametrize("channels", range(1, 9))
@pytest.mark.parametrize("name", ["mp4 h264", "webm vp9", "mkv ffv1"])
def test_up_to_eight_channels_keep_their_places(save, pictures, name, channels):
    tones = torch.stack([torch.sin(torch.arange(48000) * (index + 2) * 0.01) * 0.3 for index in range(channels)])
    saved = save(pictures, {"waveform": tones[None], "sample_rate": 48000}, format=name, audio_kbits=1024)
    sound = decode(saved.path).sound
    assert sound.shape == (48000, channels)
    # AAC's 7 channels have the centre at the back last: the same speakers in another order.
    expected = [0, 1, 2, 3, 5, 6, 4] if (name, channels) == ("mp4 h264", 7) else list(range(channels))
    for index in range(channels):
        likeness = [abs(np.corrcoef(sound[:, index], tone.numpy())[0, 1]) for tone in tones]
        if channels < 6 or index != 3:  # the channel for low tones loses most of a higher one
            assert max(likeness) > 0.5
            assert int(np.argmax(likeness)) == expected[index]


@pytest.mark.parametrize(("peak", "said"), [(1.05, False), (5.0, True), (32_767.0, True)])
def test_sound_beyond_full_scale_is_said(save, pictures, peak, said):
    wave = peak * torch.sin(torch.arange(48_000) * 0.05)
    saved = save(pictures, {"waveform": wave[None, None], "sample_rate": 48_000})
    assert any("times full scale and is clipped" in note for note in saved.notes) == said


def test_more_channels_than_the_codec_takes_are_left_out_and_that_is_said(save, pictures):
    saved = save(pictures, media.make_sound(1.0, channels=12))
    assert decode(saved.path).sound.shape == (48000, 8)
    assert any("12 channels" in note for note in saved.notes)


@pytest.mark.parametrize("sample_rate", [1000, 37800, 192000])
def test_rates_that_aac_has_not_become_the_next_one_it_has(save, pictures, sample_rate):
    saved = save(pictures, media.make_sound(1.0, sample_rate))
    assert decode(saved.path).sample_rate == {1000: 7350, 37800: 44100, 192000: 96000}[sample_rate]
    assert saved.sound.sample_rate in AAC_SAMPLE_RATES
    assert any("resampled" in note for note in saved.notes)


@pytest.mark.parametrize(("samples", "sample_rate"), [(5, 48_000), (100_000, 768_000)])
def test_a_handful_of_samples_and_the_highest_rate_are_kept_in_flac(save, pictures, samples, sample_rate):
    sound = media.make_sound(samples / sample_rate, sample_rate)
    saved = save(pictures, sound, format="mkv ffv1", fit=AudioFit.KEEP_ALL)
    assert saved.warning is None
    assert decode(saved.path).sound.shape == (samples, 1)


@pytest.mark.parametrize(
    ("fit", "seconds", "sound_samples", "frames"),
    [
        (AudioFit.TRIM_OR_PAD, 0.5, 48000, 25),
        (AudioFit.TRIM_OR_PAD, 1.7, 48000, 25),
        (AudioFit.LOOP, 0.3, 48000, 25),
        (AudioFit.LOOP, 1.7, 48000, 25),
        (AudioFit.SHORTEST, 0.5, 24000, 13),
        (AudioFit.SHORTEST, 1.7, 48000, 25),
        (AudioFit.SHORTEST, 0.01, 480, 1),
        (AudioFit.KEEP_ALL, 0.5, 24000, 25),
        (AudioFit.KEEP_ALL, 1.7, 81600, 25),
    ],
)
@pytest.mark.parametrize("name", ["mp4 h264", "mkv ffv1"])
def test_audio_fit_is_exact(save, pictures, name, fit, seconds, sound_samples, frames):
    decoded = decode(save(pictures, media.make_sound(seconds), format=name, fit=fit).path)
    assert len(decoded.sound) == sound_samples
    assert len(decoded.frames) == frames


def test_looped_sound_starts_over_without_a_gap(save, pictures):
    audio = media.make_sound(0.3)
    sound = decode(save(pictures, audio, format="mkv ffv1", fit=AudioFit.LOOP).path).sound[:, 0]
    source = audio["waveform"][0, 0].numpy()
    assert np.allclose(sound, np.resize(source, 48000), atol=2**-23)


def test_empty_sound_makes_a_silent_video_and_is_said(save, pictures):
    saved = save(pictures, {"waveform": torch.zeros(1, 2, 0), "sample_rate": 44100})
    assert decode(saved.path).sound is None
    assert saved.sound is None
    assert any("empty" in note for note in saved.notes)


def test_half_precision_sound_is_heard_and_the_first_of_a_batch_is_used(save, pictures):
    audio = media.make_sound(1.0)
    other = media.make_sound(1.0, seed=5)
    batch = torch.cat((audio["waveform"], other["waveform"])).half()
    saved = save(pictures, {"waveform": batch, "sample_rate": 48000}, format="mkv ffv1")
    sound = decode(saved.path).sound
    assert sound.shape == (48000, 1)
    assert np.abs(sound[:, 0] - batch[0, 0].float().numpy()).max() < 1e-6
    assert any("batch of 2" in note for note in saved.notes)


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.uint8])
def test_integer_samples_are_heard(save, pictures, dtype):
    audio = media.make_sound(1.0)
    limits = torch.iinfo(dtype)
    middle, scale = (limits.max + limits.min + 1) / 2, (limits.max - limits.min) / 2
    numbers = (audio["waveform"].double() * scale + middle).round().to(dtype)
    saved = save(pictures, {**audio, "waveform": numbers}, format="mkv ffv1")
    assert saved.warning is None
    wanted = audio["waveform"][0, 0].numpy()[: len(decode(saved.path).sound)]
    assert abs(decode(saved.path).sound[: len(wanted), 0] - wanted).max() < 0.02


def test_samples_that_are_no_numbers_become_silence_and_are_counted(save, pictures):
    audio = media.make_sound(1.0)
    audio["waveform"][0, 0, 100:110] = float("nan")
    saved = save(pictures, audio, format="mkv ffv1")
    assert (decode(saved.path).sound[100:110] == 0).all()
    assert any("10 samples" in note for note in saved.notes)


@pytest.mark.parametrize(
    "audio",
    [
        {"waveform": torch.zeros(1, 1, 100)},
        {"waveform": torch.zeros(1, 100), "sample_rate": 48000},
        {"waveform": torch.zeros(1, 1, 100, dtype=torch.bool), "sample_rate": 48000},
        {"waveform": torch.zeros(1, 1, 100), "sample_rate": 0},
        {"waveform": torch.zeros(1, 1, 100), "sample_rate": None},
        {"waveform": torch.zeros(1, 0, 100), "sample_rate": 48000},
        {"waveform": torch.zeros(0, 1, 100), "sample_rate": 48000},
        {"waveform": [0.0], "sample_rate": 48000},
    ],
)
def test_unusable_sound_leaves_the_silent_video_and_a_warning(save, pictures, output, audio):
    saved = save(pictures, audio)
    decoded = decode(saved.path)
    assert len(decoded.frames) == FRAMES
    assert decoded.sound is None
    assert saved.warning.startswith("The video was saved without sound:")
    assert [path.name for path in output.iterdir()] == ["video_00001_.mp4"]
    with pytest.raises(AudioError, match="if_audio_fails"):
        save(pictures, audio, stop_without_sound=True)
    assert len(list(output.iterdir())) == 1


def broken_codec(name: str) -> dict[str, object]:
    codec = dataclasses.replace(FORMATS[name].sound, encoder="no_such_encoder")
    return {name: dataclasses.replace(FORMATS[name], sound=codec)}


@pytest.mark.parametrize("name", ALL)
def test_sound_that_ffmpeg_cannot_encode_leaves_the_silent_video_with_ffmpegs_reason(
    save, pictures, output, monkeypatch, name
):
    for key, value in broken_codec(name).items():
        monkeypatch.setitem(FORMATS, key, value)
    saved = save(pictures, media.make_sound(1.0), format=name)
    assert len(decode(saved.path).frames) == FRAMES
    assert saved.sound is None
    assert "no_such_encoder" in saved.warning
    assert list(output.iterdir()) == [saved.path]


def test_sound_that_breaks_in_the_middle_leaves_the_silent_video(save, pictures):
    class Breaking:
        sample_rate, channels, notes = 48000, 1, ()

        def blocks(self):
            yield np.zeros((1000, 1), np.float32)
            raise AudioError("the disc is scratched")

    saved = save(pictures, Breaking())
    assert "the disc is scratched" in saved.warning
    assert len(decode(saved.path).frames) == FRAMES


def test_the_picture_is_not_encoded_twice_when_the_sound_is_fine(save, pictures, monkeypatch):
    runs = []
    real = writer._encode
    monkeypatch.setattr(writer, "_encode", lambda job, sound: runs.append(sound) or real(job, sound))
    save(pictures, media.make_sound(1.0))
    assert len(runs) == 1


def test_an_hour_of_sound_is_fitted_without_holding_it(tmp_path):
    class Hour:
        sample_rate, channels, notes = 8000, 1, ()

        def blocks(self):
            block = np.zeros((65536, 1), np.float32)
            for _ in range(450):
                yield block

    fitted = fit_audio(
        Hour(),
        tmp_path / "hour",
        AudioFit.TRIM_OR_PAD,
        frames=25 * 3600,
        frame_rate=Fraction(25),
        max_channels=8,
    )
    assert fitted.samples == 3600 * 8000
    assert (tmp_path / "hour").stat().st_size == 3600 * 8000 * 4


def test_blocks_of_a_tensor_join_to_the_tensor():
    audio = media.make_sound(3.1, 48000, 2)
    joined = np.concatenate(list(TensorAudio(audio).blocks()))
    assert np.array_equal(joined.T, audio["waveform"][0].numpy())
