"""Sound through the ffmpeg program that imageio-ffmpeg bundles."""

from __future__ import annotations

import struct
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import UserError

BLOCK_BYTES = 1 << 22
AU_HEADER = struct.Struct(">4s5I")  # magic, offset of the data, size, encoding, sample rate, channels
AU_FLOAT32 = 6
BREAKS_OFF = ("ended prematurely", "partial file")  # what ffmpeg says of it, and then ends with success
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows would flash a console


def ffmpeg_program() -> str:
    """Path of the bundled ffmpeg, or of the one that the environment variable IMAGEIO_FFMPEG_EXE names."""
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise UserError(
            "This file needs ffmpeg, and imageio-ffmpeg has none for this system: "
            "install ffmpeg and name it in the environment variable IMAGEIO_FFMPEG_EXE."
        ) from error


class FfmpegAudio:
    """The first sound track of a file as float32, from its very start, as a context manager.

    ffmpeg writes Sun AU to a pipe: its header tells rate and channels, so that no text for people is parsed. Encoder
    delay and a track's own start time are taken care of (`aresample=first_pts=0`): sample 0 is the file's time 0.

    Attributes after `__enter__`: `sample_rate` in Hz, and `channels`, which is 0 if there is no sound.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sample_rate = 0
        self.channels = 0
        self._breaks_off = False
        self._complaints: deque[str] = deque(maxlen=5)

    def __enter__(self) -> FfmpegAudio:
        command = [
            *(ffmpeg_program(), "-nostdin", "-hide_banner", "-v", "error"),
            *("-protocol_whitelist", "file,pipe", "-i", str(self.path.absolute())),
            *("-map", "0:a:0", "-vn", "-sn", "-dn", "-af", "aresample=first_pts=0"),
            *("-c:a", "pcm_f32be", "-f", "au", "pipe:1"),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            creationflags=NO_WINDOW,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._output, self._errors = self._process.stdout, self._process.stderr
        self._drain = threading.Thread(target=self._listen, args=(self._errors,), daemon=True)
        self._drain.start()
        header = self._output.read(AU_HEADER.size)
        if len(header) == AU_HEADER.size:
            _, offset, _, encoding, self.sample_rate, self.channels = AU_HEADER.unpack(header)
            if encoding != AU_FLOAT32:
                self.channels = 0
            self._output.read(offset - AU_HEADER.size)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._output.close()
        self._process.wait()
        self._drain.join()
        self._errors.close()

    @property
    def reason(self) -> str:
        """What ffmpeg complained about last, empty if it did not."""
        self._drain.join(timeout=5)
        return self._complaints[-1] if self._complaints else ""

    def blocks(self) -> Iterator[np.ndarray]:
        """All samples in order, `[n, channels]` float32."""
        if not self.channels:
            return
        frame_bytes = 4 * self.channels
        rest = b""
        while block := self._output.read(BLOCK_BYTES):
            block = rest + block
            whole = len(block) // frame_bytes * frame_bytes
            rest = block[whole:]
            yield np.frombuffer(block[:whole], ">f4").astype(np.float32).reshape(-1, self.channels)

    def failed(self) -> bool:
        """After `blocks`: whether ffmpeg ended with an error, or the file before its time."""
        code = self._process.wait()
        self._drain.join()
        return code != 0 or self._breaks_off

    def _listen(self, stream: IO[bytes]) -> None:
        """Keep ffmpeg's last words; an undrained pipe would stop it."""
        for line in stream:
            text = line.decode("utf-8", "replace").strip()
            self._breaks_off = self._breaks_off or any(words in text for words in BREAKS_OFF)
            if text:
                self._complaints.append(text)
