"""A picture as the data of a page: plain lists of numbers and strings, each string stored once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...scene import style
from ...scene.picture import Edge, Node, Picture
from .values import Details, Rows

DARK_EDGES = {"data": "#BBBBBB", "state": "#2FC79B", "memory": "#56B4E9", "weight": "#E69F00", "constant": "#888888"}


class Strings:
    """Every string once, by its number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


def page_data(picture: Picture, details: Details | None = None) -> dict[str, Any]:
    """The data of a picture's page; `details` adds what is known of each node of the graph that it shows."""
    strings = Strings()
    legends = [node for node in picture.nodes if node.table]  # tables for the program to place: beside the page's own
    picture = replace(picture, nodes=[node for node in picture.nodes if not node.table])
    boxes = {box.id: i for i, box in enumerate(picture.boxes)}
    nodes = {node.id: i for i, node in enumerate(picture.nodes)}
    titles = {box.step: box.time for box in picture.boxes if box.step is not None}
    steps = {step: i for i, step in enumerate(sorted(titles))}
    known = {*style.MEANINGS.values(), *style.ARROW_MEANINGS.values()}
    rows = [_rows(node, details) for node in picture.nodes]
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
                boxes.get(box.parent or "", -1),
                strings(box.role),
                -1 if box.step is None else steps[box.step],
                _numbers(box.corners),
                _numbers(box.label_at),
            ]
            for box in picture.boxes
        ],
        "nodes": [
            _node(node, boxes.get(node.box or "", -1), strings, row)
            for node, row in zip(picture.nodes, rows, strict=True)
        ],
        "edges": [_edge(edge, nodes, strings) for edge in picture.edges],
        "steps": [titles[step] for step in steps],
        "states": [
            [steps[state.step], strings(state.name), nodes[f"n{state.value.id}"], state.norm, state.gradient]
            for state in (details.states if details is not None else ())
        ],
        "strings": list(strings.numbers),
    }


def _node(node: Node, box: int, strings: Strings, rows: Rows) -> list[Any]:
    return [
        [strings(line) for line in node.lines],
        strings(node.role),
        box,
        _numbers(node.extent),
        int(node.strong),
        0 if node.fill is None else node.fill,
        _numbers(node.at),
        [strings(part) for row in rows for part in row],
    ]


def _edge(edge: Edge, nodes: dict[str, int], strings: Strings) -> list[Any]:
    """An edge; label, path, the label's place and a look of its own only where there are any."""
    fields: list[Any] = [nodes[edge.tail], nodes[edge.head], strings(edge.role)]
    if edge.label or edge.path or edge.look:
        path = [n for point in edge.path for n in _numbers(point)]
        fields += [strings(edge.label), path, _numbers(edge.label_at), list(edge.look) if edge.look else 0]
    return fields


def _rows(node: Node, details: Details | None) -> Rows:
    """What the page tells of a node: pairs of a word and a text."""
    if details is not None and node.value is not None:
        return details.rows[node.value.id]
    return [("", part) for part in node.tip.split("; ")] if node.tip else []


def _numbers(values: Any) -> Any:
    """Numbers of a place, short: a tenth of a point is less than anyone sees."""
    return 0 if values is None else [round(float(v), 1) for v in values]
