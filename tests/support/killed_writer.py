"""A process for the tests of killed writers: works on a run until a given moment, and dies there by SIGKILL.

Every line on stdin is `ROOT MOMENT`: a fork of this process opens the run under ROOT, appends windows, and kills
itself at the MOMENT-th call of a C function (write, fsync, rename, unlink …) that the frame store makes, 0 for
never. The answer is a line `EXIT MOMENTS`: the fork's exit status and how many such calls there were.
Each append is noted in ROOT/appended.txt before and after, so that the test knows what was done twice.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PACK = str(ROOT / "video_io")


class Moments:
    """Counts the C calls made by the pack's own code, and ends the process at one of them."""

    def __init__(self, deadly: int) -> None:
        self.count = 0
        self.deadly = deadly

    def __call__(self, frame, event, argument) -> None:
        if event != "c_call" or not frame.f_code.co_filename.startswith(PACK):
            return
        self.count += 1
        if self.count == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)


def work(root: Path, deadly: int) -> int:
    """Finish the run under `root`; returns the number of moments that it took."""
    import known_frames as known

    moments = Moments(deadly)
    log = os.open(root / "appended.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    sys.setprofile(moments)
    with known.open_store(root) as store:
        while not store.complete:
            window = store.windows_done
            os.write(log, f"start {window}\n".encode())
            known.add_windows(store, window + 1)
            os.write(log, f"done {window}\n".encode())
    sys.setprofile(None)
    return moments.count


def main() -> None:
    sys.path += [str(ROOT / "tools"), str(HERE)]
    import in_process

    in_process.load_pack()
    import known_frames  # noqa: F401  (loaded once here instead of in every fork)
    import torch
    from safetensors.torch import save  # noqa: F401  (as is this)

    torch.set_num_threads(1)
    for line in sys.stdin:
        root, _, deadly = line.strip().rpartition(" ")
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, str(work(Path(root), int(deadly))).encode())
            os._exit(0)
        os.close(writing)
        _, status = os.waitpid(child, 0)
        moments = os.read(reading, 100).decode() or "0"
        os.close(reading)
        print(os.waitstatus_to_exitcode(status), moments, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
