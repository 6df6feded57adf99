"""Makes the README's pictures of the demo's result: `.venv/bin/python tools/readme_pictures.py docs/images`.

`talking.png` is a strip of frames over the sound, `sync_plot.png` what the Sync Plot node says of the same video.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import av
import in_process  # noqa: F401  (makes the demo's modules importable)
import numpy as np
import talking_picture
from cartoon_models import copy_models
from comfy_client import ComfyClient, Prompt
from comfy_server import ComfyServer
from PIL import Image, ImageDraw
from talking_picture import PICTURE, SPEECH, find_node

FIRST_FRAME, FRAMES, EVERY = 0, 12, 3  # of the strip
WAVE_HEIGHT = 72  # pixels
BEHIND, INK = (250, 250, 250), (40, 90, 160)


def main() -> None:
    """Make the demo's video on a server and both pictures of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        base = Path(folder)
        copy_models(base / "models")
        with ComfyServer.here(base) as server:
            client = ComfyClient(server.url)
            prompt = with_plot(talking_picture.with_cartoon_models(talking_picture.load_workflow()))
            result = client.run(talking_picture.with_media(prompt, client.upload(PICTURE), client.upload(SPEECH)))
            client.view(result.outputs["plot picture"]["images"][0], base / "sync_plot.png")
            video = base / "talking.mp4"
            client.view(result.outputs[find_node(prompt, "SaveVideoWithAudio")]["gifs"][0], video)
        with Image.open(base / "sync_plot.png") as plot:  # a palette is half as large, and looks the same
            plot.convert("RGB").quantize(dither=Image.Dither.NONE).save(options.folder / "sync_plot.png", optimize=True)
        strip(video).save(options.folder / "talking.png", optimize=True)


def with_plot(prompt: Prompt) -> Prompt:
    """The graph with Sync Plot on the sampler's video."""
    video = prompt[find_node(prompt, "SaveVideoWithAudio")]["inputs"]["video"]
    plot = {"class_type": "InfiniteTalkSyncPlot", "inputs": {"video": video, "fps": 25.0, "box": ""}}
    picture = {"class_type": "SaveImage", "inputs": {"images": ["plot", 0], "filename_prefix": "plot"}}
    return {**prompt, "plot": plot, "plot picture": picture}


def strip(video: Path) -> Image.Image:
    """Some frames side by side, and below them the sound from the first one to the last."""
    with av.open(str(video)) as container:
        rate, fps = container.streams.audio[0].sample_rate, float(container.streams.video[0].average_rate)
        frames, sounds = [], []
        for frame in container.decode(container.streams.video[0], container.streams.audio[0]):
            (frames if isinstance(frame, av.VideoFrame) else sounds).append(frame)
    shown = range(FIRST_FRAME, FIRST_FRAME + FRAMES * EVERY, EVERY)
    pictures = np.concatenate([frames[i].to_ndarray(format="rgb24") for i in shown], axis=1)
    first, last = (round(frame / fps * rate) for frame in (shown.start, shown.stop))
    sound = np.concatenate([frame.to_ndarray()[0] for frame in sounds])[first:last]
    height, width = pictures.shape[:2]
    picture = Image.new("RGB", (width, height + WAVE_HEIGHT), BEHIND)
    picture.paste(Image.fromarray(pictures))
    pen, middle = ImageDraw.Draw(picture), height + WAVE_HEIGHT / 2
    loudest = max(float(np.abs(sound).max()), 1e-6)
    for x, part in enumerate(np.array_split(sound, width)):
        reach = float(np.abs(part).max()) / loudest * WAVE_HEIGHT / 2
        pen.line([(x, middle - reach), (x, middle + reach)], fill=INK)
    return picture


if __name__ == "__main__":
    main()
