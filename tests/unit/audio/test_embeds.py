"""Voices on one timeline: lengths, silence, and the sound for the file."""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.embeds import AudioEmbeds, embed_voices
from infinitetalk.audio.layer_sweep import Reach
from infinitetalk.audio.loudness import integrated_loudness
from infinitetalk.audio.resampling import resampled
from infinitetalk.audio.wav2vec import Wav2VecEncoder
from infinitetalk.errors import UserError
from infinitetalk.timebase import exact_frame_rate, frames_of_seconds

RATES = st.sampled_from([8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
FRAME_RATES = st.sampled_from([8.0, 12.5, 23.976, 24.0, 25.0, 29.97, 30.0, 48.0, 59.94, 60.0]).map(exact_frame_rate)


def noise(samples: int, rate: int, channels: int = 1, level: float = 0.1) -> AudioClip:
    generator = torch.Generator().manual_seed(samples)
    return AudioClip(torch.rand((channels, samples), generator=generator) * 2 * level - level, rate)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_embeddings_sound_and_frames_always_agree(encoder: Wav2VecEncoder, data: st.DataObject) -> None:
    voices = [
        noise(data.draw(st.integers(1, 3 * rate)), rate, data.draw(st.integers(1, 8)))
        for rate in data.draw(st.lists(RATES, min_size=1, max_size=3))
    ]
    rate = data.draw(FRAME_RATES)
    combine = data.draw(st.sampled_from(["parallel", "sequential"]))
    limit = data.draw(st.integers(0, 60))
    embeds = embed_voices(encoder, voices, combine=combine, frame_rate=rate, max_frames=limit)
    lengths = [v.seconds for v in voices]
    wanted = frames_of_seconds(sum(lengths) if combine == "sequential" else max(lengths), rate)
    frames = min(wanted, limit or wanted)
    assert embeds.frames == frames
    assert (embeds.frame_rate, embeds.fps) == (rate, float(rate))
    assert [f.shape for f in embeds.features] == [(frames, 3, 64)] * len(voices)
    assert all(s.shape[0] >= 85 and s.shape[0] / rate >= 3.4 for s in embeds.silence)
    assert all(f.dtype == torch.float32 and f.isfinite().all() for f in (*embeds.features, *embeds.silence))
    waveform, sample_rate = embeds.sound["waveform"], embeds.sound["sample_rate"]
    assert sample_rate == max(v.sample_rate for v in voices)
    assert waveform.shape[:2] == (1, max(v.channels for v in voices))
    assert Fraction(waveform.shape[2], sample_rate) * rate <= frames + rate * 2 / sample_rate + Fraction(1, 10**6)


@pytest.mark.parametrize(
    "signs", [(1, -1), (-1, 1), (1, -1, 0.02), (1, -0.999)], ids=["opposite", "swapped", "a third channel", "nearly"]
)
def test_channels_that_cancel_each_other_out_are_heard_as_the_first_one(
    encoder: Wav2VecEncoder, speech: AudioClip, caplog: pytest.LogCaptureFixture, signs: tuple[float, ...]
) -> None:
    channels = AudioClip(torch.cat([speech.samples * sign for sign in signs]), speech.sample_rate)
    heard = embed_voices(encoder, [channels])
    alone = embed_voices(encoder, [AudioClip(channels.samples[:1], speech.sample_rate)])
    assert torch.equal(heard.features[0], alone.features[0])
    assert "cancel each other out" in caplog.text


@pytest.mark.parametrize("fps", [8.0, 12.5, 24.0, 25.0, 30.0, 50.0, 60.0])
def test_a_beat_lands_in_its_frame_at_every_rate(encoder: Wav2VecEncoder, fps: float) -> None:
    """The reference stretches the sound over the frames; here row k belongs to the time k/fps, to the end."""
    seconds = 6
    for second in (1.0, 3.0, 5.5):
        wave = torch.randn(1, seconds * 16_000, generator=torch.Generator().manual_seed(0)) * 1e-3
        clicked = wave.clone()
        # As long as a frame and one feature's field: rows look at 25 ms of sound, which may all lie between two clicks.
        clicked[0, int(second * 16_000) :][: int(16_000 / fps) + 400] += 0.5
        plain, with_click = (_features(encoder, w[0], round(seconds * fps), Fraction(fps)) for w in (wave, clicked))
        change = (with_click - plain).abs().sum(dim=1)
        assert abs(int(change.argmax()) - second * fps) <= max(1.5, fps / 20)


def _features(encoder: Wav2VecEncoder, wave: torch.Tensor, frames: int, fps: Fraction) -> torch.Tensor:
    """What goes into the transformer, `[frames, conv channels]`: the transformer itself spreads a click everywhere."""
    from infinitetalk.audio.wav2vec import ConvFeatures

    return ConvFeatures(encoder, wave, frames, fps, torch.device("cpu")).read(0, frames)


def test_the_silence_after_the_end_is_what_follows_in_one_encoding(encoder: Wav2VecEncoder, speech: AudioClip) -> None:
    embeds = embed_voices(encoder, [speech], normalize_loudness=False)
    longer = torch.nn.functional.pad(speech.samples[0], (0, (embeds.frames + 85) * 640 - speech.length))
    assert torch.equal(embeds.silence[0], encoder.encode(longer, embeds.frames + 85)[embeds.frames :])


def test_a_shorter_voice_goes_on_as_silence_through_the_encoder(encoder: Wav2VecEncoder, speech: AudioClip) -> None:
    short = speech.cut(16_000)
    embeds = embed_voices(encoder, [speech, short], normalize_loudness=False)
    padded = torch.nn.functional.pad(short.samples[0], (0, embeds.frames * 640 - short.length))
    assert torch.equal(embeds.features[1], encoder.encode(padded, embeds.frames))
    assert float(embeds.features[1][60:].abs().mean()) > 0.1


def test_max_frames_cuts_embedding_and_sound_alike(encoder: Wav2VecEncoder, stereo_speech: AudioClip) -> None:
    embeds = embed_voices(encoder, [stereo_speech], max_frames=40)
    alone = embed_voices(encoder, [stereo_speech.cut(40 * 1764)])
    assert embeds.frames == alone.frames == 40
    assert torch.equal(embeds.features[0], alone.features[0])
    assert torch.equal(embeds.silence[0], alone.silence[0])
    assert torch.equal(embeds.sound["waveform"], stereo_speech.samples[None, :, : 40 * 1764])


def test_max_frames_before_the_second_voice_leaves_it_silent(encoder: Wav2VecEncoder, speech: AudioClip) -> None:
    embeds = embed_voices(encoder, [speech, speech], combine="sequential", max_frames=20)
    assert torch.equal(embeds.features[1], encoder.encode(torch.zeros(20 * 640), 20))
    assert embeds.sound["waveform"].shape[2] == 20 * 640


@pytest.mark.parametrize("offset", [0.0, 0.005, 0.02])
def test_a_constant_offset_is_no_voice(encoder: Wav2VecEncoder, speech: AudioClip, offset: float) -> None:
    pause = torch.zeros(1, speech.sample_rate)
    sound = AudioClip(torch.cat([speech.read(0, speech.sample_rate), pause], dim=1) + offset, speech.sample_rate)
    (audible,) = embed_voices(encoder, [sound]).audible
    assert audible[:25].any()
    assert not audible[27:].any()


def test_one_voice_comes_back_untouched(encoder: Wav2VecEncoder, stereo_speech: AudioClip) -> None:
    loud = AudioClip(stereo_speech.samples * 4, stereo_speech.sample_rate)
    embeds = embed_voices(encoder, [loud])
    assert torch.equal(embeds.sound["waveform"][0], loud.samples)
    assert embeds.sound["sample_rate"] == 44_100


def test_a_mix_has_the_best_rate_and_channels_and_each_voice_in_its_place(encoder: Wav2VecEncoder) -> None:
    low, high = noise(8000, 8000), noise(96_000, 48_000, 6)
    sound = embed_voices(encoder, [low, high], combine="sequential").sound
    assert sound["sample_rate"] == 48_000
    mix = sound["waveform"][0]
    assert mix.shape == (6, 48_000 + 96_000)
    assert torch.equal(mix[:, 48_000:], high.samples)
    wanted = resampled(low, 48_000, quality="VHQ").samples[0]
    assert torch.equal(mix[0, :48_000], wanted)
    assert torch.equal(mix[1, :48_000], wanted)
    assert not mix[2:, :48_000].any()


def test_a_mix_beyond_full_scale_is_scaled_and_said(encoder: Wav2VecEncoder, caplog: pytest.LogCaptureFixture) -> None:
    tone = AudioClip(0.8 * torch.sin(torch.arange(16_000) * 0.1)[None], 16_000)
    with caplog.at_level(logging.INFO):
        mix = embed_voices(encoder, [tone, tone]).sound["waveform"]
    assert float(mix.abs().max()) == pytest.approx(1.0, abs=1e-6)
    assert torch.allclose(mix[0] / mix.abs().max(), tone.samples / tone.samples.abs().max(), atol=1e-5)
    assert "of full scale" in caplog.text
    quiet = embed_voices(encoder, [tone, AudioClip(tone.samples * 0.1, 16_000)]).sound["waveform"]
    assert torch.allclose(quiet[0], tone.samples * 1.1, atol=1e-6)


def test_loudness_is_brought_to_the_target_only_when_asked_and_silence_never(
    encoder: Wav2VecEncoder, speech: AudioClip
) -> None:
    quiet = AudioClip(speech.samples * 0.05, 16_000)
    assert torch.allclose(
        embed_voices(encoder, [quiet]).features[0], embed_voices(encoder, [speech]).features[0], atol=1e-3
    )
    plain = embed_voices(encoder, [quiet], normalize_loudness=False).features[0]
    assert float((plain - embed_voices(encoder, [speech]).features[0]).abs().max()) > 0.1
    silence = AudioClip(torch.zeros(1, 16_000), 16_000)
    assert torch.equal(embed_voices(encoder, [silence]).features[0], encoder.encode(torch.zeros(16_000), 25))


def test_loudness_is_pyloudnorms(speech: AudioClip) -> None:
    import pyloudnorm

    generator = np.random.default_rng(0)
    for samples in (6400, 7000, 16_000, 160_001):
        wave = np.tile(speech.samples[0].numpy(), 4)[:samples] * generator.uniform(0.1, 1)
        chunks = np.array_split(wave, 7)
        assert integrated_loudness(chunks, 16_000) == pytest.approx(
            pyloudnorm.Meter(16_000).integrated_loudness(wave), abs=1e-4
        )


def test_a_sound_shorter_than_the_meters_block_is_normalized_too(encoder: Wav2VecEncoder) -> None:
    tone = torch.sin(torch.arange(1600) * 0.4)[None]
    loud, quiet = (embed_voices(encoder, [AudioClip(tone * g, 16_000)]).features[0] for g in (0.5, 0.01))
    assert torch.allclose(loud, quiet, atol=1e-3)


@pytest.mark.parametrize("seconds", [0.04, 0.36, 0.4])
def test_the_noise_of_a_room_before_the_first_word_is_no_speech(encoder: Wav2VecEncoder, seconds: float) -> None:
    hiss, frames = noise(16_000, 16_000, level=2e-4), round(seconds * 25)  # -79 dBFS
    embeds, as_it_is = (embed_voices(encoder, [hiss], max_frames=frames, normalize_loudness=n) for n in (True, False))
    assert torch.equal(embeds.features[0], as_it_is.features[0])
    assert not embeds.audible[0].any()


@pytest.mark.parametrize("samples", [1, 2, 100, 399, 400, 641])
@pytest.mark.parametrize("fps", [8.0, 25.0, 60.0])
def test_the_shortest_sounds_have_frames(encoder: Wav2VecEncoder, samples: int, fps: float) -> None:
    embeds = embed_voices(encoder, [noise(samples, 16_000)], frame_rate=Fraction(fps))
    assert embeds.frames == math.ceil(samples * fps / 16_000)
    assert embeds.features[0].isfinite().all()


def audio(**changes: Any) -> dict[str, Any]:
    return {"waveform": torch.zeros(1, 1, 100), "sample_rate": 16_000, **changes}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "NoneType without waveform"),
        ({"waveform": torch.zeros(1, 1, 4)}, "without waveform and sample_rate"),
        (audio(waveform=np.zeros((1, 1, 4))), "a waveform of ndarray"),
        (audio(waveform=torch.zeros(1, 4)), "[1, 4]"),
        (audio(waveform=torch.zeros(1, 1, 4, dtype=torch.complex64)), "complex64"),
        (audio(waveform=torch.zeros(1, 1, 0)), "no samples"),
        (audio(waveform=torch.zeros(1, 0, 5)), "0 channels"),
        (audio(waveform=torch.zeros(0, 1, 5)), "no sound in its batch"),
        (audio(sample_rate=0), "sample rate of 0"),
        (audio(sample_rate=-44_100), "sample rate of -44100"),
        (audio(sample_rate=44_100.5), "sample rate of 44100.5"),
        (audio(sample_rate=float("nan")), "sample rate of nan"),
        (audio(sample_rate="fast"), "sample rate of fast"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_sentence(value: Any, words: str) -> None:
    with pytest.raises(UserError) as caught:
        AudioClip.from_audio(value, "audio_2")
    assert words in str(caught.value)
    assert str(caught.value).startswith("audio_2")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int16, torch.int32, torch.uint8])
