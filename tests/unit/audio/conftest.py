"""Sounds and models that the audio tests share. All of them are made here; only the golden numbers come from files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from infinitetalk.audio.audio_clip import AudioClip
from infinitetalk.audio.wav2vec import Wav2VecEncoder, load_encoder


@pytest.fixture(scope="session")
def wav2vec_folder(golden_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden tiny model as a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("models") / "tiny wav2vec2"
    folder.mkdir()
    for name, target in (
        ("wav2vec2.safetensors", "model.safetensors"),
        ("wav2vec2_config.json", "config.json"),
        ("wav2vec2_preprocessor_config.json", "preprocessor_config.json"),
    ):
        shutil.copyfile(golden_dir / name, folder / target)
    return folder


@pytest.fixture
def encoder(wav2vec_folder: Path) -> Wav2VecEncoder:
    """The golden tiny model in float32 on the CPU."""
    return load_encoder(wav2vec_folder, "fp32")


@pytest.fixture(scope="session")
def speech(golden_dir: Path) -> AudioClip:
    """3.3 s of speech, 16 kHz, mono."""
    samples, rate = soundfile.read(golden_dir / "speech_16k_mono.wav", dtype="float32")
    return AudioClip(torch.from_numpy(samples)[None], rate)


@pytest.fixture(scope="session")
def stereo_speech(golden_dir: Path) -> AudioClip:
    """The same speech, 44.1 kHz, two different channels."""
    samples, rate = soundfile.read(golden_dir / "speech_44k1_stereo.wav", dtype="float32")
    return AudioClip(torch.from_numpy(np.ascontiguousarray(samples.T)), rate)
