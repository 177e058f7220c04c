"""The legend below a picture: what its colours measure and, on request, what its shapes and arrows mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from . import style
from .color_scale import ColorScale
from .paths import straight
from .picture import Edge, Node, Picture

ROW, GAP, ARROW = 44.0, 14.0, 40.0
LEAST_WIDTH = 420.0  # of a row, before the next is begun


def add(picture: Picture, scale: ColorScale | None, words: bool, lines: bool = False) -> Picture:
    """Put a legend into the picture: the scale's swatches; with `words`, a sample of each shape and arrow that occurs.

    lines: the scale is that of arrows, and its samples are arrows. In a picture with places the legend stands below;
    else it is one node, a table, for the program to place.
    """
    groups = [list(_line_samples(scale) if lines else _swatches(scale))] if scale is not None else []
    groups += [list(_samples(picture, scale is not None)), list(_arrows(picture))] if words else []
    groups = [group for group in groups if group]
    if not groups:
        return picture
    if picture.placed:
        return _below(picture, groups)
    rows = tuple(_row(node, arrow) for group in groups for node, arrow in group)
    table = Node("legend", tuple(row[2] for row in rows), "text", table=rows)
    return replace(picture, nodes=[*picture.nodes, table])


def _row(node: Node, arrow: Edge | None) -> tuple[str, str, str]:
    """A line of the table: what stands before the text, its colour, the text."""
    if arrow is not None:
        colour, _, line = style.EDGES[arrow.role]
        return ("━━▶" if line == "solid" else "╌╌▶"), colour, node.lines[0]
    fill = node.fill or style.ROLES[node.role].fill
    return "", "" if node.role == "text" else fill, node.lines[0]


Entry = tuple[Node, Edge | None]  # a sample; or a text, and the arrow that leads to it


def _swatches(scale: ColorScale) -> Iterator[Entry]:
    yield Node("legend", (scale.title,), "text"), None
    for i, (text, fill) in enumerate(scale.swatches()):
        yield Node(f"legend{i}", (text,), "swatch", size=(52.0, 24.0), fill=fill), None


def _line_samples(scale: ColorScale) -> Iterator[Entry]:
    yield Node("legend", (scale.title,), "text"), None
    for i, number in enumerate(scale.numbers()):
        node = Node(f"legend{i}", (scale.text(number),), "text", size=(style.text_width(scale.text(number)) + 14, 24.0))
        yield node, Edge(f"legend{i} from", node.id, look=scale.line(number))


def _samples(picture: Picture, shaded: bool) -> Iterator[Entry]:
    """A node of each role; without the colour that shades stand instead of."""
    used = {node.role for node in picture.nodes}
    for role, meaning in style.MEANINGS.items():
        if role in used:
            shape = style.ROLES[role].shape
            fill = "#FFFFFF" if shaded and any(n.fill for n in picture.nodes if n.role == role) else None
            size = style.fitting_size((meaning,), shape)
            yield Node(f"legend {role}", (meaning,), role, size=size, fill=fill), None


def _arrows(picture: Picture) -> Iterator[Entry]:
    used = {edge.role for edge in picture.edges}
    for role, meaning in style.ARROW_MEANINGS.items():
        if role in used:
            size = style.text_width(meaning) + 6, 24.0
            yield (
                Node(f"legend to {role}", (meaning,), "text", size=size),
                Edge(f"legend {role} from", f"legend to {role}", role),
            )


def _below(picture: Picture, groups: list[list[Entry]]) -> Picture:
    """Rows below all that is there, no wider than it."""
    left, bottom, right = _extent(picture)
    wide = max(right - left, LEAST_WIDTH, *(_width(group) for group in groups[:1]))
    if picture.direction != "LR":  # a picture that is narrower than its legend stands above the middle of it
        left = (left + right - wide) / 2
    right = left + wide
    y = bottom + 6
    nodes, edges = list(picture.nodes), list(picture.edges)
    for group in groups:
        x, y = left, y - ROW
        for node, arrow in group:
            wide, tall = node.extent
            lead = ARROW if arrow is not None else 0.0
            if x > left and x + lead + wide > right + 1e-6:
                x, y = left, y - ROW
            if arrow is not None:
                nodes.append(Node(arrow.tail, ("",), "text", at=(x + 2, y), size=(4.0, 4.0)))
                edges.append(replace(arrow, path=straight((x + 4, y), (x + lead, y))))
            x += lead
            nodes.append(replace(node, at=(x + wide / 2, y), size=(wide, tall)))
            x += wide + _gap(node)
    return replace(picture, nodes=nodes, edges=edges)


def _gap(node: Node) -> float:
    return 2.0 if node.role == "swatch" else GAP


def _width(group: list[Entry]) -> float:
    """Of a row that is not broken."""
    return sum(node.extent[0] + _gap(node) + (ARROW if arrow is not None else 0.0) for node, arrow in group)


def _extent(picture: Picture) -> tuple[float, float, float]:
    """Left, bottom and right of what has places; from the frames on, if there are any."""
    spans = [(x - w / 2, y - h / 2, x + w / 2) for (x, y), (w, h) in ((n.at, n.extent) for n in picture.nodes if n.at)]
    frames = [box.corners for box in picture.boxes if box.corners]
    points = [point for edge in picture.edges for point in edge.path]
    left = min([f[0] for f in frames] or [s[0] for s in spans], default=0.0)
    bottom = min([s[1] for s in spans] + [f[1] for f in frames] + [p[1] for p in points], default=0.0)
    return left, bottom, max([s[2] for s in spans] + [f[2] for f in frames], default=0.0)
