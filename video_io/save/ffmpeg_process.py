"""The ffmpeg binary: finding it, asking what it can encode, and running it so that nothing is left behind.

No shell is involved anywhere: arguments are lists. The binary is the one that imageio-ffmpeg bundles
(or the one that `IMAGEIO_FFMPEG_EXE` names).
"""

from __future__ import annotations

import functools
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO

from ...errors import UserError

log = logging.getLogger(__name__)

KEPT_LOG_LINES = 40
POLL_SECONDS = 0.05
PROBE_TIMEOUT_SECONDS = 60
END_SECONDS = 5  # for what takes no time, unless something is wrong
# Every encoder's line is "FLAGS NAME DESCRIPTION", the first letter its type. Other programs answer with a help text.
ENCODER_FLAGS = re.compile(r"[VAS][F.][S.][X.][B.][D.]")
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows would flash a console
PIPE_BYTES = 2**20  # Linux's default limit for a user without privileges
# ffmpeg's threads report each other's end; the cause stands in the lines before.
AFTERMATH = ("Task finished with error", "Terminating thread", "Nothing was written", "Error sending frames")


class FfmpegError(RuntimeError):
    """ffmpeg ended before its work was done.

    Attributes:
        returncode: the process's exit code (negative: the signal that ended it, on POSIX).
        lines: the last lines ffmpeg wrote to its error output, oldest first.
    """

    def __init__(self, returncode: int | None, lines: Sequence[str]) -> None:
        self.returncode = returncode
        self.lines = list(lines)
        super().__init__(f"{describe_exit(returncode)}: {self.reason()}")

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended ffmpeg (POSIX only; Windows has no such mark)."""
        return self.returncode is not None and self.returncode < 0

    def reason(self, lines: int = 4) -> str:
        """ffmpeg's own last lines that tell a cause, in one string; a sentence when it wrote none."""
        telling = [line for line in self.lines if not any(words in line for words in AFTERMATH)]
        return " | ".join((telling or self.lines)[-lines:]) or "it gave no reason"


def describe_exit(returncode: int | None) -> str:
    """An exit code in words."""
    if returncode is None:
        return "ffmpeg stopped reading"
    if returncode < 0:
        return f"ffmpeg was killed (signal {-returncode})"
    return f"ffmpeg ended with code {returncode}"


def find_ffmpeg() -> str:
    """Path of a working ffmpeg binary.

    Raises:
        UserError: there is none, or the one that `IMAGEIO_FFMPEG_EXE` names does not run.
    """
    try:
        import imageio_ffmpeg

        exe = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise UserError(
            "No ffmpeg was found, and saving a video needs it: "
            "reinstall imageio-ffmpeg (pip install --force-reinstall imageio-ffmpeg)."
        ) from error
    encoders_of(exe)
    return exe


def encoders_of(exe: str) -> frozenset[str]:
    """Names of the encoders that the binary `exe` has, such as `libx264`; asked once per binary.

    Raises:
        UserError: `exe` cannot be run or is not ffmpeg.
    """
    try:
        status = Path(exe).stat()
        version = (status.st_mtime_ns, status.st_size)
    except OSError:
        version = (0, 0)  # a bare name, found by the system's search path
    return _probe_encoders(exe, version)


