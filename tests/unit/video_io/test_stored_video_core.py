"""The stored video in the hands of ComfyUI's own classes and nodes, whichever core the tests run on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ...support.known_frames import FRAMES, PIXELS, add_windows, open_store


@pytest.fixture
def video(tmp_path, comfy_core):
    import utils.install_util  # noqa: F401  (as core's main does; its nodes put another `utils` in front)
    from infinitetalk.nodes.video_output import StoredVideoInput

    sound = {"waveform": torch.zeros(1, 1, 16000 * FRAMES // 25), "sample_rate": 16000}
    with open_store(tmp_path / "runs") as store:
        add_windows(store)
        return StoredVideoInput(store, sound)


def test_it_is_a_video_input_of_this_core(video):
    from comfy_api.latest import Input

    assert isinstance(video, Input.Video)
    public = [name for name in dir(Input.Video) if not name.startswith("_")]
    inherited = [name for name in public if getattr(type(video), name) is getattr(Input.Video, name)]
    assert inherited == [], "each of core's own versions would load or encode the whole video"


def test_core_reads_its_components(video):
    from comfy_extras.nodes_video import GetVideoComponents

    images, audio, fps, *_ = GetVideoComponents.execute(video).args
    assert torch.equal(images, torch.from_numpy(PIXELS[:FRAMES]).float() / 255)
    assert audio is video.sound
    assert fps == 25.0


def test_a_view_is_again_a_video_input(video):
    part = video.as_trimmed(0.4, 0.8)
    assert type(part) is type(video)
    assert part.get_components().images.shape[0] == 20


def test_core_opens_what_is_saved_with_its_own_enums(video, tmp_path):
    from comfy_api.latest import InputImpl, Types

    path = tmp_path / "x.mp4"
    video.save_to(str(path), format=Types.VideoContainer.MP4, codec=Types.VideoCodec.H264, metadata={"prompt": {}})
    saved = InputImpl.VideoFromFile(str(path))
    assert saved.get_frame_count() == FRAMES
    assert saved.get_frame_rate() == 25
    assert saved.get_dimensions() == (6, 4)


def test_saving_stops_when_the_user_interrupts(video, tmp_path):
    import comfy.model_management as management

    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        video.save_to(str(tmp_path / "x.mp4"))
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert np.array_equal(next(video.iter_frames(0, 1)), PIXELS[:1])
