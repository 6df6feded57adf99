"""Every format a wav2vec 2.0 model comes in, and everything that is none."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from infinitetalk.audio.wav2vec import Wav2VecEncoder, load_encoder
from infinitetalk.audio.wav2vec_file import read_checkpoint
from infinitetalk.errors import UserError
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]
WAVE = torch.sin(torch.arange(16_000) * 0.05) * 0.3


@pytest.fixture
def weights(wav2vec_folder: Path) -> Weights:
    """The tiny golden model's tensors in float32, as published."""
    return {k: v.float() for k, v in load_file(wav2vec_folder / "model.safetensors").items()}


def bare(weights: Weights) -> Weights:
    return {k.removeprefix("wav2vec2."): v for k, v in weights.items()}


def parametrized(weights: Weights) -> Weights:
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    return {
        k.replace(*next(((a, b) for a, b in names.items() if k.endswith(a)), ("", ""))): v for k, v in weights.items()
    }


def folded(weights: Weights) -> Weights:
    name = "wav2vec2.encoder.pos_conv_embed.conv."
    rest = dict(weights)
    gain, direction = rest.pop(name + "weight_g"), rest.pop(name + "weight_v")
    return {**rest, name + "weight": torch._weight_norm(direction, gain, 2)}


def core_file(weights: Weights) -> Weights:
    """As in ComfyUI's own audio encoders: no prefix, nothing of the training."""
    kept = ("feature_", "encoder.")
    return {k: v for k, v in bare(weights).items() if k.startswith(kept)}


def with_ctc_head(weights: Weights) -> Weights:
    return {**weights, "lm_head.weight": torch.zeros(32, 64), "lm_head.bias": torch.zeros(32)}


LAYOUTS = [lambda w: w, bare, parametrized, folded, core_file, with_ctc_head]


