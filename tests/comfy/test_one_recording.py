"""One recording of two people, and a soundtrack in place of the voices' mix, through the queue of a real server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comfy_client import ComfyClient, Prompt
from evaluation import finished
from talking_picture import find_node, inputs_of

from ..support import jobs, media

RATE = 22_050
SECONDS = 0.8
SEGMENTS = "0 0.4 Anna\n0.4 0.8 Ben"


@pytest.fixture
def recording() -> np.ndarray:
    """`[T, 2]`"""
    return media.speech(SECONDS, RATE, channels=2)


@pytest.fixture
def prompt(client: ComfyClient, picture: Path, tmp_path: Path, recording: np.ndarray) -> Prompt:
    """A job of one window and a bit, one step, one pass."""
    sound = media.write_sound(tmp_path, recording, RATE)
    return jobs.small_prompt(client, picture, sound, steps=1, text_cfg=1.0, audio_cfg=1.0)


def split(prompt: Prompt, segments: str = SEGMENTS, speakers: str = "", voices: int = 2) -> None:
    """Put Split Speakers between the recording and Audio Embeds."""
    recording = [find_node(prompt, "InfiniteTalkLoadAudio"), 0]
    inputs = {"audio": recording, "segments": segments, "speakers": speakers}
    prompt["split"] = {"class_type": "InfiniteTalkSplitSpeakers", "inputs": inputs}
    embeds = inputs_of(prompt, "InfiniteTalkAudioEmbeds")
    embeds.update({f"audio_{number}": ["split", number - 1] for number in range(1, voices + 1)}, soundtrack=recording)


def made_sound(file: Path) -> np.ndarray:
    """`[T, C]` as a decoder gives it, at the recording's rate."""
    made = finished.decode(file)
    assert made.sample_rate == RATE
    return made.sound


def test_both_speakers_of_a_recording_talk_and_the_file_has_the_recording(client, prompt, recording):
    split(prompt)

    file, result = finished.run(client, prompt)

    shown = result.outputs["split"]["text"][0].splitlines()
    assert shown == ["audio_1: Anna, 1 turn, 0.4 s, from 0.0 s on", "audio_2: Ben, 1 turn, 0.4 s, from 0.4 s on"]
    said = result.outputs[find_node(prompt, "InfiniteTalkAudioEmbeds")]["text"][0]
    assert said.endswith("2 speakers")
    assert "WARNING" not in said
    sound = made_sound(file)
    for channel in (0, 1):
        length = min(len(sound), len(recording))
        assert np.corrcoef(sound[:length, channel], recording[:length, channel])[0, 1] > 0.99


def test_who_talks_first_decides_the_picture(client, prompt):
    inputs_of(prompt, "SaveVideoWithAudio")["crf"] = 0
    split(prompt)
    first = finished.decode(finished.run(client, prompt)[0]).frames
    split(prompt, speakers="Ben, Anna")
    second = finished.decode(finished.run(client, prompt)[0]).frames
    assert np.abs(first.astype(int) - second).max() > 1


@pytest.mark.parametrize(
    ("segments", "speakers", "voices", "said"),
    [
        ("0 0.4 Anna\nBen: hello", "", 2, "Line 2 of the segments is 'Ben: hello'"),
        (SEGMENTS, "Anna, Cleo", 2, "Cleo is in speakers but not in the segments"),
        ("0 0.4 Anna\n0.9 1.4 Ben", "", 2, "Line 2 of the segments begins at 0.90 s, but the recording has 0.80 s"),
    ],
)
def test_segments_that_do_not_fit_are_refused(client, prompt, segments, speakers, voices, said):
    split(prompt, segments, speakers, voices)
    assert said in jobs.refusal(client, prompt)


def test_an_output_without_a_speaker_that_is_taken_is_refused(client, prompt):
    split(prompt, voices=3)
    told = jobs.refusal(client, prompt)
    assert told == "Split Speakers has no speaker 3 (there are 2: Anna, Ben): disconnect its audio_3."


def test_one_sound_as_two_voices_and_all_but_the_first_of_a_batch_are_said_on_the_node(client, prompt):
    loader, node = (find_node(prompt, f"InfiniteTalk{name}") for name in ("Wav2VecLoader", "AudioEmbeds"))
    embeds = {**prompt[node], "inputs": {**prompt[node]["inputs"], "audio_1": ["two", 0], "audio_2": ["two", 0]}}
    two = {"class_type": "AnyValue", "inputs": {"value": "audio of two", "named": True}}
    ends = {"class_type": "AnySink", "inputs": {"value": [node, 2]}}

    result = client.run({loader: prompt[loader], "two": two, node: embeds, "ends": ends})

    first, second, same, *_ = result.outputs[node]["text"][0].splitlines()
    assert first == "WARNING: audio_1 holds a batch of 2 sounds: the first one is used."
    assert second == first.replace("audio_1", "audio_2")
    assert same.startswith("WARNING: audio_1 and audio_2 are the same sound, so both speakers say all of it:")


def test_a_soundtrack_that_is_shifted_or_longer_is_said_on_the_node(client, prompt, recording, tmp_path):
    late = np.pad(recording, ((RATE // 10, RATE // 2), (0, 0)))
    file = {"audio": client.upload(media.write_sound(tmp_path, late, RATE)), "start_time": 0.0, "duration": 0.0}
    prompt["song"] = {"class_type": "InfiniteTalkLoadAudio", "inputs": file}
    inputs_of(prompt, "InfiniteTalkAudioEmbeds")["soundtrack"] = ["song", 0]

    saved, result = finished.run(client, prompt)

    length, offset, *_ = result.outputs[find_node(prompt, "InfiniteTalkAudioEmbeds")]["text"][0].splitlines()
    assert length.startswith("WARNING: The soundtrack has 1.40 s and the voices have 0.80 s: the rest")
    assert offset.startswith("WARNING: The voices stand 100 ms later in the soundtrack")
    assert media.samples_late(made_sound(saved)[:, 0], recording[:, 0]) == pytest.approx(RATE // 10, abs=2)
