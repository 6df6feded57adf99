"""Every input of every node of ours with everything that could be given to it, and how a server takes each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from comfy_client import ComfyClient, ComfyError, Prompt

Outcome = Literal["taken", "refused", "traceback", "silent", "endless"]

PATIENCE_SECONDS = 120
NAN, INF = float("nan"), float("inf")
LITERALS: tuple[Any, ...] = (
    *(None, True, "", "x", "\ud800", "\x1b[31m\nred", "x" * 100_000, "../../x", "nan", "5"),
    *(0, -1, -5, 3, 1e-9, 0.5, 10**9, 10**30, 2**64, 1e308, NAN, INF, -INF),
    *({}, {"a": 1}, {"__value__": [1]}, {"__value__": {"a": NAN}}, [1, 2, 3]),
)
"""Typed into a widget or a socket by a client of the API."""
LINKED: tuple[Any, ...] = (
    *(None, True, False, "", "x", "\ud800", "x" * 100_000, "5"),
    *(0, -1, -5, 3, 5.0, 5.5, 1e-9, 200_001, 10**9, 10**30, 10**400, 1e308, NAN, INF, -INF),
    *([], [1], {}, {"a": 1}),
)
"""Given by another node."""
ALLOWED_OBJECTS = {
    "IMAGE": ("image", "image bf16"),
    "MASK": ("mask", "mask bool", "mask bf16"),
    "VIDEO": ("video", "video bf16"),
    "BOUNDING_BOX": ("boxes",),
    "AUDIO": ("audio", "audio of two"),
    "CONDITIONING": ("prompt",),
    "INT": ("tensor",),
}
"""Objects that may be taken, by the socket's type."""
ONE_FOR_EACH = {"masks": ("mask of 5",), "edit_mask": ("mask of 5",)}
"""Objects that may be taken by an input besides: a mask for each face, or for each frame of the video."""
SAY_WHAT_THEY_FOUND = ("SaveVideoWithAudio", "InfiniteTalkSyncPlot", "InfiniteTalkSpeakerMasks")
"""Nodes that tell in their report what was odd about pixels or sound, or that only take a picture's size."""
LEFT_TO_THE_NEXT = ("InfiniteTalkScene",)
"""Nodes whose objects the node looks into that takes their output."""
OURS = ("InfiniteTalk", "SaveVideoWithAudio")
"""How the names of our nodes begin."""
CORE_TURNS_NULL_INTO = ("BOOLEAN", "STRING")  # false, and the text None


@dataclass(frozen=True)
class Case:
    """One input of one node in the graph, and what is given to it."""

    node: str
    input_name: str
    kind: Literal["typed", "linked", "object"]
    value: Any

    def __str__(self) -> str:
        return f"{self.node}.{self.input_name} {self.kind} {self.value!r:.60}"


@dataclass(frozen=True)
class Result:
    """How a server took a case, and what it said."""

    case: Case
    outcome: Outcome
    told: str


