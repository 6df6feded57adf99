"""What can be checked before anything runs: the values that are known by then."""

from __future__ import annotations

from typing import Any

from ..errors import UserError


def refusal(*checks: tuple[Any, ...]) -> bool | str:
    """What `validate_inputs` answers.

    Args:
        checks: each a function and its values. A value is None where another node feeds the widget: it is not known
            yet, so the check is left to `execute`.

    Returns:
        True, or the sentence of the first check that refuses.
    """
    for check, *values in checks:
        if any(value is None for value in values):
            continue
        try:
            check(*values)
        except UserError as error:
            return str(error)
    return True
