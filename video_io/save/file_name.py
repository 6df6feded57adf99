"""Where a file goes: its folder, and its name with the next free counter."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ..durable import make_folder
from .prefix import check_prefix, prefix_parts


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where a file shall go.

    Attributes:
        folder: absolute folder, inside the output folder.
        subfolder: the same relative to the output folder, with `/` between its parts ("" for none).
        stem: name without counter and suffix.
        suffix: with its dot.
    """

    folder: Path
    subfolder: str
    stem: str
    suffix: str

    def path(self, counter: int) -> Path:
        """The file with that counter, named as core names its files."""
        return self.folder / f"{self.stem}_{counter:05}_{self.suffix}"

    def next_counter(self) -> int:
        """One more than the highest counter in the folder, whatever the suffix of the file that has it."""
        wanted = os.path.normcase(f"{self.stem}_")
        pattern = re.compile(re.escape(wanted) + r"(\d+)(?=[_.]|$)")
        found = (pattern.match(os.path.normcase(name)) for name in os.listdir(self.folder))  # noqa: PTH208
        return max((int(match.group(1)) for match in found if match), default=0) + 1


def make_target(prefix: str, output_folder: Path, suffix: str) -> Target:
    """The target for an expanded prefix; its folder is created.

    Raises:
        UserError: as `check_prefix`, or the folder cannot be created or written to.
    """
    check_prefix(prefix)
    *folders, stem = prefix_parts(prefix)
    root = Path(os.path.abspath(output_folder))  # noqa: PTH100  (resolve() would follow users' own links)
    folder = root.joinpath(*folders)
    try:
        make_folder(folder)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be created ({error.strerror}): choose another filename_prefix or "
            "make the output folder writable."
        ) from error
    return Target(folder=folder, subfolder="/".join(folders), stem=stem, suffix=suffix)
