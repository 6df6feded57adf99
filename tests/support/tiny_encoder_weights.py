"""Weights of the tiny text encoder and CLIP Vision, for a core that has the extension `tiny_encoders`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sentencepiece
from tiny_models import Maker

if TYPE_CHECKING:
    from tiny_models import Weights

EXTENSION = Path(__file__).resolve().parent / "tiny_encoders"
LAST_LAYER, REAL_FEED_FORWARD = "encoder.block.23.layer.1.DenseReluDense.wi_1.weight", 10240
LETTERS = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ ,.;:!?'-"


def text_encoder(seed: int) -> Weights:
    """umt5 with its tokenizer inside, as core's own repackaged files have it."""
    sizes, make = _sizes("umt5_config_xxl"), Maker(seed)
    width, inner = sizes["d_model"], sizes["num_heads"] * sizes["d_kv"]
    make.noise("shared.weight", sizes["vocab_size"], width, std=1.0)
    for index in range(sizes["num_layers"]):
        attention, feed_forward = (f"encoder.block.{index}.layer.{layer}" for layer in range(2))
        for part in "qkv":
            make.noise(f"{attention}.SelfAttention.{part}.weight", inner, width, std=width**-0.5)
        make.noise(f"{attention}.SelfAttention.o.weight", width, inner, std=inner**-0.5)
        buckets = sizes["relative_attention_num_buckets"]
        make.noise(f"{attention}.SelfAttention.relative_attention_bias.weight", buckets, sizes["num_heads"], std=0.1)
        for part in ("wi_0", "wi_1"):
            make.noise(f"{feed_forward}.DenseReluDense.{part}.weight", sizes["d_ff"], width, std=width**-0.5)
        make.noise(f"{feed_forward}.DenseReluDense.wo.weight", width, sizes["d_ff"], std=sizes["d_ff"] ** -0.5)
        for layer in (attention, feed_forward):
            make.rms(f"{layer}.layer_norm", width)
    make.rms("encoder.final_layer_norm", width)
    # Core knows the real model by the key and the sizes of its last layer, which nothing here uses.
    make.weights[LAST_LAYER] = np.zeros((REAL_FEED_FORWARD, width), dtype=np.float16)
    return {**make.weights, "spiece_model": np.frombuffer(_tokenizer(sizes["vocab_size"]), dtype=np.uint8)}


def clip_vision(seed: int) -> Weights:
    """CLIP ViT-H under the key names that core's repackaged file has."""
    sizes, make = _sizes("clip_vision_config_h"), Maker(seed)
    width, patches = sizes["hidden_size"], (sizes["image_size"] // sizes["patch_size"]) ** 2
    embeddings = "vision_model.embeddings"
    make.noise(f"{embeddings}.class_embedding", width, std=1.0)
    make.noise(f"{embeddings}.patch_embedding.weight", width, 3, *[sizes["patch_size"]] * 2, std=0.05)
    make.noise(f"{embeddings}.position_embedding.weight", patches + 1, width, std=0.1)
    make.norm("vision_model.pre_layrnorm", width)
    for index in range(sizes["num_hidden_layers"]):
        layer = f"vision_model.encoder.layers.{index}"
        for part in "qkv":
            make.linear(f"{layer}.self_attn.{part}_proj", width, width)
        make.linear(f"{layer}.self_attn.out_proj", width, width)
        make.linear(f"{layer}.mlp.fc1", width, sizes["intermediate_size"])
        make.linear(f"{layer}.mlp.fc2", sizes["intermediate_size"], width)
        for norm in ("layer_norm1", "layer_norm2"):
            make.norm(f"{layer}.{norm}", width)
    make.norm("vision_model.post_layernorm", width)
    make.noise("visual_projection.weight", sizes["projection_dim"], width, std=width**-0.5)
    # Core knows the real model by the number of its layers.
    make.noise("vision_model.encoder.layers.30.layer_norm1.weight", width, std=0.1, mean=1.0)
    return make.weights


def _sizes(name: str) -> dict[str, Any]:
    return json.loads((EXTENSION / f"{name}.json").read_text(encoding="utf-8"))


def _tokenizer(vocabulary: int) -> bytes:
    """A SentencePiece model of single letters, with the special tokens where T5 has them."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([LETTERS]), model_writer=written, model_type="char", vocab_size=vocabulary,
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    return written.getvalue()
