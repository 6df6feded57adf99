"""Graphs of WanVideoWrapper and of core's InfiniteTalk, written for this test, rewritten into ours and run."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from comfy_client import ComfyClient, Prompt
from environment import ROOT
from evaluation.finished import run
from media_facts import measure
from migrate import MigrationError, migrate
from talking_picture import inputs_of

from ..support.stand_ins import SPEECH_SECONDS

I2V, SINGLE = "wan2.1_i2v_480p_14B_fp8_scaled.safetensors", "wan2.1_infiniteTalk_single_fp16.safetensors"
LORA = "lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors"
WAV2VEC, VAE = "wav2vec2-chinese-base_fp16.safetensors", "wan_2.1_vae.safetensors"
UMT5, CLIP_H = "umt5_xxl_fp8_e4m3fn_scaled.safetensors", "clip_vision_h.safetensors"
FRAMES = math.ceil(SPEECH_SECONDS * 25)


def graph(**nodes: tuple[str, dict[str, Any]]) -> Prompt:
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}


def wrapper(**sampler: Any) -> Prompt:
    """A talking picture of WanVideoWrapper, with the settings that its users share."""
    return graph(
        image=("LoadImage", {"image": "face.png"}),
        speech=("InfiniteTalkLoadAudio", {"audio": "speech.flac", "start_time": 0.0, "duration": 0.0}),
        wav2vec=("Wav2VecModelLoader", {"model": WAV2VEC, "base_precision": "fp16", "load_device": "main_device"}),
        talk=("MultiTalkModelLoader", {"model": SINGLE}),
        lora=("WanVideoLoraSelect", {"lora": LORA, "strength": 0.8}),
        model=("WanVideoModelLoader", {"model": I2V, "lora": ["lora", 0], "multitalk_model": ["talk", 0]}),
        swap=("WanVideoSetBlockSwap", {"model": ["model", 0]}),
        vae=("WanVideoVAELoader", {"model_name": VAE}),
        texts=("WanVideoTextEncodeCached", {"model_name": UMT5, "positive_prompt": "talks", "negative_prompt": "bad"}),
        vision=("CLIPVisionLoader", {"clip_name": CLIP_H}),
        seen=("WanVideoClipVisionEncode", {"clip_vision": ["vision", 0], "image_1": ["image", 0]}),
        embeds=("MultiTalkWav2VecEmbeds", {
            "wav2vec_model": ["wav2vec", 0], "audio_1": ["speech", 0], "normalize_loudness": True, "num_frames": 500,
            "fps": 25.0, "audio_scale": 1.2, "audio_cfg_scale": 1.0, "multi_audio_type": "para",
        }),
        long=("WanVideoImageToVideoMultiTalk", {
            "vae": ["vae", 0], "start_image": ["image", 0], "clip_embeds": ["seen", 0], "width": 64, "height": 48,
            "frame_window_size": 17, "motion_frame": 5, "colormatch": "mkl", "force_offload": False,
        }),
        sampler=("WanVideoSampler", {
            "model": ["swap", 0], "image_embeds": ["long", 0], "text_embeds": ["texts", 0],
            "multitalk_embeds": ["embeds", 0], "steps": 2, "cfg": 1.0, "shift": 11.0, "seed": 7,
            "scheduler": "dpm++_sde", **sampler,
        }),
        decode=("WanVideoDecode", {"vae": ["vae", 0], "samples": ["sampler", 0]}),
        save=("VHS_VideoCombine", {"images": ["decode", 0], "filename_prefix": "tests/wrapper", "crf": 21}),
    )  # fmt: skip


def core() -> Prompt:
    """A talking picture of core's nodes, extended once."""
    talk = {
        "mode": "single_speaker", "model": ["shift", 0], "model_patch": ["talk", 0], "positive": ["yes", 0],
        "negative": ["no", 0], "vae": ["vae", 0], "width": 64, "height": 48, "length": 17, "motion_frame_count": 9,
        "clip_vision_output": ["seen", 0], "start_image": ["image", 0], "audio_encoder_output_1": ["heard", 0],
        "audio_scale": 1.0,
    }  # fmt: skip
    how = {"steps": 2, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return graph(
        image=("LoadImage", {"image": "face.png"}),
        speech=("InfiniteTalkLoadAudio", {"audio": "speech.flac", "start_time": 0.0, "duration": 0.0}),
        encoder=("AudioEncoderLoader", {"audio_encoder_name": WAV2VEC}),
        heard=("AudioEncoderEncode", {"audio_encoder": ["encoder", 0], "audio": ["speech", 0]}),
        talk=("ModelPatchLoader", {"name": SINGLE}),
        model=("UNETLoader", {"unet_name": I2V, "weight_dtype": "default"}),
        shift=("ModelSamplingSD3", {"model": ["model", 0], "shift": 5.0}),
        vae=("VAELoader", {"vae_name": VAE}),
        clip=("CLIPLoader", {"clip_name": UMT5, "type": "wan", "device": "default"}),
        yes=("CLIPTextEncode", {"clip": ["clip", 0], "text": "talks"}),
        no=("CLIPTextEncode", {"clip": ["clip", 0], "text": "bad"}),
        vision=("CLIPVisionLoader", {"clip_name": CLIP_H}),
        seen=("CLIPVisionEncode", {"clip_vision": ["vision", 0], "image": ["image", 0], "crop": "none"}),
        first=("WanInfiniteTalkToVideo", talk),
        sample=("KSampler", {"model": ["first", 0], "positive": ["first", 1], "negative": ["first", 2],
                             "latent_image": ["first", 3], "seed": 3, **how}),
        decode=("VAEDecode", {"samples": ["sample", 0], "vae": ["vae", 0]}),
        second=("WanInfiniteTalkToVideo", {**talk, "previous_frames": ["decode", 0]}),
        sample_2=("KSampler", {"model": ["second", 0], "positive": ["second", 1], "negative": ["second", 2],
                               "latent_image": ["second", 3], "seed": 4, **how}),
        decode_2=("VAEDecode", {"samples": ["sample_2", 0], "vae": ["vae", 0]}),
        video=("CreateVideo", {"images": ["decode_2", 0], "audio": ["speech", 0], "fps": 25.0}),
        save=("SaveVideo", {"video": ["video", 0], "filename_prefix": "tests/core", "format": "auto", "codec": "auto"}),
    )  # fmt: skip


def fed(old: Prompt, *places: str) -> Prompt:
    """The graph with inputs `NODE.INPUT` that come from nodes, as users share it."""
    for number, place in enumerate(places):
        node, name = place.split(".")
        value = old[node]["inputs"][name]
        kind = "PrimitiveInt" if isinstance(value, int) else "PrimitiveString"
        old[f"value {number}"] = {"class_type": kind, "inputs": {"value": value}}
        old[node]["inputs"][name] = [f"value {number}", 0]
    return old


WRAPPER_FED = ("long.width", "long.height", "embeds.num_frames", "sampler.seed", "texts.positive_prompt")
CORE_FED = ("first.width", "first.height", "sample.steps", "sample.seed")


@pytest.mark.parametrize("old", [fed(wrapper(), *WRAPPER_FED), fed(core(), *CORE_FED)], ids=["wrapper", "core"])
def test_a_rewritten_graph_runs_and_its_video_is_as_long_as_the_speech(client: ComfyClient, old: Prompt):
    new, _ = migrate(old)
    facts = measure(run(client, new)[0])
    assert (facts.frames, facts.width, facts.height) == (FRAMES, 64, 48)
    assert facts.audio_codec is not None


def test_the_wrappers_settings_are_carried_over():
    new, notes = migrate(wrapper(start_step=1))
    sampler = inputs_of(new, "InfiniteTalkSampler")
    found = {name: sampler[name] for name in ("steps", "shift", "seed", "text_cfg", "audio_scale", "color_correction")}
    assert found == {
        "steps": 2, "shift": 11.0, "seed": 7, "text_cfg": 1.0, "audio_scale": 1.2, "color_correction": 1.0,
    }  # fmt: skip
    assert (sampler["sampler_name"], sampler["scheduler"]) == ("dpmpp_sde", "simple")
    lora = inputs_of(new, "LoraLoaderModelOnly")
    assert (lora["lora_name"], lora["strength_model"]) == (LORA, 0.8)
    assert inputs_of(new, "SaveVideoWithAudio")["crf"] == 21
    assert any("denoise 0.50" in note for note in notes)


def test_cores_chain_becomes_one_sampler_and_the_shift_is_that_of_the_graph():
    new, notes = migrate(core())
    sampler = inputs_of(new, "InfiniteTalkSampler")
    assert (sampler["sampler_name"], sampler["scheduler"], sampler["seed"]) == ("euler", "normal", 3)
    assert (sampler["shift"], sampler["motion_frames"]) == (5.0, 9)
    assert {node["class_type"] for node in new.values()}.isdisjoint({"KSampler", "WanInfiniteTalkToVideo", "VAEDecode"})
    assert any("one sampler now" in note for note in notes)


def test_what_has_no_counterpart_is_said():
    old = wrapper(scheduler="flowmatch_causvid")
    old["long"]["inputs"]["motion_frame"] = 24
    old["embeds"]["inputs"]["smooth_transients"] = True
    said = " ".join(migrate(old)[1])
    assert "flowmatch_causvid has no counterpart" in said
    assert "24 motion frames are 21 now" in said
    assert "smooth_transients" in said


def test_what_is_computed_from_a_value_of_another_node_is_said():
    places = ("long.motion_frame", "sampler.start_step", "sampler.scheduler", "embeds.multi_audio_type")
    new, notes = migrate(fed(wrapper(start_step=1), *places))
    sampler, said = inputs_of(new, "InfiniteTalkSampler"), " ".join(notes)
    assert sampler["motion_frames"] == ["value 0", 0]
    assert (sampler["sampler_name"], sampler["scheduler"]) == ("euler", "infinitetalk")
    assert inputs_of(new, "InfiniteTalkAudioEmbeds")["combine"] == "parallel"
    for words in ("motion_frames is fed", "start_step is fed", "scheduler is fed", "multi_audio_type is fed"):
        assert words in said


def test_a_gguf_base_is_loaded_by_the_node_of_its_pack():
    old = wrapper()
    old["model"]["inputs"]["model"] = "wan2.1-i2v-14b-480p-Q8_0.gguf"
    new, notes = migrate(old)
    assert inputs_of(new, "UnetLoaderGGUF") == {"unet_name": "wan2.1-i2v-14b-480p-Q8_0.gguf"}
    assert any("ComfyUI-GGUF" in note for note in notes)


def broken(change: Callable[[Prompt], object]) -> Prompt:
    old = wrapper()
    change(old)
    return old


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("not JSON", "cannot be read"),
        ((ROOT / "example_workflows" / "talking_picture.json").read_text(encoding="utf-8"), "no graph in the API"),
        (json.dumps(broken(lambda old: old["sampler"]["inputs"].pop("shift"))), "lacks its input 'shift'"),
        (json.dumps(broken(lambda old: old.pop("vision"))), "has no node 'vision'"),
    ],
    ids=["no file", "no JSON", "the editor's", "an input is missing", "a node is missing"],
)
def test_a_file_that_cannot_be_rewritten_is_one_sentence(tmp_path: Path, content: str | None, words: str):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    if content is not None:
        old.write_text(content, encoding="utf-8")
    command = [sys.executable, ROOT / "tools" / "migrate.py", old, new]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert words in done.stderr
    assert not new.exists()


def test_a_graph_without_infinitetalk_is_refused_with_a_sentence(tmp_path: Path):
    with pytest.raises(MigrationError, match="neither MultiTalkWav2VecEmbeds nor WanInfiniteTalkToVideo"):
        migrate(graph(image=("LoadImage", {"image": "face.png"})))
    old = tmp_path / "old.json"
    old.write_text(json.dumps(wrapper()), encoding="utf-8")
    command = [sys.executable, ROOT / "tools" / "migrate.py", old, tmp_path / "new.json"]
    small_console = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=small_console)
    assert "umt5_xxl_\\u2026" in done.stdout
    assert json.loads((tmp_path / "new.json").read_text(encoding="utf-8")) == migrate(wrapper())[0]
