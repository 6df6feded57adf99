"""A merged model gives the same two models, bit for bit, as the two files that hold its parts."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ..support.merged_models import FORMATS, INDEX, one_file, shards


@pytest.fixture(scope="module")
def parts(golden_dir):
    """Base and audio part: the reference's tiny weights."""
    return load_file(golden_dir / "dit.safetensors"), load_file(golden_dir / "infinitetalk.safetensors")


@pytest.fixture
def merged(parts, tmp_path) -> Path:
    """A merged file, fp16."""
    return one_file(tmp_path / "merged", {**parts[0], **parts[1]})


def audio_part_of(path):
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    return load_infinitetalk(path)


def base_of(path):
    from infinitetalk.wanvideo.model.merged_checkpoint import load_base

    return load_base(path)


def refusal_of(path):
    from infinitetalk.errors import UserError

    with pytest.raises(UserError) as caught:
        audio_part_of(path)
    told = str(caught.value)
    assert told.endswith(".")
    assert ". " not in told
    return told


def assert_same_bits(ours, others):
    ours, others = ours.state_dict(), others.state_dict()
    assert ours.keys() == others.keys()
    for key, tensor in others.items():
        assert ours[key].dtype == tensor.dtype, key
        assert torch.equal(ours[key].float(), tensor.float()), key


@pytest.mark.parametrize("name", FORMATS)
def test_both_parts_are_those_of_two_files(comfy_core, parts, tmp_path, caplog, name):
    import comfy.sd

    how = FORMATS[name]
    base, audio = parts
    together = how.write(tmp_path / "together", how.stored({**base, **audio}))
    alone = how.write(tmp_path / "alone", how.stored(audio))
    assert_same_bits(audio_part_of(together).model, audio_part_of(alone).model)

    caplog.set_level(logging.INFO)
    ours = base_of(together)
    told = [record.getMessage() for record in caplog.records if "audio" in record.getMessage()]
    assert not told, told
    if name.startswith("GGUF"):  # core reads no such file: the same numbers as safetensors
        from infinitetalk.wanvideo.model.gguf_file import GgufTensors

        base = dict(GgufTensors(how.write(tmp_path / "base", how.stored(base))))
        plain = one_file(tmp_path / "plain", base)
    else:
        plain = one_file(tmp_path / "plain", how.stored(base))
    theirs = comfy.sd.load_diffusion_model(str(plain))
    assert_same_bits(ours.model.diffusion_model, theirs.model.diffusion_model)


def test_newer_scaled_checkpoints_name_their_layers_in_the_header(comfy_core, parts, tmp_path, caplog):
    import comfy.sd

    base, audio = parts
    how = FORMATS["scaled fp8"]

    def file(folder, state):
        stored = {key.replace(".scale_weight", ".weight_scale"): tensor for key, tensor in how.stored(state).items()}
        del stored["scaled_fp8"]
        layers = [key.removesuffix(".weight_scale") for key in stored if key.endswith(".weight_scale")]
        header = {"layers": {layer: {"format": "float8_e4m3fn"} for layer in layers}}
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "model.safetensors"
        save_file(stored, path, metadata={"_quantization_metadata": json.dumps({"format_version": "1.0", **header})})
        return path

    together, plain = file("together", {**base, **audio}), file("plain", base)
    caplog.set_level(logging.INFO)
    ours, theirs = base_of(together), comfy.sd.load_diffusion_model(str(plain))
    assert_same_bits(ours.model.diffusion_model, theirs.model.diffusion_model)
    assert not [record for record in caplog.records if "audio_cross" in record.getMessage()]


def test_a_header_that_cannot_be_read_gets_a_sentence(comfy_core, parts, tmp_path):
    from infinitetalk.errors import UserError

    path = tmp_path / "model.safetensors"
    for header in ("{", "[]", '{"layers": 3}'):
        save_file({**parts[0], **parts[1]}, path, metadata={"_quantization_metadata": header})
        with pytest.raises(UserError, match="_quantization_metadata cannot be read"):
            base_of(path)


def test_a_base_can_be_kept_in_fp8(comfy_core, merged):
    from infinitetalk.wanvideo.model.merged_checkpoint import load_base

    weight = load_base(merged, torch.float8_e4m3fn).model.diffusion_model.blocks[0].self_attn.q.weight
    assert weight.dtype == torch.float8_e4m3fn


def test_cores_own_loader_reads_the_same_file(comfy_core, parts, merged, tmp_path):
    import comfy.sd

    theirs = comfy.sd.load_diffusion_model(str(merged))
    assert_same_bits(base_of(merged).model.diffusion_model, theirs.model.diffusion_model)


