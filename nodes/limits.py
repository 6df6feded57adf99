"""The limits of a node's inputs, as its schema has them."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

from comfy_api.latest import io

from ..errors import UserError
from .objects import check_socket, described


def allowed(
    inputs: Mapping[str, io.Input], looked_up: Collection[str], given: Mapping[str, Any], *, whole: bool = False
) -> dict[str, Any]:
    """The given values as the schema allows them; without those that are None or that the node does not know.

    Args:
        inputs: the schema's inputs by name.
        looked_up: lists of files, whose choices are not those of the schema alone.
        given: values by name; None where there is none.
        whole: whether all values are there, so that a required one may not be missing.

    Raises:
        UserError: one is missing, of another type, or beyond its limits.
    """
    values = {name: given[name] for name in inputs if given.get(name) is not None}
    missing = [name for name, one in inputs.items() if whole and not one.optional and name not in values]
    if missing:
        raise UserError(f"{missing[0]} is missing: connect it, or set a value.")
    return {name: _checked(inputs[name], value, name in looked_up) for name, value in values.items()}


def _checked(one: io.Input, value: Any, looked_up: bool) -> Any:
    """One value, in its own type."""
    if isinstance(one, io.Int.Input):
        return _within(one, _whole_number(one.id, value))
    if isinstance(one, io.Float.Input):
        return _within(one, _finite_number(one.id, value))
    if isinstance(one, io.Combo.Input):
        return _choice(one, _text(one.id, value), looked_up)
    if isinstance(one, io.String.Input):
        return _text(one.id, value)
    if isinstance(one, io.Boolean.Input):
        return _yes_or_no(one.id, value)
    check_socket(one.id, one.get_io_type(), value)
    return value


def _whole_number(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # the latter two: of tensors that are no single number
        if isinstance(value, float) and value.is_integer():
            return int(value)
    raise UserError(f"{name} is {described(value)}, and a whole number is needed: set it, or feed it an INT.")


def _finite_number(name: str, value: Any) -> float:
    try:
        number = float(value) if isinstance(value, Real) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{name} is {described(value)}, and a finite number is needed: set it or feed it a FLOAT.")
    return number


def _within(one: io.Int.Input | io.Float.Input, number: Any) -> Any:
    """The number, if it lies in the input's limits."""
    low = -math.inf if one.min is None else one.min
    high = math.inf if one.max is None else one.max
    if not low <= number <= high:
        raise UserError(f"{one.id} is {described(number)}, and {low} to {high} is needed: set it within these limits.")
    return number


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UserError(f"{name} is {described(value)}, and a text is needed: set it, or feed it a STRING.")
    return value


def _choice(one: io.Combo.Input, value: str, looked_up: bool) -> str:
    if looked_up or value in one.options:
        return value
    raise UserError(f"{one.id} is {value!r}: choose one of {', '.join(map(str, one.options))}.")


def _yes_or_no(name: str, value: Any) -> bool:
    try:
        if value in (True, False):
            return bool(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor or an array
        pass
    raise UserError(f"{name} is {described(value)}, and true or false is needed: set it, or feed it a BOOLEAN.")
