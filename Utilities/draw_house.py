"""Draw the house of docs/architecture.md from the real imports: docs/pictures/house.svg.

    python Utilities/draw_house.py [--check]

A room is a folder at the top of a library; the small files beside them are the foundation. A room stands on the floor
above the highest room that it imports from, and a line leads down to each of those that no other room leads to already.
With ``--check`` nothing is written and the exit code tells whether the picture is up to date.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "house.svg"
LIBRARIES = {
    "BrainAnomalyLib": ROOT / "BrainAnomaly" / "BrainAnomalyLib",
    "BrainAnomalyTrainingLib": ROOT / "BrainAnomalyTraining" / "BrainAnomalyTrainingLib",
}
TITLES = {"BrainAnomalyLib": "Engine: BrainAnomalyLib", "BrainAnomalyTrainingLib": "Training: BrainAnomalyTrainingLib"}
FOUNDATION = "foundation"
# Rooms through which people come in.
DOORS = {"cli", "slicer", "commands"}
ROOM = (136, 40)
GAP, FLOOR, MARGIN, ROOF, GROUND = 12, 78, 24, 96, 64


@dataclass
class House:
    """Rooms of one library: what each is for, and the rooms that each imports from."""

    words: dict[str, str] = field(default_factory=dict)
    needs: dict[str, set[str]] = field(default_factory=dict)

    def floors(self) -> list[list[str]]:
        """Rooms from the ground up. Raises ValueError if imports run in a circle."""
        built: list[list[str]] = []
        done: set[str] = set()
        while ready := sorted(room for room in self.words if room not in done and self.needs[room] <= done):
            built.append(ready)
            done |= set(ready)
        if done != set(self.words):
            raise ValueError(f"imports run in a circle: {sorted(set(self.words) - done)}")
        return built

    def reachable(self, room: str) -> set[str]:
        """All rooms that a room rests on."""
        return self.needs[room].union(*(self.reachable(other) for other in self.needs[room]))

    def lines(self) -> Iterator[tuple[str, str]]:
        """Pairs of a room and one it rests on, without those that another pair implies."""
        for room, needs in sorted(self.needs.items()):
            implied = set().union(*(self.reachable(other) for other in needs))
            yield from ((room, other) for other in sorted(needs - implied))


def house_of(library: str) -> House:
    """The rooms of a library and their imports."""
    folder, house = LIBRARIES[library], House()
    for path in sorted(folder.rglob("*.py")):
        if path.name in ("__init__.py", "__main__.py"):
            continue
        room = _room(path.relative_to(folder).with_suffix("").parts, folder)
        house.words[room] = _words(folder / room / "__init__.py")
        house.needs.setdefault(room, set()).update(_imported_rooms(path, library) - {room})
    return house


def _room(parts: tuple[str, ...], folder: Path) -> str:
    if (folder / parts[0]).is_dir():
        return parts[0]
    imports = (node for node in ast.walk(_tree(folder / f"{parts[0]}.py")) if isinstance(node, ast.ImportFrom))
    own = any(node.level == 1 and (folder / (node.module or "").split(".")[0]).is_dir() for node in imports)
    return parts[0] if own else FOUNDATION


def _imported_rooms(path: Path, library: str) -> set[str]:
    """Rooms of the same library that a file imports from, at its top or inside functions."""
    folder = LIBRARIES[library]
    inside = path.relative_to(folder).with_suffix("").parts
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = inside[: -node.level] if node.level <= len(inside) else None
            module = (node.module or "").split(".") if node.module else []
            if base is not None:
                names = (*base, *module) or tuple(alias.name for alias in node.names)
                found |= {_room(names, folder)} if _exists(names[0], folder) else set()
    return found


def _exists(name: str, folder: Path) -> bool:
    return (folder / name).is_dir() or (folder / f"{name}.py").is_file()


def _words(path: Path) -> str:
    """The first line of a room's docstring."""
    docstring = ast.get_docstring(_tree(path)) if path.is_file() else None
    return (docstring or "").partition("\n")[0]


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def drawing() -> str:
    """Both houses side by side as SVG."""
    houses = {library: house_of(library) for library in LIBRARIES}
    widths = {library: _width(house) for library, house in houses.items()}
    tallest = max(len(house.floors()) for house in houses.values())
    height = ROOF + tallest * FLOOR + GROUND
    width = sum(widths.values()) + 3 * MARGIN
    parts, left = [], MARGIN
    for library, house in houses.items():
        parts += _house(TITLES[library], house, left, widths[library], height)
        left += widths[library] + MARGIN
    ground = f'<line class="ground" x1="0" y1="{height - GROUND + 14}" x2="{width}" y2="{height - GROUND + 14}"/>'
    words = "A room rests on the rooms below it: imports point down. Doors are drawn in color."
    caption = f'<text class="small" x="{width / 2}" y="{height - 16}">{words}</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    return "\n".join([head, f"<title>{words}</title>", f"<style>{STYLE}</style>", ground, *parts, caption, "</svg>\n"])