def test_samples_of_any_type_are_the_same_sound(encoder: Wav2VecEncoder, speech: AudioClip, dtype: torch.dtype) -> None:
    if dtype.is_floating_point:
        other = speech.samples.to(dtype)
    elif dtype == torch.uint8:
        other = (speech.samples * 127 + 128).round().to(dtype)
    else:
        other = (speech.samples.double() * torch.iinfo(dtype).max).to(dtype)
    found = AudioClip.from_audio({"waveform": other[None], "sample_rate": 16_000}, "audio_1")
    assert torch.allclose(found.read(0, found.length), speech.samples, atol=1e-2)
    sound = embed_voices(encoder, [found]).sound["waveform"]
    assert sound.dtype == torch.float32
    assert torch.allclose(sound[0], speech.samples, atol=1e-2)


def test_the_first_of_a_batch_is_used_and_that_is_said(speech: AudioClip) -> None:
    batch = torch.stack([speech.samples, torch.zeros_like(speech.samples)])
    sound = AudioClip.from_audio({"waveform": batch, "sample_rate": 16_000}, "audio_1")
    assert torch.equal(sound.samples, speech.samples)
    assert "batch of 2" in sound.notes[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_sample_that_is_no_number_is_refused_with_its_time(encoder: Wav2VecEncoder, bad: float) -> None:
    samples = torch.zeros(2, 16_000)
    samples[1, 8000] = bad
    with pytest.raises(UserError, match=r"audio_1 has a sample at 0\.500 s"):
        embed_voices(encoder, [AudioClip(samples, 16_000)])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frame_rate": Fraction(0)}, "fps is 0"),
        ({"frame_rate": Fraction(1000)}, "fps is 1000"),
        ({"combine": "shuffled"}, "combine is shuffled"),
        ({"max_frames": -1}, "max_frames is -1"),
        ({"voices": 5}, "5 voices are connected"),
        ({"voices": 0}, "0 voices are connected"),
    ],
)
def test_impossible_options_are_refused(encoder: Wav2VecEncoder, options: dict[str, Any], words: str) -> None:
    voices = [noise(1600, 16_000)] * options.pop("voices", 1)
    with pytest.raises(UserError) as caught:
        embed_voices(encoder, voices, **options)
    assert words in str(caught.value)


