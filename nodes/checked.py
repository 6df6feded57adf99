"""What all nodes share: nothing reaches their work that their own schema does not allow."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from comfy_api.latest import io

from ..errors import UserError, plain_text
from .limits import allowed

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"


class CheckedNode(io.ComfyNode):
    """A node whose inputs are what its schema says, typed and linked ones alike.

    Core checks the limits of numbers only where they are typed and `validate_inputs` does not name them, and takes
    anything for an object. So a node defines `run` in place of `execute`, and has `validate_inputs` ask `check_inputs`.
    """

    LOOKED_UP: ClassVar[tuple[str, ...]] = ()
    """Lists of files: the node itself looks for what is chosen, as the list may be older than the folder."""

    @classmethod
    def execute(cls, **inputs: Any) -> io.NodeOutput:
        """Check every input and do the node's work.

        Raises:
            UserError: an input is missing, of another type or beyond its limits; a Python package is not installed.
        """
        with errors_that_can_be_logged(), missing_packages_named():
            return cls.run(**allowed(cls._inputs(), cls.LOOKED_UP, inputs, whole=True))

    @classmethod
    def run(cls, *_: Any, **inputs: Any) -> io.NodeOutput:
        """The node's work, on inputs that fit its schema."""
        raise NotImplementedError

    @classmethod
    def check_inputs(cls, **inputs: Any) -> None:
        """Check the inputs that are known before anything runs; None is not known yet.

        Raises:
            UserError: one is of another type or beyond its limits.
        """
        allowed(cls._inputs(), cls.LOOKED_UP, inputs)

    @classmethod
    def _inputs(cls) -> Mapping[str, io.Input]:
        schema = cls.SCHEMA or cls.GET_SCHEMA()
        return {one.id: one for one in schema.inputs}


@contextmanager
def missing_packages_named() -> Iterator[None]:
    """A package of requirements.txt that is not installed is no programmer's error, and has a remedy."""
    try:
        yield
    except ModuleNotFoundError as error:
        required = REQUIREMENTS.read_text(encoding="utf-8").replace("-", "_").split()
        package = (error.name or "").partition(".")[0]
        if not any(re.split("[<>=]", line)[0] == package for line in required):
            raise
        raise UserError(
            f"The Python package {package.replace('_', '-')} is not installed: run "
            f'"{sys.executable}" -m pip install -r "{REQUIREMENTS}" and start ComfyUI again.'
        ) from error


@contextmanager
def errors_that_can_be_logged() -> Iterator[None]:
    """Exceptions leave as they are, unless their text, or that of what caused them, cannot be written in UTF-8.

    Core logs them whole, and its worker thread ends where that fails: no job would run any more.
    """
    try:
        yield
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        if told == told.encode("utf-8", "replace").decode():
            raise
        raise (UserError if isinstance(error, UserError) else RuntimeError)(plain_text(str(error))) from None
