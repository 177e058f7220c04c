"""A picture as the data of a page: plain lists of numbers and strings, each string stored once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...scene import style
from ...scene.picture import Box, Edge, Node, Picture
from .values import Found, Rows

DARK_EDGES = {"data": "#BBBBBB", "state": "#2FC79B", "memory": "#56B4E9", "weight": "#E69F00", "constant": "#888888"}


class Strings:
    """Every string once, by its number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


def page_data(picture: Picture, found: Found | None = None) -> dict[str, Any]:
    """The data of a picture's page; `found` adds what is known of each node of the graph that it shows."""
    strings = Strings()
    legends = [node for node in picture.nodes if node.table]  # tables for the program to place: beside the page's own
    picture = replace(picture, nodes=[node for node in picture.nodes if not node.table])
    homes = _homes(picture)
    boxes = {box.id: i for i, box in enumerate(picture.boxes)}
    nodes = {node.id: i for i, node in enumerate(picture.nodes)}
    steps = _steps(picture.boxes)
    known = {*style.MEANINGS.values(), *style.ARROW_MEANINGS.values()}
    rows = [_rows(node, found) for node in picture.nodes]
    return {
        "name": picture.name,
        "placed": picture.placed,
        "paper": any(edge.look for edge in picture.edges),  # its colours were chosen for white
        "roles": {
            role: [look.fill, look.line, look.shape, int("dashed" in look.style), int("rounded" in look.style)]
            for role, look in style.ROLES.items()
        },
        "scale": [[colour, text] for node in legends for _, colour, text in node.table if text not in known],
        "meanings": style.MEANINGS,
        "arrows": style.ARROW_MEANINGS,
        "looks": {
            role: [look[0], DARK_EDGES[role], look[1], int(look[2] != "solid")] for role, look in style.EDGES.items()
        },
        "boxes": [
            [
                strings(box.label),
                boxes.get(_outer(box, picture), -1),
                strings(box.role),
                steps.get(box.id, -1),
                _numbers(box.corners),
                _numbers(box.label_at),
            ]
            for box in picture.boxes
        ],
        "nodes": [
            _node(node, boxes.get(homes[node.id], -1), strings, row)
            for node, row in zip(picture.nodes, rows, strict=True)
        ],
        "edges": [_edge(edge, nodes, strings) for edge in picture.edges],
        "steps": list(
            dict.fromkeys(
                box.time for box in sorted(picture.boxes, key=lambda b: steps.get(b.id, -1)) if box.id in steps
            )
        ),
        "states": _states(picture, nodes, strings, found),
        "strings": list(strings.numbers),
    }


def _node(node: Node, box: int, strings: Strings, rows: Rows) -> list[Any]:
    size = node.size or style.fitting_size(node.lines, style.ROLES[node.role].shape)
    return [
        [strings(line) for line in node.lines],
        strings(node.role),
        box,
        _numbers(size),
        int(node.strong),
        0 if node.fill is None else node.fill,
        _numbers(node.at),
        [strings(part) for row in rows for part in row],
    ]


def _edge(edge: Edge, nodes: dict[str, int], strings: Strings) -> list[Any]:
    """An edge; label, path, the label's place and a look of its own only where there are any."""
    found: list[Any] = [nodes[edge.tail], nodes[edge.head], strings(edge.role)]
    if edge.label or edge.path or edge.look:
        path = [n for point in edge.path for n in _numbers(point)]
        found += [strings(edge.label), path, _numbers(edge.label_at), list(edge.look) if edge.look else 0]
    return found


def _rows(node: Node, found: Found | None) -> Rows:
    """What the page tells of a node: pairs of a word and a text."""
    if found is not None and node.id in found.rows:
        return found.rows[node.id]
    return [("", part) for part in node.tip.split("; ")] if node.tip else []


def _numbers(values: Any) -> Any:
    """Numbers of a place, short: a tenth of a point is less than anyone sees."""
    return 0 if values is None else [round(float(v), 1) for v in values]


