"""Digests of values of any kind: other values have others, and what does not decide the pixels does not count."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import pytest
import torch


def digest(value) -> bytes:
    from infinitetalk.wanvideo.resume.digest import Digester

    return Digester().digest(value)


class Cache:
    def __init__(self, threshold):
        self.threshold = threshold


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0), (1, True), ("a", b"a"), (["a", "b"], ["ab"]), ([[1], 2], [1, [2]]), ({"a": 1}, {"a": 2}),
        (torch.zeros(2), torch.zeros(3)), (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2), -torch.zeros(2)), (Cache(0.1), Cache(0.2)),
        (functools.partial(max, 1), functools.partial(max, 2)), (max, min), (lambda x: x + 1, lambda x: x + 2),
        (Cache, SimpleNamespace),
    ],
)  # fmt: skip
def test_different_values_have_different_digests(comfy_core, one, other):
    assert digest(one) != digest(other)


def test_equal_values_have_equal_digests(comfy_core):
    assert digest({"b": 1, "a": {3, 1, 2}}) == digest({"a": {2, 1, 3}, "b": 1})
    assert digest(Cache(0.1)) == digest(Cache(0.1))
    shared = [1, 2]
    assert digest([shared, shared]) == digest([[1, 2], [1, 2]])
    ring = [1]
    ring.append(ring)
    assert digest(ring) == digest(ring)


def test_gguf_weights_that_only_pretend_to_have_a_state_dict_count(comfy_core):
    # Stands for city96's GGMLTensor and its layers, which is a pack of its own: the same tricks in few lines.
    from comfy.model_patcher import ModelPatcher

    class Packed(torch.Tensor):
        tensor_type = "Q8_0"
        tensor_shape = torch.Size((4, 8))

        def detach(self):
            return self

        @property
        def shape(self):
            return self.tensor_shape

    class Layer(torch.nn.Module):
        def __init__(self, filled: int):
            super().__init__()
            data = torch.full((40,), filled, dtype=torch.uint8).as_subclass(Packed)
            self.weight = torch.nn.Parameter(data, requires_grad=False)

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            destination[prefix + "weight"] = torch.zeros(40, device="meta")

    def model(filled: int) -> bytes:
        return digest(ModelPatcher(Layer(filled), torch.device("cpu"), torch.device("cpu")))

    assert model(1) == model(1)
    assert model(1) != model(2)


def test_the_scale_of_a_quantized_tensor_counts(comfy_core):
    def quantized(scale: float) -> torch.Tensor:
        tensor = torch.zeros(4)
        tensor._qdata, tensor._params = torch.ones(4, dtype=torch.uint8), {"scale": torch.tensor(scale)}
        return tensor

    assert digest(quantized(1.0)) == digest(quantized(1.0))
    assert digest(quantized(1.0)) != digest(quantized(2.0))


@pytest.mark.parametrize("folder", ["/srv/comfy/custom_nodes/pack", "D:\\ComfyUI\\custom_nodes\\pack"])
def test_where_a_custom_node_is_installed_does_not_count(comfy_core, folder):
    from infinitetalk.wanvideo.resume.digest import Digester

    def patch_of(module: str):
        return type("Patch", (), {"__module__": module})()

    here = Digester().digest(patch_of("/home/me/ComfyUI/custom_nodes/pack.nodes"))
    assert Digester().digest(patch_of(f"{folder}.nodes")) == here
    assert Digester().digest(patch_of(f"{folder}.other")) != here


def test_what_the_folder_of_this_pack_is_called_does_not_count(comfy_core, monkeypatch):
    from infinitetalk.wanvideo.resume import digest

    def settings_of(package: str) -> bytes:
        monkeypatch.setattr(digest, "OWN_PACKAGE", package)
        return digest.Digester().digest(type("Settings", (), {"__module__": f"{package}.wanvideo.sampling"})())

    assert settings_of("/a/custom_nodes/infinitetalk") == settings_of("/b/custom_nodes/comfyui-infinitetalk-main")
