"""Whatever is given to any input of any node: a sentence or a result that the schema allows, and the queue goes on.

`INFINITETALK_TEST_ALL=1` tries everything with everything; else a part, chosen anew by each `INFINITETALK_TEST_SEED`.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest
from comfy_client import ComfyClient, Prompt
from talking_picture import find_node, inputs_of

from ..support import jobs, media
from ..support.bad_inputs import Case, Corpus, Result

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
    ("InfiniteTalkSampler", "image", "object", "image bf16"),
    ("InfiniteTalkSampler", "image", "object", "image 0 to 255"),
    ("InfiniteTalkSampler", "image", "typed", "x"),
)
"""What has been found once."""


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path) -> Prompt:
    """A graph with all of our nodes in it, as small as can be."""
    sizes = {"width": 32, "height": 32, "window_frames": 5, "motion_frames": 1, "steps": 1}
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.1), text_cfg=1, audio_cfg=1, **sizes)
    prompt["masks"] = {
        "class_type": "InfiniteTalkSpeakerMasks",
        "inputs": {"image": [find_node(prompt, "LoadImage"), 0], "layout": "boxes", "boxes": "0 0 0.5 1"},
    }
    inputs_of(prompt, "InfiniteTalkSampler")["speaker_masks"] = ["masks", 0]
    plot = {"video": [find_node(prompt, "InfiniteTalkSampler"), 0], "fps": 25.0, "box": "0.25 0.5 0.5 0.5"}
    prompt["plot"] = {"class_type": "InfiniteTalkSyncPlot", "inputs": plot}
    return prompt


@pytest.fixture
def corpus(client: ComfyClient, prompt: Prompt) -> Corpus:
    objects = client.get("/object_info/AnyValue")["AnyValue"]["description"].split(", ")
    return Corpus(client, prompt, objects)


def chosen(corpus: Corpus) -> list[Case]:
    """All cases, or those that were found once and a sample of the rest."""
    cases = list(corpus.cases())
    if os.environ.get("INFINITETALK_TEST_ALL"):
        return cases
    found_once = [Case(find_node(corpus.prompt, kind), *rest) for kind, *rest in ALWAYS]
    return found_once + random.Random(SEED).sample(cases, SAMPLE)


def told(results: list[Result]) -> str:
    return "\n".join(f"{one.outcome}: {one.case}: {one.told:.300}" for one in results)


def test_everything_in_every_input(client: ComfyClient, corpus: Corpus, prompt: Prompt):
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