def _steps(boxes: list[Box]) -> dict[str, int]:
    """The number of the time step that each box is, in order of time; boxes of several rows may share one."""
    titles = {box.id: box.time for box in boxes if box.time}
    order = list(dict.fromkeys(titles.values()))
    if all(title.isdecimal() for title in order):
        order.sort(key=int)
    numbers = {title: i for i, title in enumerate(order)}
    return {id: numbers[title] for id, title in titles.items()}


def _homes(picture: Picture) -> dict[str, str]:
    """The box in which each node stands: where a picture with places does not say, the smallest frame around it."""
    homes = {node.id: node.box or "" for node in picture.nodes}
    for node in picture.nodes if picture.placed else ():
        if not node.box and node.at and node.size:
            (x, y), (wide, tall) = node.at, node.size
            sides = (x - wide / 2, y - tall / 2, x + wide / 2, y + tall / 2)
            around = [(_area(box), box.id) for box in picture.boxes if box.corners and _holds(box.corners, sides)]
            homes[node.id] = min(around)[1] if around else ""
    return homes


def _outer(box: Box, picture: Picture) -> str:
    """The box around a box, found like the box around a node."""
    if box.parent or not picture.placed or not box.corners:
        return box.parent or ""
    around = [(_area(b), b.id) for b in picture.boxes if b is not box and b.corners and _holds(b.corners, box.corners)]
    return min(around)[1] if around else ""


def _holds(outer: tuple[float, ...], inner: tuple[float, ...]) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and outer[2] >= inner[2] and outer[3] >= inner[3]


def _area(box: Box) -> float:
    left, bottom, right, top = box.corners or (0.0, 0.0, 0.0, 0.0)
    return (right - left) * (top - bottom)


def _states(picture: Picture, nodes: dict[str, int], strings: Strings, found: Found | None) -> list[list[Any]]:
    """For every step the nodes whose results go on to another: [step, name, node, norm of value, norm of gradient].

    The last step hands nothing on; there the nodes in the same place as in the step before are taken.
    """
    boxes = {box.id: box for box in picture.boxes}
    steps = _steps(picture.boxes)
    of_node: dict[str, tuple[str, tuple[str, ...]]] = {}  # a node's id -> its step's box, and where it is in there
    for node in picture.nodes:
        inside: list[str] = []
        box = boxes.get(node.box or "")
        while box is not None and box.id not in steps:
            inside.append(box.label)
            box = boxes.get(box.parent or "")
        if box is not None:
            of_node[node.id] = box.id, (str(box.parent), *inside, *node.lines[:1])
    kinds = {of_node[e.tail][1] for e in picture.edges if e.role in ("state", "memory") and e.tail in of_node}
    handed = {e.tail for e in picture.edges if e.role in ("state", "memory")}
    last: dict[tuple[str, tuple[str, ...]], str] = {}
    for node in picture.nodes:
        if node.id in of_node and of_node[node.id][1] in kinds:
            key = of_node[node.id]
            if key not in last or node.id in handed or last[key] not in handed:
                last[key] = node.id
    suffixes = _telling(picture, {box.parent or "" for box in picture.boxes if box.id in steps})
    result = []
    for (box_id, path_of), id in last.items():
        name = path_of[1] if len(path_of) > 2 and len(path_of[1]) == 1 else "h"
        norms = found.norms.get(id, (None, None)) if found is not None else (None, None)
        result.append([steps[box_id], strings(name + suffixes.get(boxes[box_id].parent or "", "")), nodes[id], *norms])
    return sorted(result, key=lambda row: (row[0], row[2]))


def _telling(picture: Picture, rows: set[str]) -> dict[str, str]:
    """What tells several rows of steps apart: the first scope in which their paths differ. Empty for one row."""
    boxes = {box.id: box for box in picture.boxes}
    paths: dict[str, list[str]] = {}
    for row in rows:
        box = boxes.get(row)
        path: list[str] = []
        while box is not None:
            path.insert(0, box.label)
            box = boxes.get(box.parent or "")
        paths[row] = path
    if len(rows) < 2:
        return {}
    same = 0
    while len({tuple(path[: same + 1]) for path in paths.values()}) == 1:
        same += 1
    return {row: f" in {path[same]}" for row, path in paths.items() if len(path) > same}
