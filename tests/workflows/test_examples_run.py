"""Every shipped example, and every one of earlier releases, runs on a real server and makes the file it promises.

A graph is queued as it is shipped. Only sizes and steps are smaller, and tiny models lie under the names of the real
ones; the one thing of core that is not as in a user's installation is the size of its two encoders (`tiny_encoders`).
"""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from comfy_client import ComfyClient, ComfyError, Prompt
from environment import ROOT
from evaluation.finished import run
from examples.media import VIDEO_RATE
from media_facts import MediaFacts, measure
from PIL import Image
from talking_picture import find_node, inputs_of

from ..support.conditions import OF_NEWER_CORES
from ..support.stand_ins import SPEECH_SECONDS

SHIPPED = sorted((ROOT / "example_workflows" / "api").glob("*.json"))
RELEASED = sorted((ROOT / "tests" / "frozen").glob("*/*.json"))
# The same graph twice in a row costs a server little: it keeps what it has just made.
GRAPHS = sorted(SHIPPED + RELEASED, key=lambda file: (file.stem, file.parent.name))
CORES_VIDEOS = ("text_to_video", "image_to_video", "wan_animate")
WIDTH, HEIGHT, LENGTH = 64, 48, 5
SMALL = {
    "resolution": "custom", "width": WIDTH, "height": HEIGHT, "steps": 1, "window_frames": 17, "motion_frames": 5,
    "length": LENGTH, "amount": LENGTH,
}  # fmt: skip
AAC_PACKET = 1024  # samples


@dataclass(frozen=True)
class Promise:
    """What an example's file must be."""

    frames: int
    fps: float = 25.0
    sound: str | None = "speech.flac"
    """The input whose sound must be heard; None is silence."""
    size: tuple[int, int] = (WIDTH, HEIGHT)


TALK = Promise(frames=math.ceil(SPEECH_SECONDS * 25))
PROMISES = {
    "talking_picture": TALK,
    "talking_picture_lightx2v": TALK,
    "talking_picture_flashtalk": TALK,
    "two_speakers": TALK,
    "two_speakers_found_faces": TALK,
    "interview": TALK,
    "dubbing": TALK,
    "dubbing_keep_the_shot": TALK,
    "long_narration": TALK,
    "song": replace(TALK, sound="song.flac"),
    "storyboard": TALK,
    "images_and_sound": Promise(LENGTH, size=(512, 512)),
    "text_to_video": Promise(LENGTH, fps=16.0, sound=None),
    "image_to_video": Promise(LENGTH, fps=16.0),
    "wan_animate": Promise(LENGTH, fps=VIDEO_RATE, sound="pose.mp4"),
}


def small(file: Path) -> Prompt:
    """A graph for the queue, with small sizes and few steps, and a file name that no other test uses."""
    prompt = json.loads(file.read_text(encoding="utf-8"))
    for node in prompt.values():
        settings = {name for name, value in node["inputs"].items() if not isinstance(value, list)}
        node["inputs"].update({name: value for name, value in SMALL.items() if name in settings})
    scenes = [node["inputs"] for node in prompt.values() if node["class_type"] == "InfiniteTalkScene"]
    for number, scene in enumerate(scenes, start=1):  # within a second of speech
        scene.update(start=SPEECH_SECONDS * number / (len(scenes) + 1), snap_to_pause=False)
    inputs_of(prompt, "SaveVideoWithAudio")["filename_prefix"] = f"tests/{uuid.uuid4().hex[:12]}"
    return prompt


