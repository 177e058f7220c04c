"""A picture drawn by hand: nodes where one says, wires with right angles and round corners between them."""

from __future__ import annotations

from . import style
from .paths import rounded
from .picture import Box, Corners, Edge, Node, Picture, Point


class ManualLayout:
    """Collects nodes by key, and wires that leave and enter at the side that faces the next corner."""

    def __init__(self, name: str):
        self.name = name
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self.boxes: list[Box] = []

    def picture(self) -> Picture:
        """All that was drawn."""
        return Picture(self.name, "LR", tuple(self.nodes.values()), tuple(self.edges), tuple(self.boxes), placed=True)

    def put(
        self,
        key: str,
        lines: str | tuple[str, ...],
        role: str,
        x: float,
        y: float,
        size: Point | None = None,
        tip: str = "",
        box: str | None = None,
    ) -> None:
        """Put a node's middle at x, y; box: the key of the frame that it stands in."""
        text = (lines,) if isinstance(lines, str) else lines
        fits = size or style.fitting_size(text, style.ROLES[role].shape)
        self.nodes[key] = Node(key, text, role, box, at=(x, y), size=fits, tip=tip)

    def frame(
        self,
        key: str,
        title: str,
        corners: Corners,
        role: str = "gate",
        parent: str | None = None,
        title_at: Point | None = None,
    ) -> None:
        """A titled frame, in another one or by itself; a later one lies on an earlier one."""
        self.boxes.append(Box(key, title, role, parent, corners, title_at))

    def wire(self, tail: str, head: str, *via: Point, role: str = "data", label: str = "") -> None:
        """An arrow along the corners `via`."""
        a, b = self.nodes[tail], self.nodes[head]
        first = via[0] if via else _facing(b, a)
        last = via[-1] if via else _facing(a, b)
        begin, end = _border(a, first), _border(b, last)
        path = rounded((begin, *via, end))
        at = ((path[0][0] + path[3][0]) / 2, (path[0][1] + path[3][1]) / 2 + 8) if label else None
        self.edges.append(Edge(tail, head, role, label, path, at))


def _sides(node: Node) -> tuple[float, float, float, float]:
    assert node.at is not None
    assert node.size is not None
    (x, y), (w, h) = node.at, node.size
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _facing(node: Node, other: Node) -> Point:
    """Where on a node to aim from another: straight up or across if they overlap that way, else its middle."""
    left, bottom, right, top = _sides(node)
    (x, y), mine = other.at or (0.0, 0.0), node.at or (0.0, 0.0)
    if left <= x <= right:
        return x, mine[1]
    return (mine[0], y) if bottom <= y <= top else mine


def _border(node: Node, to: Point) -> Point:
    """Where a line from a node towards a point leaves it."""
    left, bottom, right, top = _sides(node)
    x, y = node.at or (0.0, 0.0)
    if left <= to[0] <= right:
        if style.ROLES[node.role].shape in ("ellipse", "circle"):
            half = (1 - min(1.0, abs(to[0] - x) / (right - x)) ** 2) ** 0.5 * (top - y)
            return to[0], y + half if to[1] > y else y - half
        return to[0], top if to[1] > y else bottom
    if bottom <= to[1] <= top:
        return (right if to[0] > x else left), to[1]
    steep = abs(to[1] - y) * (right - x) > abs(to[0] - x) * (top - y)
    part = (top - y) / abs(to[1] - y) if steep else (right - x) / abs(to[0] - x)
    return x + (to[0] - x) * part, y + (to[1] - y) * part
