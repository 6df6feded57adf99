"""Files and JSON that are damaged or made to deceive, always the same for a seed."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from typing import Any

WANTED = int(os.environ.get("INFINITETALK_TEST_MUTANTS", 0))
"""Mutants of each kind of file; 0 is as many as a quick run has time for."""

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, "", "x", "\ud800", -1, 0, 0.5, 10**18, 2**63, 10**400, 1e308, 1e-300, float("nan"), float("inf")),
    *([], {}, [[]], {"a": 1}, "9" * 400, "1/" + "9" * 400, "1e-400"),
)
NUMBERS = (0, 1, 2, 8, 9, 255, 2**31 - 1, 2**32 - 1, 2**40, 2**63, 2**64 - 1)


def damaged(data: bytes, seed: int) -> bytes:
    """The bytes with one to four changes: flipped, cut, doubled, left out, or a number of the header made huge."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        # Half of the changes hit the first bytes, where headers are.
        place = chance.randrange(max(1, min(len(changed), 2000 if chance.random() < 0.5 else len(changed))))
        kind = chance.choice(("flip", "number", "cut", "double", "leave out", "zero"))
        if kind == "flip":
            changed[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == "number":
            size = chance.choice((4, 8))
            number = chance.choice(NUMBERS) % 2 ** (8 * size)
            changed[place : place + size] = number.to_bytes(size, "little")
        elif kind == "cut":
            del changed[max(place, 1) :]
        elif kind == "double":
            changed[place:place] = changed[place : place + 64]
        elif kind == "leave out":
            del changed[place : place + chance.randint(1, 64)]
        else:
            changed[place : place + 16] = bytes(len(changed[place : place + 16]))
    return bytes(changed)


def odd_documents(document: Any, seeds: Iterator[int]) -> Iterator[Any]:
    """Copies of a JSON document in which one or two values are odd, missing or nested deep."""
    for seed in seeds:
        chance = random.Random(seed)
        changed = copy.deepcopy(document)
        for _ in range(chance.randint(1, 2)):
            places = list(_places(changed))
            if not places:
                break
            container, key = chance.choice(places)
            if chance.random() < 0.15:
                del container[key]
            else:
                container[key] = copy.deepcopy(chance.choice((*ODD_VALUES, nested(300))))
        yield changed


def nested(depth: int) -> list:
    """Lists in lists."""
    deep: list = []
    for _ in range(depth):
        deep = [deep]
    return deep


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(document, dict | list):
        for key in list(document) if isinstance(document, dict) else range(len(document)):
            yield document, key
            yield from _places(document[key])