def test_the_log_says_the_frames_and_progress_reaches_its_end(
    encoder: Wav2VecEncoder, speech: AudioClip, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[tuple[int, int]] = []
    with caplog.at_level(logging.INFO):
        embeds: AudioEmbeds = embed_voices(
            encoder, [speech, speech], progress=lambda done, total: seen.append((done, total))
        )
    assert f"Audio embeds created, actual frames: {embeds.frames}" in caplog.text
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def speech_for(speech: AudioClip, seconds: int) -> torch.Tensor:
    """Speech at changing speeds and levels with pauses, `[seconds · 16000]`: nothing in it repeats."""
    generator = torch.Generator().manual_seed(0)
    parts: list[torch.Tensor] = []
    while sum(map(len, parts)) < seconds * 16_000:
        speed, level, pause = torch.rand(3, generator=generator).tolist()
        again = torch.nn.functional.interpolate(speech.samples[None], scale_factor=0.6 + speed, mode="linear")
        parts += [again[0, 0] * (0.3 + level), torch.zeros(int(pause * 16_000))]
    return torch.cat(parts)[: seconds * 16_000]


def test_pieces_without_far_frames_are_the_whole(encoder: Wav2VecEncoder, speech: AudioClip) -> None:
    wave = speech_for(speech, 24)
    whole = encoder.encode(wave, 600)
    # Every frame is near every other one, yet the sound goes through in seven pieces.
    encoder.reach = Reach(near_frames=599, piece_frames=90)
    pieces = encoder.encode(wave, 600)
    assert float((pieces - whole).abs().max()) < 1e-5


def test_far_frames_in_summary_stay_close_to_the_whole(encoder: Wav2VecEncoder, speech: AudioClip) -> None:
    """With groups as many as frames the summary is exact; with fewer it stays far better than leaving frames out."""
    wave = speech_for(speech, 40)
    whole = encoder.encode(wave, 1000)
    error = {}
    for groups in (1000, 128, 2):
        encoder.reach = Reach(near_frames=150, piece_frames=100, groups=groups)
        error[groups] = float((encoder.encode(wave, 1000) - whole).square().mean().sqrt())
    assert error[1000] < 1e-4
    assert error[128] < error[2] / 2
    assert error[128] < 0.05


def test_a_long_embedding_lies_on_disk_and_is_the_same(
    encoder: Wav2VecEncoder, speech: AudioClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = embed_voices(encoder, [speech, speech], combine="sequential")
    monkeypatch.setattr("infinitetalk.spool.MEMORY_BYTES", 0)
    on_disk = embed_voices(encoder, [speech, speech], combine="sequential")
    for a, b in zip(in_memory.features + in_memory.silence, on_disk.features + on_disk.silence, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(in_memory.sound["waveform"], on_disk.sound["waveform"])