@functools.lru_cache(maxsize=8)
def _probe_encoders(exe: str, version: tuple[int, int]) -> frozenset[str]:
    """The encoder list of one binary; `version` (mtime, size) makes a replaced binary a new question."""
    try:
        listing = subprocess.run(
            [exe, "-hide_banner", "-encoders"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_SECONDS,
            check=False,
            creationflags=NO_WINDOW,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _not_ffmpeg(exe, str(error)) from error
    lines = listing.stdout.decode("utf-8", "replace").splitlines()
    rows = [line.split(None, 2) for line in lines if line.startswith(" ")]
    names = frozenset(row[1] for row in rows if len(row) == 3 and ENCODER_FLAGS.fullmatch(row[0]) and row[1] != "=")
    if listing.returncode != 0 or not names:
        raise _not_ffmpeg(exe, f"its answer to -encoders was not a list (exit code {listing.returncode})")
    return names


def _not_ffmpeg(exe: str, reason: str) -> UserError:
    remedy = (
        "unset IMAGEIO_FFMPEG_EXE or point it at a working ffmpeg"
        if os.environ.get("IMAGEIO_FFMPEG_EXE")
        else "reinstall imageio-ffmpeg (pip install --force-reinstall imageio-ffmpeg)"
    )
    return UserError(f"{exe} is not a working ffmpeg ({reason}): {remedy}.")


def _widen(pipe: IO[bytes]) -> None:
    """Give a pipe room for a frame instead of 64 KiB where the system can: that saves ffmpeg 1 % of its time."""
    if sys.platform != "linux":
        return
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:  # over the limit of this user's pipes
        log.debug("The pipe to ffmpeg keeps its usual size")


class FfmpegProcess:
    """One ffmpeg process that is fed through stdin; used as a context manager, it never outlives the block.

    Its error output is drained by a thread that ends with the block, so that ffmpeg never blocks on it and a
    broken pipe can name its reason. Another one feeds it, since no system lets a thread that writes to a pipe be
    interrupted: whoever waits for a stuck ffmpeg still hears an interrupt.
    """

    def __init__(self, exe: str, arguments: Sequence[str]) -> None:
        self._command = [exe, *arguments]
        self._lines: deque[str] = deque(maxlen=KEPT_LOG_LINES)

    def __enter__(self) -> FfmpegProcess:
        # SVT-AV1 prints its banner past ffmpeg's log level; this is its own switch for errors only.
        environment = {**os.environ, "SVT_LOG": "1", "AV_LOG_FORCE_NOCOLOR": "1"}
        log.debug("ffmpeg %s", self._command[1:])
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                creationflags=NO_WINDOW,
            )
        except OSError as error:
            raise UserError(
                f"The system cannot start ffmpeg ({error.strerror}): close other programs and queue it again."
            ) from error
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._input, self._errors = self._process.stdin, self._process.stderr
        _widen(self._input)
        self._drain = threading.Thread(target=self._read_log, name="ffmpeg-log", daemon=True)
        self._drain.start()
        self._chunks: SimpleQueue[memoryview | None] = SimpleQueue()
        self._fed: SimpleQueue[OSError | None] = SimpleQueue()
        self._feeder = threading.Thread(target=self._feed, name="ffmpeg-feed", daemon=True)
        self._feeder.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._chunks.put(None)
        try:
            self._process.wait(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:  # a disk that does not answer holds even a killed process
            log.warning("ffmpeg does not end; it is left to the system")
            return
        self._feeder.join()
        self._close_stdin()
        self._drain.join()
        self._errors.close()

    def write(self, data: memoryview, check: Callable[[], None]) -> None:
        """Feed all of `data` (bytes) to ffmpeg; `check` is called while it takes none and may raise to stop it.

        Raises:
            FfmpegError: ffmpeg has ended or closed its input.
        """
        self._chunks.put(data)
        while True:
            try:
                error = self._fed.get(timeout=POLL_SECONDS)
                break
            except Empty:
                check()
        if error is not None:
            raise self._failure(check) from error

    def _feed(self) -> None:
        """Write what is put into the queue, one answer for each."""
        while (data := self._chunks.get()) is not None:
            try:
                while data.nbytes:
                    data = data[self._input.write(data) :]
            except OSError as error:  # BrokenPipeError; EINVAL on Windows
                self._fed.put(error)
            else:
                self._fed.put(None)
            del data  # the next frame is not made beside this one

    def finish(self, check: Callable[[], None]) -> None:
        """Close the input and wait for the end; `check` is called while waiting and may raise to stop it.

        Raises:
            FfmpegError: ffmpeg ended with an error.
        """
        self._close_stdin()
        while True:
            try:
                self._process.wait(timeout=POLL_SECONDS)
                break
            except subprocess.TimeoutExpired:
                check()
        if self._process.returncode != 0:
            raise self._failure(check)

    def _failure(self, check: Callable[[], None]) -> FfmpegError:
        """The error that tells why ffmpeg stopped (it has closed its input, so its end is near)."""
        deadline = time.monotonic() + END_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            check()
            time.sleep(POLL_SECONDS)
        if self._process.poll() is not None:
            self._drain.join(timeout=END_SECONDS)
        return FfmpegError(self._process.returncode, self._lines)

    def _close_stdin(self) -> None:
        try:
            self._input.close()
        except OSError:
            log.debug("ffmpeg had closed its input already")

    def _read_log(self) -> None:
        for line in self._errors:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._lines.append(text)