def test_only_the_audio_part_of_a_large_file_is_read(comfy_core, golden_dir, parts, tmp_path):
    """8 GB of base, of which the disk holds nothing: whoever read them would need the memory."""
    if sys.platform == "win32":
        pytest.skip("files with holes, and the memory that a process has needed, are measured in another way there")
    path = tmp_path / "large.safetensors"
    _write_with_a_hole(path, parts[1], hole=8 << 30)
    code = (
        "import sys, resource; from pathlib import Path; sys.path.append(sys.argv[1]); import in_process\n"
        "in_process.import_core(Path(sys.argv[3])); in_process.load_pack()\n"
        "from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "load_infinitetalk(Path(sys.argv[4])); before = peak()\n"
        "load_infinitetalk(Path(sys.argv[2])); print(peak() - before)"
    )
    tools = Path(__file__).parents[2] / "tools"
    done = subprocess.run(
        [sys.executable, "-c", code, tools, path, tmp_path, golden_dir / "infinitetalk.safetensors"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert int(done.stdout.split()[-1]) < 64 << 10  # KiB


def _write_with_a_hole(path, audio, hole):
    """A merged file whose patch embedding is whole, and whose one other tensor of the base is a hole in the file."""
    plain = path.with_name("small.safetensors")
    base = {"patch_embedding.weight": torch.zeros(256, 36, 1, 2, 2), "img_emb.proj.0.bias": torch.zeros(1280)}
    save_file({**base, **audio}, plain)
    with plain.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        numbers = file.read()
    header["blocks.0.ffn.0.weight"] = {
        "dtype": "F16", "shape": [hole // 2 // 4096, 4096], "data_offsets": [len(numbers), len(numbers) + hole]
    }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + numbers)
        file.truncate(8 + len(text) + len(numbers) + hole)


def test_a_shard_alone_names_the_index(comfy_core, parts, tmp_path):
    index = shards(tmp_path, {**parts[0], **parts[1]})
    shard = tmp_path / "diffusion_pytorch_model-00002-of-00003.safetensors"
    assert f"one of 3 shards of a model: choose {INDEX}" in refusal_of(shard)
    index.unlink()
    assert "shard 2 of 3 of a model" in refusal_of(shard)


def test_an_index_without_one_of_its_shards_names_it(comfy_core, parts, tmp_path):
    index = shards(tmp_path, {**parts[0], **parts[1]})
    (tmp_path / "diffusion_pytorch_model-00002-of-00003.safetensors").unlink()
    assert "lists 3 shards, but diffusion_pytorch_model-00002-of-00003.safetensors cannot be found" in refusal_of(index)


def test_a_shard_of_another_model_is_found_out(comfy_core, parts, tmp_path):
    index = shards(tmp_path, {**parts[0], **parts[1]})
    save_file({"other": torch.zeros(1)}, tmp_path / "diffusion_pytorch_model-00002-of-00003.safetensors")
    assert "diffusion_pytorch_model-00002-of-00003.safetensors lacks" in refusal_of(index)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe", b"[]", b"{}", b'{"weight_map": 3}', b'{"weight_map": {}}', b'{"weight_map": {"a": 1}}',
        b'{"weight_map": {"a": "../model.safetensors"}}', b'{"weight_map": {"a": "..\\\\model.safetensors"}}',
        b'{"weight_map": {"a": "model.pt"}}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_index_gets_a_sentence(comfy_core, tmp_path, content):
    index = tmp_path / INDEX
    index.write_bytes(content)
    assert INDEX in refusal_of(index)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"patch_embedding.weight": torch.zeros(256, 16, 1, 2, 2)}, "a text-to-video model"),
        ({"patch_embedding.weight": torch.zeros(256, 48, 1, 2, 2)}, "a model of 48 input channels"),
        ({"patch_embedding.weight": torch.zeros(256)}, "a model of 0 input channels"),
        ({}, "no image embedding"),
    ],
)
def test_a_merged_model_on_another_base(comfy_core, parts, tmp_path, changed, named):
    base = {key: tensor for key, tensor in parts[0].items() if changed or not key.startswith("img_emb.")}
    told = refusal_of(one_file(tmp_path, {**base, **parts[1], **changed}))
    assert named in told
    assert "Wan 2.1 I2V" in told


def test_a_file_without_a_base_is_sent_to_the_other_loader(comfy_core, parts, tmp_path):
    from infinitetalk.errors import UserError

    with pytest.raises(UserError, match="no base model in it: load it with Load InfiniteTalk"):
        base_of(one_file(tmp_path, parts[1]))
