"""Draws the rooms of the pack and who imports whom: `python tools/architecture_picture.py`.

Rooms and arrows are read from the sources, so the picture is what the code is. Each room has a column of its own, and
stands higher than all that it imports: an arrow goes straight down in its column, along the free lane above its
target's row, and down to the target. Two rooms that import each other stand beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from import_map import COMFYUI, ROOT, imported_at_once, imports_of, library_files, module_name, room_of

PICTURE = ROOT / "docs" / "images" / "architecture.svg"

# From left to right, with what the room holds. Near to each other stands what has much to do with each other.
ROOMS = {
    "audio": ("sound, loudness,", "wav2vec, embeddings"),
    "wanvideo.model": ("what touches", "core's model"),
    "wanvideo": ("windows, guidance,", "the loop, the job"),
    "wanvideo.resume": ("what decides the", "pixels of a window"),
    "video_io.store": ("finished windows", "on disk"),
    "video_io.save": ("frames and sound", "to a file"),
    "video_io.read": ("frames and sound", "of any source"),
    "video_io": ("pixels,", "durable files"),
    "sync": ("lips against", "sound"),
    "nodes": ("schemas, checks, one call into the library each",),
}
WIDE = "nodes"  # lies over all the others, as ComfyUI calls nothing else
GROUND = ("errors", "spool", "timebase", "weight_files")  # what everybody may use; arrows to it would hide the others
COLORS = {"nodes": "#8a94a6", "wanvideo": "#b4532a", "video_io": "#2a5db0", "sync": "#2f7d4f", "audio": "#7a3f9d"}

Arrow = tuple[str, str]
MARGIN, PITCH, ROOM_WIDTH, ROOM_HEIGHT = 24, 168, 146, 62
PORT, LANE = 13, 8  # pixels between two arrows at one room, and between two that run side by side
APPROACH = 24  # pixels from the lowest lane to the room below, and at least from the highest to the room above
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"


@dataclass(frozen=True)
class ImportMap:
    """What the picture shows.

    Attributes:
        arrows: pairs of rooms (who imports, what is imported), and whether that is for types alone.
        need_comfyui: rooms with a module that cannot be loaded without ComfyUI.
    """

    arrows: dict[Arrow, bool]
    need_comfyui: frozenset[str]


def read_imports() -> ImportMap:
    """The rooms' imports as the sources have them.

    Raises:
        ValueError: a room that has no place in the picture yet.
    """
    arrows: dict[Arrow, bool] = {}
    need_comfyui = set()
    known = (*ROOMS, *GROUND)
    for file in library_files():
        if file.name == "__init__.py" and file.parent == file.parent.parent:
            continue  # the pack itself only hands out the nodes
        source = room_of(module_name(file), known)
        if COMFYUI & set(imported_at_once(file)):
            need_comfyui.add(source)
        for found in imports_of(file):
            target = room_of(found.module, known)
            if unknown := {source, target} - set(known):
                raise ValueError(f"{file} imports {found.module}: give {', '.join(unknown)} a place in ROOMS")
            if source != target and target not in GROUND:
                arrows[source, target] = arrows.get((source, target), True) and found.for_types
    return ImportMap(dict(sorted(arrows.items())), frozenset(need_comfyui))


def heights(arrows: dict[Arrow, bool]) -> dict[str, int]:
    """The row of each room, counted from below: one above the highest room that it imports."""
    reached = {room: {room} for room in ROOMS}
    for _ in ROOMS:
        for source, target in arrows:
            reached[source] |= reached[target]
    rows = dict.fromkeys(ROOMS, 0)
    for _ in ROOMS:
        for source, target in arrows:
            if source not in reached[target]:
                rows[source] = max(rows[source], rows[target] + 1)
        for room in ROOMS:  # rooms that import each other share a row
            rows[room] = max(rows[other] for other in ROOMS if room in reached[other] and other in reached[room])
    return rows


class Plan:
    """Where rooms stand and arrows run; all lengths in pixels."""

    def __init__(self, arrows: dict[Arrow, bool]) -> None:
        self.arrows = list(arrows)
        self.rows = heights(arrows)
        self.columns = [room for room in ROOMS if room != WIDE]
        self.lanes = self._lanes()
        self.width = 2 * MARGIN + (len(self.columns) - 1) * PITCH + ROOM_WIDTH
        highest = max(self.rows.values())
        self.tops = {highest: float(MARGIN)}
        for row in range(highest - 1, -2, -1):  # row -1 is the ground
            lanes = 1 + max((lane for arrow, lane in self.lanes.items() if self.rows[arrow[1]] == row), default=-1)
            self.tops[row] = self.tops[row + 1] + ROOM_HEIGHT + 2 * APPROACH + LANE * lanes

    def left(self, room: str) -> float:
        return MARGIN if room == WIDE else MARGIN + self.columns.index(room) * PITCH

    def top(self, room: str) -> float:
        return self.tops[self.rows[room]]

    def room_width(self, room: str) -> float:
        return self.width - 2 * MARGIN if room == WIDE else ROOM_WIDTH

    def middle(self, room: str) -> float:
        return self.left(room) + ROOM_WIDTH / 2

    def path(self, arrow: Arrow) -> str:
        """The arrow's way as SVG writes it."""
        source, target = arrow
        if self.rows[source] == self.rows[target]:
            return self._beside(source, target)
        end_x, end_y = self._port(arrow, target), self.top(target)
        if source == WIDE:
            return f"M{end_x:g} {self.top(source) + ROOM_HEIGHT:g} V{end_y:g}"
        start_x = self._port(arrow, source)
        lane = end_y - APPROACH - LANE * self.lanes[arrow]
        return f"M{start_x:g} {self.top(source) + ROOM_HEIGHT:g} V{lane:g} H{end_x:g} V{end_y:g}"

    def _beside(self, source: str, target: str) -> str:
        """Between two rooms of one row: the way there a little above the way back."""
        to_right = self.left(target) > self.left(source)
        y = self.top(source) + ROOM_HEIGHT / 2 + (-PORT / 2 if to_right else PORT / 2)
        start, end = self.left(source) + ROOM_WIDTH * to_right, self.left(target) + ROOM_WIDTH * (not to_right)
        return f"M{start:g} {y:g} H{end:g}"

    def _port(self, arrow: Arrow, room: str) -> float:
        """Where the arrow meets the room's edge: in the order of where the others stand, so that few cross."""
        is_source = arrow[0] == room
        others = [a for a in self.arrows if a[0 if is_source else 1] == room and self.rows[a[0]] != self.rows[a[1]]]
        other = 1 if is_source else 0

        def order(one: Arrow) -> float:
            return self.middle(room) if one[other] == WIDE else self.middle(one[other])

        others.sort(key=order)
        return self.middle(room) + PORT * (others.index(arrow) - (len(others) - 1) / 2)

    def _lanes(self) -> dict[Arrow, int]:
        """The lane above its target's row in which each arrow runs; arrows of one lane do not meet."""
        lanes: dict[Arrow, int] = {}
        taken: dict[tuple[int, int], list[range]] = {}  # columns, by row and lane
        place = self.columns.index
        crossing = [a for a in self.arrows if a[0] != WIDE and self.rows[a[0]] > self.rows[a[1]]]
        for arrow in sorted(crossing, key=lambda a: abs(place(a[0]) - place(a[1]))):
            ends = sorted(map(place, arrow))
            way, row, lane = range(ends[0], ends[1] + 1), self.rows[arrow[1]], 0
            while any(set(way) & set(other) for other in taken.get((row, lane), [])):
                lane += 1
            taken.setdefault((row, lane), []).append(way)
            lanes[arrow] = lane
        return lanes