class Corpus:
    """All cases of a graph, each queued with what its node needs."""

    def __init__(self, client: ComfyClient, prompt: Prompt, objects: list[str]) -> None:
        """Take a graph that works.

        Args:
            prompt: has each node of ours at least once; a second one has inputs that the first cannot have with others.
            objects: names that `AnyValue` knows.
        """
        self.client = client
        self.prompt = prompt
        self.objects = objects
        self.described = {
            node["class_type"]: client.get(f"/object_info/{node['class_type']}")[node["class_type"]]
            for node in prompt.values()
        }

    def cases(self) -> Iterator[Case]:
        """Every input of every node of ours with everything; of a second node of a class, those that it alone has."""
        given: dict[str, set[str]] = {}
        for node, content in self.prompt.items():
            kind = content["class_type"]
            if not kind.startswith(OURS):
                continue
            names = set(content["inputs"]) - given[kind] if kind in given else set(self.inputs(kind))
            given.setdefault(kind, set()).update(content["inputs"])
            for name in sorted(names):
                yield from (Case(node, name, "typed", value) for value in LITERALS)
                yield from (Case(node, name, "linked", value) for value in LINKED)
                yield from (Case(node, name, "object", value) for value in self.objects)

    def untried(self) -> set[str]:
        """Nodes of ours that the server has and the graph has not."""
        return {kind for kind in self.client.get("/object_info") if kind.startswith(OURS)} - set(self.described)

    def inputs(self, kind: str) -> dict[str, list[Any]]:
        """Name -> type and options of all inputs."""
        described = self.described[kind]["input"]
        return {**described.get("required", {}), **described.get("optional", {})}

    def graph(self, case: Case) -> Prompt:
        """What the case's node needs, the node itself with the value in place, and an end."""
        prompt: Prompt = {}
        last = self._taker(case.node) if self.prompt[case.node]["class_type"] in LEFT_TO_THE_NEXT else case.node
        open_nodes = [last]
        while open_nodes:
            node = open_nodes.pop()
            inputs = dict(self.prompt[node]["inputs"])
            if node == case.node:
                inputs[case.input_name] = case.value if case.kind == "typed" else ["any", 0]
            prompt[node] = {"class_type": self.prompt[node]["class_type"], "inputs": inputs}
            linked = (v[0] for v in inputs.values() if isinstance(v, list) and len(v) == 2)
            open_nodes += [other for other in linked if other != "any" and other not in prompt]
        if case.kind != "typed":
            named = case.kind == "object"
            value = case.value if named else json.dumps(case.value)
            prompt["any"] = {"class_type": "AnyValue", "inputs": {"value": value, "named": named}}
        if not self.described[prompt[last]["class_type"]]["output_node"]:
            prompt["sink"] = {"class_type": "AnySink", "inputs": {"value": [last, 0]}}
        return prompt

    def _taker(self, node: str) -> str:
        """The node that takes another one's output."""
        return next(name for name, taker in self.prompt.items() if [node, 0] in taker["inputs"].values())

    def run(self, case: Case) -> Result:
        """Queue the case and judge what comes of it."""
        prompt = self.graph(case)
        try:
            prompt_id = self.client.submit(prompt)
        except ComfyError as error:
            return Result(case, "traceback" if "Exception when" in str(error) else "refused", str(error))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (entry := self.client.get(f"/history/{prompt_id}").get(prompt_id)):
            if time.monotonic() > deadline:
                self.client.interrupt()
                return Result(case, "endless", "")
            time.sleep(0.01)
        errors = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
        if errors:
            return self._judge_error(case, prompt, errors[0])
        return Result(case, "taken" if self.is_allowed(case) else "silent", "")

    def _judge_error(self, case: Case, prompt: Prompt, error: dict[str, Any]) -> Result:
        told = error["exception_message"].strip()
        ours = prompt[error["node_id"]]["class_type"] in self.described
        if ours and not error["exception_type"].endswith(("UserError", "AudioError", "UnreadableError")):
            return Result(case, "traceback", f"{error['exception_type']}: {told:.200}")
        return Result(case, _judge_refusal(told), told)

    def is_allowed(self, case: Case) -> bool:
        """Whether the schema that the server tells has room for the value."""
        class_type = self.prompt[case.node]["class_type"]
        kind, options = (*self.inputs(class_type)[case.input_name], {})[:2]
        optional = case.input_name in self.described[class_type]["input"].get("optional", {})
        choices = kind if isinstance(kind, list) else options.get("options")
        if case.value is None and case.kind != "object":
            return optional or (case.kind == "typed" and kind in CORE_TURNS_NULL_INTO)
        if case.kind == "object":
            noted = class_type in SAY_WHAT_THEY_FOUND and case.value.startswith(("image", "video", "audio"))
            allowed = [name for one in str(kind).split(",") for name in ALLOWED_OBJECTS.get(one, ())]
            return case.value in allowed or case.value in ONE_FOR_EACH.get(case.input_name, ()) or noted
        if kind == "AUDIO" and class_type == "SaveVideoWithAudio":
            return isinstance(case.value, dict)  # saved without sound, and said so
        if choices is not None:
            return isinstance(case.value, str) and case.value in choices
        if kind in ("INT", "FLOAT"):
            return _is_within(kind, case, options)
        if kind == "STRING":
            return case.kind == "typed" or isinstance(case.value, str)
        return kind == "BOOLEAN" and (case.kind == "typed" or case.value in (True, False))


def _is_within(kind: str, case: Case, options: dict[str, Any]) -> bool:
    """Whether a number, as core turns typed values into one, lies in the limits."""
    value = case.value
    try:
        number = {"INT": int, "FLOAT": float}[kind](value)
    except (TypeError, ValueError, OverflowError):
        return False
    if case.kind == "linked" and (isinstance(value, str) or (kind == "INT" and number != value)):
        return False
    return options["min"] <= number <= options["max"]  # false of NaN


def _judge_refusal(told: str) -> Outcome:
    """Whether what was said is a sentence: one line, in it nothing that no log can write."""
    try:
        told.encode()
    except UnicodeEncodeError:
        return "traceback"
    return "refused" if told and "\n" not in told and "Traceback" not in told else "traceback"
