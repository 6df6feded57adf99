"""Inputs that few people touch: newer editors fold them, older ones show them as ever."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from comfy_api.latest import io

Arguments = ParamSpec("Arguments")


def folds(*names: str) -> Callable[[Callable[Arguments, io.Schema]], Callable[Arguments, io.Schema]]:
    """Mark inputs of the schema that a function returns as advanced, as the editor reads it from `/object_info`.

    ComfyUI 0.3.75 has no argument for it, but hands on what stands in an input's `extra_dict`.

    Args:
        names: ids of inputs; the schema must have them all.
    """

    def decorate(define_schema: Callable[Arguments, io.Schema]) -> Callable[Arguments, io.Schema]:
        @wraps(define_schema)
        def define(*args: Arguments.args, **kwargs: Arguments.kwargs) -> io.Schema:
            schema = define_schema(*args, **kwargs)
            inputs = {put.id: put for put in schema.inputs}
            for name in names:
                inputs[name].extra_dict["advanced"] = True
            return schema

        return define

    return decorate
