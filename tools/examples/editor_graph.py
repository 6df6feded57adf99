"""Builds a workflow in the graph editor's format, laid out in columns, from what a server says of its nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Box = list[int]
OfferedNodes = dict[str, dict[str, Any]]
"""The server's `/object_info`."""

WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
OFF, ON = 4, 0  # LiteGraph's modes: bypassed, and as usual
OPTIONAL = 7  # LiteGraph's shape of a socket that may stay open: a ring
# What the editor draws: pixels at scale 1.
TITLE_HEIGHT, SLOT_HEIGHT, WIDGET_HEIGHT, NODE_PADDING = 30, 20, 24, 14
# In Nodes 2.0 a widget is taller, bars hang below a node (a model that is missing, advanced inputs), and the nodes of
# packs have their pack's name at the bottom. The node grows by itself; its group leaves it the room.
TALL_WIDGET_HEIGHT, BAR_HEIGHT, PACK_NAME_HEIGHT = 28, 32, 24
# Nodes that need more room than slots and widgets: text fields, pictures, players, what is told while they work.
ROOMY = {
    "LoadImage": 340, "LoadVideo": 300, "CLIPTextEncode": 170, "InfiniteTalkLoadAudio": 240,
    "InfiniteTalkAudioEmbeds": 250, "InfiniteTalkSpeakerMasks": 345, "InfiniteTalkSplitSpeakers": 250,
    "InfiniteTalkSampler": 735, "SaveVideoWithAudio": 420,
}  # fmt: skip
# What nodes grow to by a run, with a preview, a line of text, a player: room that their group leaves them.
AFTER_A_RUN = {
    "InfiniteTalkAudioEmbeds": 275, "InfiniteTalkMergedModelLoader": 190, "InfiniteTalkSampler": 985,
    "InfiniteTalkSplitSpeakers": 310, "SaveVideoWithAudio": 750,
}  # fmt: skip
# Widgets that the editor adds behind one of the node's own, with the value that it writes for them.
FILE_BUTTON, FIXED_SEED = "image", "fixed"
COLUMN_GAP, NODE_GAP, GROUP_GAP, GROUP_SIDE, GROUP_HEAD, TOP = 20, 26, 20, 20, 40, -10


class NotOfferedError(Exception):
    """The server has no node of this class: its ComfyUI is too old."""


@dataclass(frozen=True)
class Model:
    """A file for the editor's offer to download what is missing."""

    name: str
    directory: str
    folder_url: str
    """Where the file lies: its address without the name."""

    @property
    def url(self) -> str:
        return f"{self.folder_url}/{self.name}"

    def as_json(self) -> dict[str, str]:
        return {"name": self.name, "url": self.url, "directory": self.directory}


@dataclass(frozen=True)
class Output:
    """An output of a node, to be given to another node as an input."""

    node: Node
    index: int


@dataclass
class Node:
    """A node of the graph; `node["name"]` is one of its outputs, the node itself stands for the first."""

    id: int
    kind: str
    title: str
    inputs: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[dict[str, Any]] = field(default_factory=list)
    widgets_values: list[Any] = field(default_factory=list)
    properties: dict[str, Any] = field(default_factory=dict)
    mode: int = ON
    pos: Box = field(default_factory=lambda: [0, 0])
    size: Box = field(default_factory=lambda: [0, 0])
    look: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, output: str) -> Output:
        return Output(self, [slot["name"] for slot in self.outputs].index(output))

    @property
    def models(self) -> list[dict[str, str]]:
        """Files that the editor may offer to download."""
        return self.properties.get("models", [])

    def natural_height(self) -> int:
        """Pixels that the editor needs for slots and widgets, and more where there is more to show."""
        sockets = sum("widget" not in slot for slot in self.inputs)
        rows = max(sockets, len(self.outputs))
        return ROOMY.get(self.kind, rows * SLOT_HEIGHT + len(self.widgets_values) * WIDGET_HEIGHT + NODE_PADDING)

    def room(self, height: int) -> int:
        """Pixels below its title that a node of a height takes at most: on the canvas, in Nodes 2.0, after a run."""
        sockets = sum("widget" not in slot for slot in self.inputs)
        rows = max(sockets, len(self.outputs)) * SLOT_HEIGHT + len(self.widgets_values) * TALL_WIDGET_HEIGHT
        tall = height if self.kind in ROOMY else max(height, rows + NODE_PADDING + PACK_NAME_HEIGHT)
        return max(tall + BAR_HEIGHT, AFTER_A_RUN.get(self.kind, 0))

    def as_json(self, order: int) -> dict[str, Any]:
        title = {"title": self.title} if self.title else {}
        return {
            "id": self.id, "type": self.kind, "pos": self.pos, "size": self.size, "flags": {}, "order": order,
            "mode": self.mode, "inputs": self.inputs, "outputs": self.outputs, **title,
            "properties": self.properties, "widgets_values": self.widgets_values, **self.look,
        }  # fmt: skip


