"""A process for the fuzz tests: reads the media files whose paths come on stdin, and answers with a line of JSON each.

Files are read as the nodes read them: Load Audio File, and a VIDEO's picture and sound. An answer says what came of
each, and the peak of the memory that the process had meanwhile (Linux; 0 elsewhere).
"""

from __future__ import annotations

import json
import sys
import traceback
from itertools import islice
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MOST_FRAMES = 400  # that are looked at of one file


def sound_of(path: Path, folder: Path) -> str:
    """What Load Audio File makes of it."""
    from infinitetalk.audio.decode import decode_file

    clip = decode_file(path, folder=folder)
    assert clip.samples.shape == (clip.channels, clip.length)
    assert clip.length > 0
    return f"{clip.channels} x {clip.length}"


def track_of(path: Path, folder: Path) -> str:
    """The sound of the file as a VIDEO."""
    from infinitetalk.video_io.read.video_file import FileAudio

    source, length = FileAudio(path), 0
    for block in source.blocks():
        assert block.ndim == 2
        assert block.shape[1] == source.channels
        assert len(block)
        length += len(block)
    return f"{source.channels} x {length}"


def picture_of(path: Path, folder: Path) -> str:
    """The picture of the file as a VIDEO, from its start and from its middle."""
    from infinitetalk.video_io.read.video_file import FileFrames

    source = FileFrames(path)
    shape = (source.height, source.width, source.channels)
    given = 0
    for frame in islice(source.frames(), MOST_FRAMES):
        assert frame.shape == shape
        given += 1
    assert given == min(source.count, MOST_FRAMES), f"{given} of {source.count} frames"
    assert next(source.frames(source.count // 2)).shape == shape
    return f"{shape} x {source.count}"


def outcome(read, path: Path, folder: Path) -> tuple[str, str]:
    """`right`, `sentence` or `traceback`, and what there is to say."""
    from infinitetalk.errors import UserError
    from infinitetalk.video_io.read.audio_source import AudioError

    try:
        return "right", read(path, folder)
    except (UserError, AudioError) as error:
        text = str(error)
        return ("traceback" if "\n" in text or not text.isprintable() else "sentence"), text
    except BaseException:
        return "traceback", traceback.format_exc()


def peak_bytes() -> int:
    """The highest use of memory since the last call."""
    status, forget = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    forget.write_text("5")  # the peak begins anew
    return 1024 * int(line.split()[1])


def main() -> None:
    sys.path += [str(ROOT / "tools"), str(HERE)]
    import in_process

    in_process.load_pack()
    import logging

    import av
    import soundfile  # noqa: F401  (loaded before memory is measured)
    import torch

    logging.disable(logging.CRITICAL)
    av.logging.set_level(None)
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    peak_bytes()
    for line in sys.stdin:
        path = Path(line.strip())
        answers = {read.__name__: outcome(read, path, folder) for read in (sound_of, track_of, picture_of)}
        print(json.dumps({"answers": answers, "peak": peak_bytes()}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
