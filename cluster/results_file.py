"""The results: one JSON object a line, written as each job ends; read again when the command is given again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from job_file import Fault, Job, JobError

SHOWN = 60
"""Characters of a line that are shown."""


class ResultsFile:
    """What has become of the jobs so far.

    Args:
        file: made if it is not there; a last line that was cut short by a crash is dropped. A file beside it is locked
            for as long as this is open, or two commands would do every job twice.

    Raises:
        JobError: it cannot be read or written, is no file of results, or another command writes it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._done: dict[str, dict[str, Any]] = {}
        self._lock = FileLock(file.with_name(f"{file.name}.lock"), blocking=False)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            text = file.read_bytes() if file.exists() else b""
            whole = _whole(text)
            for line in filter(str.strip, whole.decode("utf-8-sig").split("\n")):  # a text may hold other breaks
                result = _result(line)
                if result["status"] == "done":
                    self._done[result["id"]] = result
            if whole != text:
                with file.open("rb+") as opened:
                    opened.truncate(min(len(whole), len(text)))
                    opened.seek(0, os.SEEK_END)
                    opened.write(whole[len(text) :])
            # Half of a surrogate pair, which no UTF-8 has, is written as JSON writes it.
            self._opened = file.open("a", encoding="utf-8", errors="backslashreplace")
        except Timeout as error:
            raise JobError(
                f"Another command is doing the jobs of {file}: wait for its end, or name another file by --results; "
                f"if there is none, as after a crash on storage without locks, delete {self._lock.lock_file}."
            ) from error
        except (OSError, ValueError, NotImplementedError) as error:  # the last one: older locks, on storage without
            self._lock.release()
            raise JobError(f"The results {file} cannot be used ({error}): name another file by --results.") from error

    def is_done(self, job: Job) -> bool:
        """Whether the job was done before and its video is there.

        Raises:
            JobError: another job was done under this id.
        """
        result = self._done.get(job.id)
        if result is None or not Path(result["output"]).is_file():
            return False
        if result["digest"] != job.digest:
            raise JobError(
                f"The job {job.id} is done already, with another graph, files or output: give it another id, or take "
                f"its line out of {self.file}."
            )
        return True

    def add(self, result: dict[str, Any]) -> None:
        """Write a line; it is on the disk when this returns."""
        self._opened.write(json.dumps(result, ensure_ascii=False) + "\n")
        self._opened.flush()
        os.fsync(self._opened.fileno())

    def close(self) -> None:
        """Close the file, and let others have it."""
        self._opened.close()
        self._lock.release()


def _whole(text: bytes) -> bytes:
    """The lines that are whole. Who takes one out in an editor may leave the last one without its end."""
    begin = text.rfind(b"\n") + 1
    try:
        json.loads(text[begin:])
    except ValueError:  # cut short, or there is none; what does not begin as a result is another file's
        return text[:begin] if not text[begin:].strip() or text[begin:].startswith(b"{") else text
    return text + b"\n"


def _result(line: str) -> dict[str, Any]:
    """What a line says.

    Raises:
        ValueError: it is no result.
    """
    result = json.loads(line)
    if not isinstance(result, dict) or "status" not in result:
        raise ValueError(f"{line[:SHOWN]!r} is no result")
    needed = ("id", "output", "digest") if result["status"] == "done" else ()
    if missing := [key for key in needed if not isinstance(result.get(key), str)]:
        raise ValueError(f"{line[:SHOWN]!r} is done and has no {missing[0]}")
    return result


def failed_line(fault: Fault) -> dict[str, Any]:
    """The result of a line that is no job."""
    return {"id": fault.id, "line": fault.line, "status": "failed", "error": fault.sentence, "tries": 0}