def drawing(found: ImportMap) -> str:
    """The picture as SVG."""
    plan = Plan(found.arrows)
    height = plan.tops[-1] + 110
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {plan.width:g} {height:g}' {FONT}>",
        "<title>The rooms of the pack and who imports whom</title>",
        "<!-- Written by tools/architecture_picture.py from the imports in the sources. -->",
        f"<rect width='{plan.width:g}' height='{height:g}' fill='white'/>",
        "<defs>",
        *(_arrow_head(group, color) for group, color in COLORS.items()),
        "</defs>",
        *(_arrow(plan, arrow, for_types) for arrow, for_types in found.arrows.items()),
        *(_room(plan, room, room in found.need_comfyui) for room in ROOMS),
        *_ground(plan),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _arrow_head(group: str, color: str) -> str:
    shape = f"<path d='M0 0 L8 4 L0 8 z' fill='{color}'/>"
    size = "markerUnits='userSpaceOnUse' markerWidth='8' markerHeight='8'"
    return f"<marker id='to-{group}' {size} refX='8' refY='4' orient='auto'>{shape}</marker>"


def _arrow(plan: Plan, arrow: Arrow, for_types: bool) -> str:
    source, target = arrow
    group = source.partition(".")[0]
    dashes = " stroke-dasharray='5 4'" if for_types else ""
    facts = f"class='arrow' data-from='{source}' data-to='{target}' data-for-types='{str(for_types).lower()}'"
    look = f"fill='none' stroke='{COLORS[group]}' stroke-width='1.6'{dashes} marker-end='url(#to-{group})'"
    return f"<path {facts} d='{plan.path(arrow)}' {look}/>"


def _room(plan: Plan, room: str, needs_comfyui: bool) -> str:
    color = COLORS[room.partition(".")[0]]
    x, y, width = plan.left(room), plan.top(room), plan.room_width(room)
    fill = "#f4f4f4" if needs_comfyui else "white"
    texts = [_text(x + width / 2, y + 20, room.replace(".", "/"), 14, "bold")]
    texts += [_text(x + width / 2, y + 38 + 15 * line, words, 11.5) for line, words in enumerate(ROOMS[room])]
    facts = f"class='room' data-room='{room}' data-needs-comfyui='{str(needs_comfyui).lower()}'"
    look = f"rx='6' fill='{fill}' stroke='{color}' stroke-width='{3 if needs_comfyui else 1.6}'"
    box = f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='{ROOM_HEIGHT}' {look}/>"
    return f"<g {facts}>{box}{''.join(texts)}</g>"


def _ground(plan: Plan) -> list[str]:
    """The floor that all stand on, and how to read the picture."""
    y = plan.tops[-1] - APPROACH
    names = " · ".join(f"{name}.py" for name in GROUND)
    width = plan.width - 2 * MARGIN
    legend = "An arrow goes from who imports to what is imported (dashed: for types alone)."
    return [
        f"<rect x='{MARGIN}' y='{y:g}' width='{width:g}' height='42' rx='6' fill='white' stroke='#555'/>",
        _text(plan.width / 2, y + 26, f"{names}: every room may use them", 13),
        _text(plan.width / 2, y + 70, legend, 12),
        _text(plan.width / 2, y + 90, "Rooms with a thick frame need ComfyUI; the others load without it.", 12),
    ]


def _text(x: float, y: float, words: str, size: float, weight: str = "normal") -> str:
    look = f"font-size='{size:g}' font-weight='{weight}' text-anchor='middle'"
    return f"<text x='{x:g}' y='{y:g}' {look}>{escape(words, quote=False)}</text>"


def main(picture: Path = PICTURE) -> None:
    """Write the picture."""
    picture.write_text(drawing(read_imports()), encoding="utf-8", newline="\n")
    print(f"Wrote {picture.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
