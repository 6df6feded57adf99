"""A ComfyUI node that ends its server at a chosen moment of the job: the tests copy it into `custom_nodes`.

`KillPoint` passes its picture on. When it runs, it reads `deadly.json` beside it (`{"phase": ..., "count": n}`) and
arms that phase: at its n-th call the process is gone, with no chance to clean up.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import zlib
from pathlib import Path

import comfy.ldm.wan.vae
import comfy.model_base

DEADLY = Path(__file__).with_name("deadly.json")


def end_at(count: int, function):
    """`function`, but the process dies before call number `count`; odd numbers die after the call instead."""
    calls = 0

    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == count and count % 2 == 0:
            die()
        result = function(*args, **kwargs)
        if calls == count:
            die()
        return result

    return counted


def die() -> None:
    """As a crash or the task manager would end it."""
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def pack_module(name: str):
    """A module of the pack, whatever name ComfyUI has given to the pack."""
    (found,) = [module for path, module in sys.modules.items() if path.endswith(f"infinitetalk.{name}")]
    return found


def arm(phase: str, count: int) -> None:
    """Exchange the function that is called in this phase."""
    owner, name = {
        "sampling": lambda: (comfy.model_base.BaseModel, "apply_model"),
        "encoding": lambda: (comfy.ldm.wan.vae.WanVAE, "encode"),
        "decoding": lambda: (comfy.ldm.wan.vae.WanVAE, "decode"),
        "writing": lambda: (zlib, "crc32"),  # between two pieces of a file
        "flushing": lambda: (os, "fsync"),
        "renaming": lambda: (Path, "replace"),
        "saving": lambda: (pack_module("video_io.save.ffmpeg_process").FfmpegProcess, "write"),
    }[phase]()
    setattr(owner, name, end_at(count, getattr(owner, name)))


class KillPoint:
    """IMAGE in, the same IMAGE out."""

    CATEGORY = "tests"
    FUNCTION = "execute"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802  (core's name)
        return {"required": {"image": ("IMAGE",)}}

    def execute(self, image):
        if DEADLY.is_file():
            chosen = json.loads(DEADLY.read_text())
            DEADLY.unlink()
            arm(chosen["phase"], chosen["count"])
        return (image,)


NODE_CLASS_MAPPINGS = {"KillPoint": KillPoint}
