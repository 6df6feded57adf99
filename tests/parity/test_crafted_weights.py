"""No weight file makes a loader fail otherwise than in one sentence, soon and without the memory that it asks for.

`INFINITETALK_TEST_MUTANTS=300` tries more of each kind than a quick run has time for.
"""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from ..support.crafted_weights import CHANGES, crafted
from ..support.damaged_data import WANTED, damaged, nested, odd_documents

COUNT = WANTED or 40
SLOWEST_SECONDS = 5
MOST_BYTES = 200 << 20
FORMATS = {"safetensors": save_file, "pt": torch.save}

Load = Callable[[Path], object]


@pytest.fixture(scope="module")
def models(golden_dir: Path, comfy_core: Path) -> dict[str, dict[str, torch.Tensor]]:
    """The reference's tiny weights of both kinds, without what only training uses."""
    encoder = load_file(golden_dir / "wav2vec2.safetensors")
    only_training = ("quantizer.", "project_", "masked_spec_embed")
    encoder = {key: one for key, one in encoder.items() if not key.removeprefix("wav2vec2.").startswith(only_training)}
    talk = load_file(golden_dir / "infinitetalk.safetensors")
    return {"infinitetalk": {key: one.float() for key, one in talk.items()}, "wav2vec": encoder}


@pytest.fixture(params=["infinitetalk", "wav2vec"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def load(comfy_core: Path, kind: str) -> Load:
    """The loader of that kind; it gives the names and numbers that the model has then."""
    from infinitetalk.audio.wav2vec import load_encoder
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    def state(path: Path) -> dict[str, torch.Tensor]:
        model = load_infinitetalk(path).model if kind == "infinitetalk" else load_encoder(path, "fp32").model
        return model.state_dict()

    return state


def refusal(load: Load, path: Path, what: str) -> str | None:
    """The sentence, None where the file was taken, which then holds finite floats alone."""
    from infinitetalk.errors import UserError

    started, process = time.process_time(), psutil.Process()
    before = process.memory_info().rss
    try:
        state = load(path)
        sentence = None
        assert all(torch.isfinite(one).all() and one.is_floating_point() for one in state.values()), what
    except UserError as error:
        sentence = str(error)
        assert sentence.endswith("."), f"{what}: {sentence}"
        assert "\n" not in sentence, f"{what}: {sentence}"
        assert len(sentence) < 600, f"{what}: {sentence}"
    assert time.process_time() - started < SLOWEST_SECONDS, what
    assert process.memory_info().rss - before < MOST_BYTES, what
    return sentence


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_tensor_of_another_kind_is_taken(models, kind: str, load: Load, tmp_path: Path, suffix: str):
    path = tmp_path / f"crafted.{suffix}"
    for one in crafted(models[kind], COUNT, pickled=suffix == "pt"):
        path.unlink(missing_ok=True)
        FORMATS[suffix](one.weights, path)
        assert refusal(load, path, str(one)), f"taken: {one}"


@pytest.mark.parametrize("kind", ["infinitetalk"], indirect=True)
@pytest.mark.parametrize("change", ["int8", "int64", "bool", "complex", "NaN"])
def test_the_tensor_that_decides_the_precision_is_of_a_usual_one(models, load: Load, tmp_path: Path, change: str):
    key, weights = "audio_proj.proj1.weight", models["infinitetalk"]
    save_file({**weights, key: CHANGES[change](weights[key])}, tmp_path / "crafted.safetensors")
    assert key in refusal(load, tmp_path / "crafted.safetensors", change)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_damaged_file_is_refused_or_whole(models, kind: str, load: Load, tmp_path: Path, suffix: str):
    path = tmp_path / f"whole.{suffix}"
    FORMATS[suffix](models[kind], path)
    data = path.read_bytes()
    for seed in range(COUNT):
        damaged_path = tmp_path / f"damaged-{seed}.{suffix}"
        damaged_path.write_bytes(damaged(data, seed))
        refusal(load, damaged_path, f"seed {seed}")
        damaged_path.unlink()


@pytest.mark.parametrize("suffix", ["bin", "safetensors", "pth", "gguf"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "is a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html><head><title>Sign in</title>", "is a web page, not a model"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>", "is a web page, not a model"),
    ],
)
def test_what_was_downloaded_in_place_of_a_model_is_named(load: Load, tmp_path, content, said, suffix):
    path = tmp_path / f"model.{suffix}"
    path.write_bytes(content)
    assert said in refusal(load, path, suffix)


@pytest.mark.parametrize("kind", ["wav2vec"], indirect=True)
def test_odd_settings_beside_a_model_are_refused_or_do_not_matter(golden_dir: Path, load: Load, tmp_path: Path):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copyfile(golden_dir / "wav2vec2.safetensors", folder / "model.safetensors")
    settings = json.loads((golden_dir / "wav2vec2_config.json").read_text())
    for number, odd in enumerate(odd_documents(settings, iter(range(COUNT * 2)))):
        (folder / "config.json").write_text(json.dumps(odd))
        refusal(load, folder, f"settings {number}")
    deep = json.dumps(nested(900)).replace("[]", "[" * 90_000 + "]" * 90_000)
    for text in (deep, '{"layer_norm_eps": ' + "9" * 5000 + "}", "[1]", "", "\ud800".encode("utf-8", "surrogatepass")):
        (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        assert refusal(load, folder, str(text[:20]))


def gguf_header(*fields: bytes, tensors: bytes = b"", count: int = 0) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, count, len(fields)) + b"".join(fields) + tensors


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def gguf_array(kind: int, count: int, values: bytes = b"") -> bytes:
    return gguf_text("some.array") + struct.pack("<IIQ", 9, kind, count) + values


DEEP = b"".join(struct.pack("<IQ", 9, 1) for _ in range(5000)) + struct.pack("<IQ", 0, 0)
ONE_TENSOR = gguf_text("audio_proj.proj1.weight")
GGUF = {
    "an array of 2^40 numbers": gguf_header(gguf_array(4, 2**40)),
    "an array of 2^40 texts": gguf_header(gguf_array(8, 2**40)),
    "an array of 2^40 arrays": gguf_header(gguf_array(9, 2**40)),
    "4 million texts of no length": gguf_header(gguf_array(8, 2**22, bytes(2**25))),
    "4 million arrays in an array": gguf_header(gguf_array(9, 2**22, struct.pack("<IQ", 0, 0) * 2**16)),
    "16 million small numbers": gguf_header(gguf_array(0, 2**24, bytes(2**24))),
    "nested 5000 deep": gguf_header(gguf_array(9, 1, DEEP)),
    "2^63 tensors": gguf_header(count=2**63),
    "2^63 fields": b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63),
    "a name of 2^62 letters": gguf_header(tensors=struct.pack("<Q", 2**62), count=1),
    "a tensor of 2^64 values": gguf_header(tensors=ONE_TENSOR + struct.pack("<IQQIQ", 2, 2**32, 2**32, 0, 0), count=1),
    "a tensor of no values": gguf_header(tensors=ONE_TENSOR + struct.pack("<IQQIQ", 2, 2**62, 0, 0, 0), count=1),
    "a tensor of 9 axes": gguf_header(tensors=ONE_TENSOR + struct.pack("<I9QIQ", 9, *[1] * 9, 0, 0), count=1),
    "a tensor behind the end": gguf_header(tensors=ONE_TENSOR + struct.pack("<IQIQ", 1, 4, 0, 2**62), count=1),
    "an unknown quantization": gguf_header(tensors=ONE_TENSOR + struct.pack("<IQIQ", 1, 4, 77, 0), count=1) + bytes(99),
    "an alignment of 0": gguf_header(gguf_text("general.alignment") + struct.pack("<II", 4, 0)),
    "an unknown kind of field": gguf_header(gguf_text("x") + struct.pack("<I", 99)),
    "another version": b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
    "nothing in it": gguf_header(),
    "the magic alone": b"GGUF",
}


@pytest.mark.parametrize("kind", ["infinitetalk"], indirect=True)
@pytest.mark.parametrize("name", GGUF)
def test_a_gguf_header_that_claims_too_much_is_refused_at_once(comfy_core: Path, load: Load, tmp_path: Path, name: str):
    path = tmp_path / "crafted.gguf"
    path.write_bytes(GGUF[name])
    assert refusal(load, path, name)


@pytest.fixture
def whole_gguf(models, tmp_path: Path) -> Iterator[bytes]:
    import gguf

    path = tmp_path / "whole.gguf"
    writer = gguf.GGUFWriter(path, "wan")
    writer.add_array("some.words", ["a", "bc"])
    writer.add_array("some.numbers", [1, 2, 3])
    for key, tensor in models["infinitetalk"].items():
        writer.add_tensor(key, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["infinitetalk"], indirect=True)
def test_a_damaged_gguf_file_is_refused_or_whole(whole_gguf: bytes, load: Load, tmp_path: Path):
    path = tmp_path / "damaged.gguf"
    path.write_bytes(whole_gguf)
    assert refusal(load, path, "whole") is None
    for seed in range(COUNT):
        path = tmp_path / f"damaged-{seed}.gguf"
        path.write_bytes(damaged(whole_gguf, seed))
        refusal(load, path, f"seed {seed}")
        path.unlink()
