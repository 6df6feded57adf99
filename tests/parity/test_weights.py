"""Every format of InfiniteTalk weights gives the same model, and every other file a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ..support.shapes import largest_difference


@pytest.fixture(scope="module")
def weights(golden_dir):
    """The reference's tiny weights, float32."""
    state = load_file(golden_dir / "infinitetalk.safetensors")
    return {key: tensor.float() for key, tensor in state.items()}


def loaded(path):
    from infinitetalk.wanvideo.model.checkpoint import load_infinitetalk

    return {key: tensor.float() for key, tensor in load_infinitetalk(path).model.state_dict().items()}


def assert_close(ours, weights, tolerance):
    """Each tensor within `tolerance` of its largest number."""
    assert ours.keys() == weights.keys()
    for key, tensor in weights.items():
        assert largest_difference(ours[key], tensor) <= tolerance * tensor.abs().max(), key


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 0), (torch.float16, 0), (torch.bfloat16, 2**-8)])
def test_plain_precisions(comfy_core, weights, tmp_path, dtype, tolerance):
    path = tmp_path / "weights.safetensors"
    save_file({key: tensor.to(dtype) for key, tensor in weights.items()}, path)
    assert_close(loaded(path), weights, tolerance)


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model."])
def test_prefixes_of_whole_checkpoints(comfy_core, weights, tmp_path, prefix):
    path = tmp_path / "weights.safetensors"
    save_file({prefix + key: tensor for key, tensor in weights.items()}, path)
    assert_close(loaded(path), weights, 0)


def test_pickled_weights(comfy_core, weights, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(weights, path)
    assert_close(loaded(path), weights, 0)


@pytest.mark.parametrize("spelling", [".scale_weight", ".weight_scale"])
@pytest.mark.parametrize("per_row", [False, True])
def test_scaled_fp8(comfy_core, weights, tmp_path, spelling, per_row):
    state = {"scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)} if spelling == ".scale_weight" else {}
    for key, tensor in weights.items():
        if tensor.ndim == 2:
            scale = tensor.abs().amax(dim=1) / 448 if per_row else (tensor.abs().max() / 448).reshape(1)
            state[key] = (tensor / scale.reshape(-1, 1)).to(torch.float8_e4m3fn)
            state[key.removesuffix(".weight") + spelling] = scale
            state[key.removesuffix(".weight") + ".input_scale"] = torch.ones(1)
        else:
            state[key] = tensor
    path = tmp_path / "fp8.safetensors"
    save_file(state, path)
    assert_close(loaded(path), weights, 2**-4)


@pytest.mark.parametrize(
    ("kind", "tolerance"), [("Q8_0", 0.005), ("Q5_0", 0.05), ("Q4_0", 0.1), ("BF16", 2**-8), ("F16", 0), ("F32", 1e-3)]
)
def test_gguf(comfy_core, weights, tmp_path, kind, tolerance):
    import gguf

    path = tmp_path / "weights.gguf"
    writer = gguf.GGUFWriter(path, "wan")
    wanted = gguf.GGMLQuantizationType[kind]
    for key, tensor in weights.items():
        quantizable = tensor.ndim == 2 and tensor.shape[1] % 32 == 0
        data = tensor.numpy()
        if quantizable and kind not in ("F32", "F16"):
            packed = gguf.quants.quantize(data, wanted)
            writer.add_tensor(key, packed, raw_dtype=wanted)
        else:
            writer.add_tensor(key, data.astype(np.float16 if kind == "F16" and quantizable else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert_close(loaded(path), weights, tolerance)


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        (["patch_embedding.weight", "blocks.0.self_attn.q.weight"], "a video model"),
        (["diffusion_model.blocks.0.self_attn.q.lora_A.weight"], "a LoRA"),
        (["lora_unet_blocks_0.lora_down.weight", "lora_unet_blocks_0.alpha"], "a LoRA"),
        (["audio_proj.proj1.weight", "blocks.0.audio_cross_attn.q_norm.weight"], "LongCat"),
        (
            ["patch_embedding.weight", "casual_audio_encoder.weights", "audio_injector.injector.0.q.weight"],
            "Wan 2.2 S2V",
        ),
        (["patch_embedding.weight", "audio_proj.audio_proj_glob_1.layer.bias"], "HuMo"),
        (["proj_model.proj.weight", "audio_processor.blocks.0.cross_attn.processor.k_proj.weight"], "FantasyTalking"),
        (["blocks.0.self_attn.q.weight._data"], "a whole model quantized with quanto"),
        (["shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"], "a text encoder"),
        (["wav2vec2.feature_extractor.conv_layers.0.conv.weight"], "a wav2vec2 model"),
        (["decoder.conv1.weight", "encoder.conv1.weight"], "a VAE"),
        (["something.else"], "an unknown model"),
    ],
)
def test_other_files_are_called_by_their_name(comfy_core, tmp_path, keys, kind):
    from infinitetalk.errors import UserError

    path = tmp_path / "file.safetensors"
    save_file({key: torch.zeros(4, 4) for key in keys}, path)
    with pytest.raises(UserError, match=rf"file\.safetensors is {kind}.*load InfiniteTalk's own weights"):
        loaded(path)


def test_fantasytalkings_own_file_is_called_by_its_name(comfy_core, tmp_path):
    from infinitetalk.errors import UserError

    path = tmp_path / "fantasytalking_model.ckpt"
    processors = {"blocks.0.cross_attn.processor.k_proj.weight": torch.zeros(4, 4)}
    torch.save({"proj_model": {"proj.weight": torch.zeros(4, 4)}, "audio_processor": processors}, path)
    with pytest.raises(UserError, match=r"is FantasyTalking, not InfiniteTalk weights"):
        loaded(path)


def test_a_file_with_missing_tensors_is_refused(comfy_core, weights, tmp_path):
    from infinitetalk.errors import UserError

    path = tmp_path / "cut.safetensors"
    save_file({key: tensor for key, tensor in weights.items() if key != "blocks.2.norm_x.bias"}, path)
    with pytest.raises(UserError, match=r"blocks\.2\.norm_x\.bias is missing"):
        loaded(path)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("a.gguf", b"\x80\x00 safetensors, renamed", "ends in .gguf but is none"),
        ("a.gguf", b"GGUF\x03\x00\x00\x00", "cannot be read as GGUF"),
        ("a.safetensors", b"<html>not found</html>", "is a web page, not a model"),
    ],
)
def test_files_that_are_not_what_their_name_says(comfy_core, tmp_path, name, content, named):
    from infinitetalk.errors import UserError

    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=named):
        loaded(tmp_path / name)
