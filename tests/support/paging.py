"""What stands in for core's way of mapping a file into memory where it pages weights, which asks for the driver."""

from __future__ import annotations

from safetensors import safe_open


def mapped(path):
    """The tensors and the metadata of a safetensors file, as `comfy.utils.load_safetensors` gives them."""
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118 (it is no mapping)