STYLE = (
    "text{font:14px sans-serif;text-anchor:middle;fill:#22313f}.small{font-size:11px;fill:#5b6b7a}"
    ".wall{fill:#f7f3ea;stroke:#8a7a62;stroke-width:2}.roof{fill:#b5654a;stroke:#8a4a35;stroke-width:2}"
    ".room{fill:#fff;stroke:#8a7a62}.door{fill:#cfe3d4;stroke:#4e7d5c;stroke-width:2}"
    ".title{fill:#fff;font-weight:bold}.line{stroke:#a9b4bd;stroke-width:1.2;fill:none}"
    ".ground{stroke:#6d8f5a;stroke-width:6}"
)


def _width(house: House) -> int:
    most = max(len(rooms) for rooms in house.floors())
    return most * (ROOM[0] + GAP) + GAP


def _house(title: str, house: House, left: int, width: int, height: int) -> list[str]:
    """Wall, roof, lines and rooms of one house."""
    floors = house.floors()
    foot = height - GROUND + 10
    top = foot - len(floors) * FLOOR
    middle = left + width / 2
    roof = f"{left - 12},{top} {middle},{top - 74} {left + width + 12},{top}"
    places = {}
    for level, rooms in enumerate(floors):
        start = middle - (len(rooms) * (ROOM[0] + GAP) - GAP) / 2
        for index, room in enumerate(rooms):
            places[room] = (start + index * (ROOM[0] + GAP), foot - (level + 1) * FLOOR + 20)
    return [
        f'<rect class="wall" x="{left}" y="{top}" width="{width}" height="{foot - top}"/>',
        f'<polygon class="roof" points="{roof}"/>',
        f'<text class="title" x="{middle}" y="{top - 16}">{escape(title)}</text>',
        *(_line(places[room], places[other], middle) for room, other in house.lines()),
        *(_drawn(room, house.words[room], place) for room, place in places.items()),
    ]


def _line(upper: tuple[float, float], lower: tuple[float, float], middle: float) -> str:
    """A line down to the next floor, or along the wall past the floors between."""
    x1, y1, x2, y2 = upper[0] + ROOM[0] / 2, upper[1] + ROOM[1], lower[0] + ROOM[0] / 2, lower[1]
    if y2 - y1 < FLOOR:
        path = f"M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + 24:.0f} {x2:.0f},{y2 - 24:.0f} {x2:.0f},{y2:.0f}"
    else:
        side = (ROOM[0] + GAP) / 2 * (1 if x2 > middle else -1)
        wall, first, last = x2 + side, y1 + FLOOR - ROOM[1], y2 - FLOOR + ROOM[1]
        path = f"M{x1:.0f},{y1:.0f} C{x1:.0f},{y1 + 24:.0f} {wall:.0f},{first - 24:.0f} {wall:.0f},{first:.0f}"
        path += f" V{last:.0f}"
        path += f" C{wall:.0f},{last + 24:.0f} {x2:.0f},{y2 - 24:.0f} {x2:.0f},{y2:.0f}"
    return f'<path class="line" d="{path}"/>'


def _drawn(room: str, words: str, place: tuple[float, float]) -> str:
    x, y = place
    kind = "door" if any(room.endswith(door) for door in DOORS) else "room"
    return (
        f"<g><title>{escape(words or room)}</title>"
        f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{ROOM[0]}" height="{ROOM[1]}" rx="4"/>'
        f'<text x="{x + ROOM[0] / 2:.0f}" y="{y + 25:.0f}">{escape(room)}</text></g>'
    )


def main() -> int:
    """Draw or check the picture."""
    text = drawing()
    fresh = PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == text
    if "--check" in sys.argv[1:]:
        return int(not fresh)
    PICTURE.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
