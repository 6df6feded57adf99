"""Whatever is given to any input of any node: a sentence or a result that the schema allows, and the queue goes on.

`INFINITETALK_TEST_ALL=1` tries everything with everything; else a part, chosen anew by each `INFINITETALK_TEST_SEED`.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from comfy_client import ComfyClient, Prompt
from safetensors.torch import load_file
from talking_picture import find_node, inputs_of
from tiny_models import BASE_I2V, INFINITETALK

from ..support import files, jobs, media
from ..support.bad_inputs import Case, Corpus, Result
from ..support.merged_models import one_file

SAMPLE = 160
SEED = int(os.environ.get("INFINITETALK_TEST_SEED", 1))
ALWAYS = (
    ("InfiniteTalkSampler", "end_padding", "typed", "\ud800"),
    ("InfiniteTalkWav2VecLoader", "base_precision", "linked", "\ud800"),
    ("InfiniteTalkSampler", "scheduler", "typed", "x" * 100_000),
    ("InfiniteTalkSampler", "color_correction", "typed", float("nan")),
    ("InfiniteTalkSampler", "shift", "linked", -5),
    ("InfiniteTalkSampler", "steps", "linked", 10**9),
    ("InfiniteTalkSampler", "steps", "linked", 0),
    ("InfiniteTalkSampler", "width", "typed", 10**9),
    ("InfiniteTalkSampler", "window_frames", "typed", 200_001),
    ("InfiniteTalkSampler", "positive", "object", "prompt of SD 1.5"),
    ("InfiniteTalkSampler", "negative", "object", "prompt NaN"),
    ("InfiniteTalkSampler", "clip_vision", "object", "small clip vision"),
    ("InfiniteTalkSampler", "vae", "object", "other vae"),
    ("InfiniteTalkSampler", "speaker_masks", "object", "mask no pixels"),
    ("InfiniteTalkSampler", "speaker_masks", "object", "mask NaN in a row"),
    ("InfiniteTalkSampler", "image", "object", "image bf16"),
    ("InfiniteTalkSampler", "image", "object", "image 0 to 255"),
    ("InfiniteTalkSampler", "image", "typed", "x"),
)
"""What has been found once."""


@pytest.fixture
def prompt(client: ComfyClient, folders: SimpleNamespace, picture: Path, tmp_path: Path) -> Prompt:
    """A graph with all of our nodes in it, as small as can be."""
    sizes = {"width": 32, "height": 32, "window_frames": 5, "motion_frames": 1, "steps": 1}
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.1), text_cfg=1, audio_cfg=1, **sizes)
    sampled, sound, loaded = (
        [find_node(prompt, kind), 0] for kind in ("InfiniteTalkSampler", "InfiniteTalkLoadAudio", "LoadImage")
    )
    boxes = {"image": loaded, "layout": "boxes", "boxes": "0 0 0.5 1"}
    add(prompt, "masks", "InfiniteTalkSpeakerMasks", boxes)
    inputs_of(prompt, "InfiniteTalkSampler")["speaker_masks"] = ["masks", 0]
    add(prompt, "plot", "InfiniteTalkSyncPlot", {"video": sampled, "fps": 25.0, "box": "0.25 0.5 0.5 0.5"})
    segments = "0 0.05 Anna\n0.05 0.1 Ben"
    add(prompt, "split", "InfiniteTalkSplitSpeakers", {"audio": sound, "segments": segments, "speakers": "Ben, Anna"})
    parts = [load_file(folders.models / name) for name in (BASE_I2V, INFINITETALK)]
    model = one_file(folders.models / "diffusion_models" / "merged", {**parts[0], **parts[1]})
    model = model.relative_to(folders.models / "diffusion_models").as_posix()
    add(prompt, "merged", "InfiniteTalkMergedModelLoader", {"model": model, "weight_dtype": "default"})
    add_dubbing(client, prompt, tmp_path)
    scene = {"image": loaded, "start": 0.04, "snap_to_pause": False, "transition": "cut"}
    add(prompt, "scene", "InfiniteTalkScene", scene)
    prompt[sampled[0]]["inputs"]["scenes"] = ["scene", 0]
    return prompt


def add(prompt: Prompt, node: str, kind: str, inputs: dict[str, Any]) -> None:
    """One more node."""
    prompt[node] = {"class_type": kind, "inputs": inputs}


def add_dubbing(client: ComfyClient, prompt: Prompt, folder: Path) -> None:
    """Nodes that keep a source video's shot, and those for faces that a detector has found."""
    source = folder / "source.mp4"
    files.ffmpeg(*files.counter(0.2, size="32x32"), "-i", files.voice(folder, 0.2), source)
    add(prompt, "source", "LoadVideo", {"file": client.upload(source)})
    of_boxes = {"image": ["source", 0], "layout": "boxes", "boxes": "0.2 0.2 0.5 0.5"}
    add(prompt, "followed", "InfiniteTalkSpeakerMasks", {**of_boxes, "follow": True})
    add(prompt, "solid", "SolidMask", {"value": 1.0, "width": 32, "height": 32})
    of_faces = {**of_boxes, "layout": "from masks"}
    add(prompt, "drawn", "InfiniteTalkSpeakerMasks", {**of_faces, "masks": ["solid", 0], "order": "as given"})
    add(prompt, "boxed", "InfiniteTalkSpeakerMasks", {**of_faces, "bboxes": {"x": 0, "y": 0, "width": 9, "height": 9}})
    dubbed = {name: value for name, value in inputs_of(prompt, "InfiniteTalkSampler").items() if name != "image"}
    dubbed |= {"source_video": ["source", 0], "edit_mask": ["followed", 0], "denoise": 0.5}
    del inputs_of(prompt, "InfiniteTalkSampler")["denoise"]
    add(prompt, "dubbed", "InfiniteTalkSampler", dubbed)
    plot = {**prompt["plot"]["inputs"], "source_video": ["source", 0]}
    add(prompt, "compared", "InfiniteTalkSyncPlot", plot)


@pytest.fixture
def corpus(client: ComfyClient, prompt: Prompt) -> Corpus:
    objects = client.get("/object_info/AnyValue")["AnyValue"]["description"].split(", ")
    return Corpus(client, prompt, objects)


def chosen(corpus: Corpus) -> list[Case]:
    """All cases, or those that were found once and a sample of the rest."""
    cases = list(corpus.cases())
    if os.environ.get("INFINITETALK_TEST_ALL"):
        return cases
    first = {node["class_type"]: name for name, node in reversed(corpus.prompt.items())}
    found_once = [Case(first[kind], *rest) for kind, *rest in ALWAYS]
    return found_once + random.Random(SEED).sample(cases, SAMPLE)


def told(results: list[Result]) -> str:
    return "\n".join(f"{one.outcome}: {one.case}: {one.told:.300}" for one in results)


def test_everything_in_every_input(client: ComfyClient, corpus: Corpus, prompt: Prompt):
    assert not corpus.untried()
    results = []
    for case in chosen(corpus):
        results.append(corpus.run(case))
        if results[-1].outcome == "endless":
            break
    counts = Counter(one.outcome for one in results)
    print(f"{len(results)} prompts: {dict(counts)}")  # noqa: T201
    assert counts["refused"] > len(results) // 2, "hardly anything was tried"
    wrong = [one for one in results if one.outcome in ("traceback", "silent", "endless")]
    assert not wrong, told(wrong)
    too_long = [one for one in results if one.case.kind == "linked" and len(one.told) > 1100]
    assert not too_long, told(too_long)
    assert client.run(prompt).error is None, "the queue does not go on"