def with_config(folder: Path, source: Path, **changes: object) -> Path:
    config = json.loads((source / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def expected(encoder: Wav2VecEncoder) -> torch.Tensor:
    return encoder.encode(WAVE, 25)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_every_layout_is_the_same_model(
    wav2vec_folder: Path,
    tmp_path: Path,
    weights: Weights,
    expected: torch.Tensor,
    layout: Callable[[Weights], Weights],
    name: str,
) -> None:
    content = {k: v.clone().contiguous() for k, v in layout(weights).items()}
    if name.endswith("safetensors"):
        save_file(content, tmp_path / name)
    else:
        torch.save(content, tmp_path / name)
    found = load_encoder(with_config(tmp_path, wav2vec_folder), "fp32").encode(WAVE, 25)
    assert torch.allclose(found, expected, atol=1e-5)


def test_a_file_alone_tells_its_sizes(tmp_path: Path, weights: Weights) -> None:
    save_file(weights, tmp_path / "any name.safetensors")
    config = read_checkpoint(tmp_path / "any name.safetensors").config
    assert (config.channels, config.layers, config.feed_forward, config.heads) == (64, 3, 128, 1)
    assert config.conv_channels == (32,) * 7
    assert config.conv_kernels == (10, 3, 3, 3, 3, 2, 2)
    assert (config.hop_samples, config.field_samples) == (320, 400)
    assert (config.position_kernel, config.position_groups) == (128, 16)
    assert config.group_norm
    assert not config.stable_layer_norm
    assert not config.conv_bias


@pytest.mark.parametrize("size", ["base", "large"])
def test_it_computes_what_transformers_computes(tmp_path: Path, size: str) -> None:
    """With transformers' own layers on the same weights, in both published architectures."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(0)
    large = size == "large"
    config = Wav2Vec2Config(
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=96,
        conv_dim=(32,) * 7,
        conv_bias=large,
        feat_extract_norm="layer" if large else "group",
        do_stable_layer_norm=large,
        num_conv_pos_embedding_groups=4,
        hidden_dropout=0.0,
    )
    theirs = Wav2Vec2Model(config).eval()
    save_file({k: v.clone() for k, v in theirs.state_dict().items()}, tmp_path / "x.safetensors")
    ours = load_encoder(tmp_path / "x.safetensors", "fp32")
    frames = ours.config.feature_count(len(WAVE))
    with torch.no_grad():
        output = theirs(WAVE[None], output_hidden_states=True)
    # The last one is normalized in the large models; transformers 5 lists it as it was before.
    wanted = [*output.hidden_states[1:-1], output.last_hidden_state]
    # As many frames as features: the interpolation in between, which transformers lacks, does nothing.
    assert torch.allclose(ours.encode(WAVE, frames), torch.stack(wanted, dim=2)[0], atol=1e-4)


def test_the_folders_wish_to_normalize_is_honoured(wav2vec_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(wav2vec_folder, tmp_path / "m")
    (folder / "preprocessor_config.json").write_text('{"do_normalize": true}')
    encoder = load_encoder(folder, "fp32")
    assert torch.allclose(encoder.encode(WAVE, 25), encoder.encode(WAVE * 0.1, 25), atol=1e-3)
    assert not load_encoder(wav2vec_folder, "fp32").do_normalize
    assert not load_encoder(wav2vec_folder / "model.safetensors", "fp32").do_normalize


def test_fp16_on_a_cpu_is_fp32_and_said(wav2vec_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        encoder = load_encoder(wav2vec_folder, "fp16", cpu=True)
    assert encoder.dtype == torch.float32
    assert "fp16 on a CPU is computed in fp32" in caplog.text


@pytest.mark.parametrize(("precision", "tolerance"), [("fp16", 0.03), ("bf16", 0.25)])
def test_half_precisions_stay_close(
    wav2vec_folder: Path, expected: torch.Tensor, precision: str, tolerance: float
) -> None:
    # oneDNN (torch 2.14) is wrong for bf16 in groups of 4 channels on CPUs with AMX; real models have groups of 48.
    with torch.backends.mkldnn.flags(enabled=False):
        found = load_encoder(wav2vec_folder, precision, cpu=False).encode(WAVE, 25)
    assert found.dtype == torch.float32
    assert 0 < float((found - expected).abs().max()) < tolerance


def test_values_beyond_fp16_are_said_and_not_passed_on(wav2vec_folder: Path) -> None:
    encoder = load_encoder(wav2vec_folder, "fp16", cpu=False)
    encoder.model.encoder.layers[1].feed_forward.output_dense.weight.fill_(6e4)
    encoder.model.encoder.layers[1].feed_forward.intermediate_dense.weight.fill_(6e4)
    with pytest.raises(UserError, match="beyond the range of float16"):
        encoder.encode(WAVE, 25)


def write(content: bytes) -> Callable[[Path, Weights], None]:
    return lambda path, _: path.write_bytes(content)


def tensors(*names: str) -> Callable[[Path, Weights], None]:
    return lambda path, _: save_file({n: torch.zeros(2, 2) for n in names}, path)


def without(part: str) -> Callable[[Path, Weights], None]:
    return lambda path, weights: save_file({k: v for k, v in weights.items() if part not in k}, path)


def renamed(a: str, b: str) -> Callable[[Path, Weights], None]:
    return lambda path, weights: save_file({k.replace(a, b): v for k, v in weights.items()}, path)


def truncated(path: Path, weights: Weights) -> None:
    save_file(weights, path)
    path.write_bytes(path.read_bytes()[:50_000])


class Trap:
    """Runs code when unpickled, unless the reader refuses."""

    def __reduce__(self) -> tuple:
        return (pytest.fail, ("a model file was executed",))


BROKEN = {
    "empty.safetensors": (write(b""), "is empty"),
    "text.safetensors": (write(b"hello there, this is a text file"), "no complete safetensors file"),
    "text.bin": (write(b"hello there, this is a text file"), "no PyTorch file of plain tensors"),
    "cut.safetensors": (truncated, "no complete safetensors file"),
    "x.gguf.bin": (write(b"GGUF" + bytes(60)), "a GGUF file"),
    "trap.bin": (lambda path, _: torch.save({"x": Trap()}, path), "no PyTorch file of plain tensors"),
    "list.bin": (lambda path, _: torch.save([1, 2], path), "holds a list"),
    "lora.safetensors": (tensors("blocks.0.self_attn.q.lora_A.weight"), "a LoRA"),
    "talk.safetensors": (tensors("audio_proj.proj1.weight"), "an InfiniteTalk or MultiTalk checkpoint"),
    "wan.safetensors": (tensors("blocks.0.self_attn.norm_q.weight"), "a Wan video model"),
    "whisper.safetensors": (tensors("model.encoder.embed_positions.weight"), "a Whisper encoder"),
    "other.safetensors": (tensors("some.weight"), "1 tensors such as some.weight"),
    "hubert.safetensors": (renamed("wav2vec2.", "hubert."), "a HuBERT encoder"),
    "wavlm.safetensors": (
        lambda p, w: save_file({**w, "wav2vec2.encoder.layers.0.attention.rel_attn_embed.weight": torch.zeros(2)}, p),
        "a WavLM encoder",
    ),
    "front.safetensors": (without("encoder.layers"), "no wav2vec2 transformer (0 layers"),
    "gap.safetensors": (without("layers.1.attention.k_proj.bias"), "k_proj.bias is missing"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_wav2vec2_is_refused_by_name(tmp_path: Path, weights: Weights, name: str) -> None:
    make, words = BROKEN[name]
    make(tmp_path / name, weights)
    with pytest.raises(UserError) as caught:
        load_encoder(tmp_path / name, "fp32")
    message = str(caught.value)
    assert name in message
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "hubert"}, "of type 'hubert'"),
        ({"hidden_size": 768}, "hidden_size 768 and the weights are made for 64"),
        ({"num_attention_heads": 5}, "5 heads do not divide"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"conv_stride": [5, 2, 2]}, "7 convolutions for 3 strides"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    wav2vec_folder: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    folder = with_config(Path(shutil.copytree(wav2vec_folder, tmp_path / "m")), wav2vec_folder, **changes)
    with pytest.raises(UserError) as caught:
        load_encoder(folder, "fp32")
    assert words in str(caught.value)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="put the weights beside it"):
        load_encoder(tmp_path, "fp32")