def sound_of(file: Path) -> np.ndarray:
    """The first channel of a file's sound, `[T]`."""
    if file.suffix == ".flac":
        return soundfile.read(file, always_2d=True)[0][:, 0]
    with av.open(str(file)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def likeness(sound: np.ndarray, source: np.ndarray) -> float:
    """Correlation of two sounds that start together, over what both have."""
    length = min(len(sound), len(source))
    return float(np.corrcoef(sound[:length], source[:length])[0, 1])


def toggle_sound(prompt: Prompt, promise: Promise) -> Promise:
    """Connect a sound to the save node, or take the one that is there away; returns what the file must be then."""
    save = inputs_of(prompt, "SaveVideoWithAudio")
    if promise.sound is not None:
        del save["audio"]
        return replace(promise, sound=None)
    file = {"audio": TALK.sound, "start_time": 0.0, "duration": 0.0}
    prompt["sound"] = {"class_type": "InfiniteTalkLoadAudio", "inputs": file}
    save["audio"] = ["sound", 0]
    return replace(promise, sound=TALK.sound)


def check(file: Path, promise: Promise, inputs: Path) -> None:
    """Decode a file and compare it with what was promised."""
    facts: MediaFacts = measure(file)
    assert (facts.frames, facts.fps, (facts.width, facts.height)) == (promise.frames, promise.fps, promise.size)
    if promise.sound is None:
        assert facts.audio_codec is None
        return
    assert facts.audio_seconds == pytest.approx(facts.seconds, abs=AAC_PACKET / facts.audio_rate)
    assert likeness(sound_of(file), sound_of(inputs / promise.sound)) > 0.6  # two voices are half of each


def test_every_example_has_a_promise():
    assert {file.stem for file in SHIPPED} <= set(PROMISES)


@pytest.mark.parametrize("file", GRAPHS, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_graph_makes_the_file_that_it_promises(client: ComfyClient, input_folder: Path, file: Path):
    prompt, promise = small(file), PROMISES[file.stem]
    if missing := {node["class_type"] for node in prompt.values()} - set(client.get("/object_info")):
        assert missing == OF_NEWER_CORES.get(file.stem)
        with pytest.raises(ComfyError, match="MediaPipeFaceLandmarker"):
            client.run(prompt)
        pytest.skip(f"this core has no {missing}")
    check(run(client, prompt)[0], promise, input_folder)
    if file.stem in CORES_VIDEOS:  # sound can be added to core's videos, and left out
        other = toggle_sound(prompt, promise)
        check(run(client, prompt)[0], other, input_folder)


def test_the_faces_that_cores_detector_finds_become_masks_from_left_to_right(client: ComfyClient):
    prompt = json.loads((ROOT / "example_workflows" / "api" / "two_speakers_found_faces.json").read_text("utf-8"))
    if "MediaPipeFaceLandmarker" not in client.get("/object_info"):
        pytest.skip("this core has no face detector")
    masks, faces = find_node(prompt, "InfiniteTalkSpeakerMasks"), inputs_of(prompt, "MediaPipeFaceLandmarker")
    kept = {"LoadImage", "LoadMediaPipeFaceLandmarker", "MediaPipeFaceLandmarker", "InfiniteTalkSpeakerMasks"}
    prompt = {number: node for number, node in prompt.items() if node["class_type"] in kept}
    prompt["seen"] = {"class_type": "MaskToImage", "inputs": {"mask": [masks, 0]}}
    prompt["shown"] = {"class_type": "PreviewImage", "inputs": {"images": ["seen", 0]}}

    shown = client.run(prompt).outputs["shown"]["images"]

    left, right = (picture(client, file) for file in shown)
    assert left.shape == (512, 1024)
    drawn = (slice(90, 430), slice(110, 420))  # of the face in demo/media/face.png
    assert left[drawn].all()
    assert right[:, 512:][drawn].all()
    assert not (left & right).any()
    faces["min_confidence"] = 1.0
    assert "No face was found in the picture" in client.run(prompt).error_message


def picture(client: ComfyClient, file: dict[str, str]) -> np.ndarray:
    """Where a picture of the server is bright, `[H, W]`."""
    with urllib.request.urlopen(f"{client.url}/view?{urllib.parse.urlencode(file)}") as answer:
        return np.asarray(Image.open(answer).convert("L")) > 127


def test_the_template_browser_offers_every_example_with_its_picture(client: ComfyClient):
    names = [file.stem for file in SHIPPED]
    assert sorted(client.get("/workflow_templates")["infinitetalk"]) == sorted(names)
    for name in names:
        address = f"{client.url}/api/workflow_templates/infinitetalk/{name}.jpg"
        with urllib.request.urlopen(address) as answer:
            assert answer.headers["Content-Type"] == "image/jpeg"
