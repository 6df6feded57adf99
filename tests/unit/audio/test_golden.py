"""Against the numbers of the authors' reference (see tests/golden/README.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.embeds import embed_voices
from infinitetalk.audio.loudness import gain_to_target, integrated_loudness
from infinitetalk.audio.resampling import resampled
from infinitetalk.audio.wav2vec import ConvFeatures, Wav2VecEncoder
from safetensors.torch import load_file

TOLERANCE = 1e-4  # of values around 1


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(golden_dir / "wav2vec.safetensors")


def assert_close(found: torch.Tensor, wanted: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) < tolerance


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("loud", [False, True])
def test_embeddings_are_the_references(
    golden: dict[str, torch.Tensor], encoder: Wav2VecEncoder, speech: AudioClip, normalize: bool, loud: bool
) -> None:
    wave = golden["wave_16k_loudnorm"] if loud else speech.samples[0]
    encoder.do_normalize = normalize
    name = f"emb_16k_{'loudnorm' if loud else 'raw'}{'_donorm' if normalize else ''}"
    assert_close(encoder.encode(wave, 82), golden[name])


def test_features_before_the_transformer_are_the_references(
    golden: dict[str, torch.Tensor], encoder: Wav2VecEncoder
) -> None:
    wave = golden["wave_16k_loudnorm"]
    rows = ConvFeatures(encoder, wave, 82, None, torch.device("cpu"))
    assert_close(encoder.model.feature_extractor(wave, rows.stats).T, golden["conv_features_16k_loudnorm"])
    assert_close(rows.read(0, 82), golden["interp_features_16k_loudnorm"])


def test_loudness_and_resampling_are_the_references(
    golden: dict[str, torch.Tensor], speech: AudioClip, stereo_speech: AudioClip
) -> None:
    gain = gain_to_target(integrated_loudness([speech.samples[0].numpy()], 16_000))
    assert_close(speech.samples[0] * gain, golden["wave_16k_loudnorm"], 1e-6)
    assert_close(resampled(stereo_speech, 16_000, mono=True).samples[0], golden["wave_44k1_resampled"], 1e-6)


def test_a_silent_partner_is_silence_through_the_encoder(
    golden: dict[str, torch.Tensor], encoder: Wav2VecEncoder
) -> None:
    assert_close(encoder.encode(torch.zeros(52_800), 82), golden["emb_silent_partner"])


def test_two_voices_one_after_the_other_are_the_references(
    golden: dict[str, torch.Tensor], encoder: Wav2VecEncoder, speech: AudioClip
) -> None:
    embeds = embed_voices(encoder, [speech, speech.cut(27_200)], combine="sequential")
    assert embeds.frames == 125
    assert_close(embeds.features[0], golden["emb_multi_add_1"])
    assert_close(embeds.features[1], golden["emb_multi_add_2"])


def test_a_stereo_file_at_44100_hz_gives_the_references_numbers_on_whole_frames(
    encoder: Wav2VecEncoder, stereo_speech: AudioClip, golden: dict[str, torch.Tensor]
) -> None:
    """The reference squeezes 82.5 frames of sound into 82 and drifts; over 82 whole frames both agree."""
    whole = stereo_speech.cut(82 * 1764)
    wave = resampled(whole, 16_000, mono=True).samples[0]
    wave = wave * gain_to_target(integrated_loudness([wave.numpy()], 16_000))
    assert_close(embed_voices(encoder, [whole]).features[0], encoder.encode(wave, 82))
    loud = golden["wave_44k1_resampled"]
    loud = loud * gain_to_target(integrated_loudness([loud.numpy()], 16_000))
    assert_close(encoder.encode(loud, 82), golden["emb_44k1_loudnorm"])
