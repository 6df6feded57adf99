"""Speaker Masks with what a detector gives, through the queue of a real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comfy_client import ComfyClient, Prompt
from evaluation import finished
from PIL import Image
from talking_picture import find_node, inputs_of

from ..support import jobs, media

SIDE = 128
LEFT, RIGHT = (16, 40, 56, 88), (72, 40, 112, 88)


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path) -> Prompt:
    """Two voices, and masks from a detector's picture: both faces in one mask."""
    prompt = jobs.small_prompt(client, picture, media.write_speech(tmp_path, 0.4), steps=1, text_cfg=1.0, audio_cfg=1.0)
    second = {"audio": client.upload(media.write_speech(tmp_path, 0.4, seed=2)), "start_time": 0.0, "duration": 0.0}
    prompt["voice 2"] = {"class_type": "InfiniteTalkLoadAudio", "inputs": second}
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")["audio_2"] = ["voice 2", 0]
    detected(client, prompt, tmp_path, LEFT, RIGHT)
    return prompt


def detected(client: ComfyClient, prompt: Prompt, folder: Path, *faces: tuple[int, int, int, int]) -> None:
    """Let a painted mask stand for a detector, which needs gigabytes of weights and a newer core."""
    painted = Image.new("RGB", (SIDE, SIDE))
    for left, top, right, bottom in faces:
        painted.paste((255, 0, 0), (left, top, right, bottom))
    painted.save(folder / "faces.png")
    load = {"image": client.upload(folder / "faces.png"), "channel": "red"}
    prompt["faces"] = {"class_type": "LoadImageMask", "inputs": load}
    picture = [find_node(prompt, "LoadImage"), 0]
    inputs = {"image": picture, "layout": "from masks", "boxes": "", "masks": ["faces", 0], "order": "left to right"}
    prompt["masks"] = {"class_type": "InfiniteTalkSpeakerMasks", "inputs": inputs}
    inputs_of(prompt, "InfiniteTalkSampler")["speaker_masks"] = ["masks", 0]


def frames_of(client: ComfyClient, prompt: Prompt) -> np.ndarray:
    """Frames of a job, `[F, H, W, 3]`."""
    inputs_of(prompt, "SaveVideoWithAudio")["crf"] = 0
    return finished.decode(finished.run(client, prompt)[0]).frames


def test_the_faces_of_a_detector_talk_as_the_boxes_of_their_heads_do(client, prompt):
    found = frames_of(client, prompt)
    heads = ["0.0625 0.15625 0.4375 0.5703125", "0.5 0.15625 0.4375 0.5703125"]  # grown, and apart in the middle
    masks = inputs_of(prompt, "InfiniteTalkSpeakerMasks")
    masks.update(layout="boxes", boxes="\n".join(heads))
    del masks["masks"]
    assert np.array_equal(found, frames_of(client, prompt))
    masks.update(boxes="\n".join(reversed(heads)))
    assert not np.array_equal(found, frames_of(client, prompt))


def test_more_faces_than_voices_are_refused_with_their_places(client, prompt, tmp_path):
    detected(client, prompt, tmp_path, LEFT, RIGHT, (56, 0, 72, 16))
    said = jobs.refusal(client, prompt)
    assert "There are 3 speaker masks (1 at 2" in said
    assert "but 2 voices: connect a voice for each face" in said


def test_faces_without_the_layout_for_them_are_refused(client, prompt):
    inputs_of(prompt, "InfiniteTalkSpeakerMasks")["layout"] = "halves"
    assert "Faces are connected, but layout is halves" in jobs.refusal(client, prompt)


def test_the_layout_for_faces_without_any_is_refused(client, prompt):
    del inputs_of(prompt, "InfiniteTalkSpeakerMasks")["masks"]
    assert "Neither masks nor bboxes is connected" in jobs.refusal(client, prompt)


def test_boxes_of_a_newer_core_are_taken(client, prompt):
    if "PrimitiveBoundingBox" not in client.get("/object_info"):
        pytest.skip("this core has no node that gives a box")
    box = {"x": LEFT[0], "y": LEFT[1], "width": LEFT[2] - LEFT[0], "height": LEFT[3] - LEFT[1]}
    prompt["box"] = {"class_type": "PrimitiveBoundingBox", "inputs": box}
    masks = inputs_of(prompt, "InfiniteTalkSpeakerMasks")
    del masks["masks"]
    masks["bboxes"] = ["box", 0]
    del inputs_of(prompt, "InfiniteTalkAudioEmbeds")["audio_2"]
    assert len(frames_of(client, prompt)) == 10
