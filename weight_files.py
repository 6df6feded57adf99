"""What arrives in place of a model: a web page, or Git's note of where the file lies."""

from __future__ import annotations

from pathlib import Path

from .errors import UserError

LFS_POINTER = b"version https://git-lfs"
PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")


def refuse_pages_and_pointers(path: Path) -> None:
    """Look at the first bytes of a model file, whatever its name ends in.

    Raises:
        UserError: it is a Git LFS pointer or a web page.
    """
    with path.open("rb") as file:
        head = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(LFS_POINTER):
        raise UserError(
            f"{path.name} is a Git LFS pointer, not the model itself: download the file with `git lfs pull` or from "
            "its web page."
        )
    if head.startswith(PAGES):
        raise UserError(
            f"{path.name} is a web page, not a model: download the file itself (Hugging Face has a button for it)."
        )