class EditorGraph:
    """A graph under construction: first its nodes, in the order of their ids, then columns with groups of them.

    Args:
        offered: what the server says of its nodes.
    """

    def __init__(self, offered: OfferedNodes) -> None:
        self._offered = offered
        self.nodes: list[Node] = []
        self._links: list[list[Any]] = []
        self._groups: list[dict[str, Any]] = []
        self._app: dict[str, Any] = {}
        self._left, self._top, self._width = 0, TOP, -COLUMN_GAP

    def add(self, kind: str, title: str = "", *, loads: Model | None = None, off: bool = False, **values: Any) -> Node:
        """Add a node.

        Args:
            kind: its class.
            title: in place of the class's own.
            loads: the file that its first widget chooses; the editor offers to download it.
            off: bypass it.
            values: its widgets' values (defaults stay) and, as `Output` or `Node`, its links.

        Raises:
            NotOfferedError: the server has no such node.
            KeyError: the node has no such input.
        """
        if kind not in self._offered:
            raise NotOfferedError(kind)
        described = self._offered[kind]
        node = Node(len(self.nodes) + 1, kind, title, mode=OFF if off else ON)
        node.properties = {"Node name for S&R": kind}
        if loads is not None:
            node.properties["models"] = [loads.as_json()]
            values[next(name for name, spec in described["input"]["required"].items() if _is_widget(spec))] = loads.name
        node.outputs = [
            {"localized_name": name, "name": name, "type": kind, "links": None}
            for name, kind in zip(described["output_name"], described["output"], strict=True)
        ]
        self.nodes.append(node)
        self._add_inputs(node, described["input"], values)
        if values:
            raise KeyError(f"{kind} has no input {', '.join(values)}")
        return node

    def _add_inputs(self, node: Node, described: dict[str, Any], values: dict[str, Any]) -> None:
        """Sockets first, then widgets, as the editor orders them; what is used of `values` is taken out."""
        optional = described.get("optional", {})
        every = {**described["required"], **optional}
        for name in sorted(every, key=lambda name: _is_widget(every[name])):
            spec, value = every[name], values.pop(name, None)
            linked = isinstance(value, Node | Output)
            slot = {"localized_name": name, "name": name, "type": _type_of(spec), "link": None}
            if _is_widget(spec):
                slot["widget"] = {"name": name}
                node.widgets_values += _widget_values(spec, None if linked else value)
            elif name in optional:
                slot["shape"] = OPTIONAL
            node.inputs.append(slot)
            if linked:
                self.connect(value, node, name)

    def connect(self, source: Node | Output, target: Node, name: str) -> None:
        """Link an output (of a node: its first) to the input of this name."""
        if isinstance(source, Node):
            source = Output(source, 0)
        slot = [slot["name"] for slot in target.inputs].index(name)
        link_id, output = len(self._links) + 1, source.node.outputs[source.index]
        output["links"] = [*(output["links"] or []), link_id]
        target.inputs[slot]["link"] = link_id
        self._links.append([link_id, source.node.id, source.index, target.id, slot, output["type"]])

    def note(self, title: str, text: str) -> Node:
        """Add a note in Markdown."""
        look = {"color": "#432", "bgcolor": "#000"}
        node = Node(len(self.nodes) + 1, "MarkdownNote", title, widgets_values=[text], look=look)
        self.nodes.append(node)
        return node

    def column(self, width: int) -> None:
        """Begin a new column to the right of the last one."""
        self._left, self._top, self._width = self._left + self._width + COLUMN_GAP, TOP, width

    def group(self, title: str, color: str, nodes: Sequence[Node]) -> None:
        """Put nodes below each other into a frame, below what the column has already."""
        top = self._top
        self._top += GROUP_HEAD
        for node in nodes:
            self._put(node, node.natural_height(), GROUP_SIDE)
        self._top += GROUP_SIDE - NODE_GAP
        bounding = [self._left, top, self._width, self._top - top]
        self._groups.append(
            {"id": len(self._groups) + 1, "title": title, "bounding": bounding, "color": color, "font_size": 24,
             "flags": {}}
        )  # fmt: skip
        self._top += GROUP_GAP

    def put(self, node: Node, height: int) -> None:
        """Put a node alone below what the column has already."""
        self._put(node, height, 0)

    def _put(self, node: Node, height: int, side: int) -> None:
        node.pos = [self._left + side, self._top + TITLE_HEIGHT]
        node.size = [self._width - 2 * side, height]
        self._top += TITLE_HEIGHT + node.room(height) + NODE_GAP

    def app(self, inputs: Sequence[tuple[Node, str]], outputs: Sequence[Node]) -> None:
        """Offer the graph as an app, as newer editors can show it: these widgets, and what these nodes make."""
        shown = {"inputs": [[str(node.id), widget] for node, widget in inputs], "outputs": [str(o.id) for o in outputs]}
        self._app = {"linearMode": False, "linearData": shown}  # it opens as a graph

    def as_json(self, graph_id: str) -> dict[str, Any]:
        """The whole graph as the editor saves it.

        Raises:
            ValueError: an input that a node needs is open.
        """
        for node in self.nodes:
            if open_slots := [s["name"] for s in node.inputs if s["link"] is None and not {"widget", "shape"} & set(s)]:
                raise ValueError(f"{node.kind} needs {', '.join(open_slots)}: connect it.")
        return {
            "id": graph_id, "revision": 0, "last_node_id": len(self.nodes), "last_link_id": len(self._links),
            "nodes": [node.as_json(order) for order, node in enumerate(self.nodes)], "links": self._links,
            "groups": self._groups, "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": [200, 200]}, **self._app}, "version": 0.4,
        }  # fmt: skip


def _type_of(spec: list[Any]) -> str:
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def _is_widget(spec: list[Any]) -> bool:
    return _type_of(spec) in WIDGET_TYPES


def _widget_values(spec: list[Any], value: Any) -> list[Any]:
    """What the editor saves for one widget, and for those that it adds behind it."""
    options = spec[1] if len(spec) > 1 else {}
    if value is None:
        choices = spec[0] if isinstance(spec[0], list) else options.get("options", [None])
        value = options["default"] if "default" in options else choices[0]
    if options.get("control_after_generate"):
        return [value, FIXED_SEED]
    if options.get("image_upload") or options.get("video_upload"):
        return [value, FILE_BUTTON]
    return [value]
