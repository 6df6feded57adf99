"""Prints the digest of the golden base model with a LoRA, a shift and a cache node on it: run in a new process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch


def main() -> None:
    golden = Path(sys.argv[1])
    sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))
    import in_process

    in_process.import_core()
    in_process.load_pack()
    import comfy.sd
    from comfy_extras import nodes_easycache
    from infinitetalk.wanvideo.resume.digest import Digester
    from infinitetalk.wanvideo.sampling import with_shift

    with torch.inference_mode():
        model = comfy.sd.load_diffusion_model(str(golden / "dit.safetensors"), model_options={"dtype": torch.float32})
        width = model.model.diffusion_model.dim
        shapes = {"lora_A": (2, width), "lora_B": (width, 2)}
        layers = [f"diffusion_model.blocks.0.self_attn.{part}" for part in "qkvo"]
        lora = {f"{layer}.{name}.weight": torch.ones(shape) for layer in layers for name, shape in shapes.items()}
        model = comfy.sd.load_lora_for_models(model, None, lora, 0.7, 0)[0]
        model = nodes_easycache.EasyCacheNode.execute(with_shift(model, 5.0), 0.2, 0.15, 0.95, False).result[0]
        print(Digester().digest([model, {"a", "b", "c"}]).hex())  # noqa: T201


if __name__ == "__main__":
    main()
