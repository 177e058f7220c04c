"""Nodes of an unrolled net, and the paths of the arrows between them."""

from __future__ import annotations

from typing import Any

from ..net.layers import Step
from ..net.ranks import Origin
from . import style
from .grid import CELL, Grid
from .paths import CLEAR, rounded, straight, upwards
from .picture import Box, Carried, Edge, Node, Picture, Point


def cell_id(step: Step) -> str:
    """The id of the node of a layer's step."""
    return f"l{step[0]}t{step[1]}"


class Canvas:
    """The nodes, arrows and boxes of a net's picture: nodes at their places, arrows on paths past them."""

    def __init__(self, name: str, grid: Grid):
        self.grid = grid
        self.name = name
        self.edges: list[Edge] = []
        self.boxes: list[Box] = []
        self.drawn: dict[str, Node] = {}  # by their ids
        self.lanes: dict[int, list[tuple[str, float, Point]]] = {}  # by column: where arrows run beside the cells
        self.rails: dict[tuple[str, ...], int] = {}  # arrows that join beside the groups, by where they come from
        self.lines: dict[tuple[Any, ...], int] = {}  # arrows that join between ranks

    def picture(self) -> Picture:
        """The picture with everything added so far."""
        return Picture(self.name, "LR", tuple(self.drawn.values()), tuple(self.edges), tuple(self.boxes), placed=True)

    def node(
        self,
        id: str,
        lines: tuple[str, ...],
        role: str,
        at: Point,
        size: Point | None = None,
        box: str | None = None,
        **fields: Any,
    ) -> Node:
        """Add a node; fields: what it stands for in the net."""
        size = size or style.fitting_size(lines, style.ROLES[role].shape)
        node = Node(id, lines, role, box=box, at=at, size=size, **fields)
        self.drawn[id] = node
        return node

    def arrow(
        self,
        tail: str,
        head: str,
        role: str,
        path: tuple[Point, ...],
        label: str = "",
        label_at: Point | None = None,
        state: Carried | None = None,
    ) -> None:
        """Add an arrow: straight through two points, or along a curve. label_at: the label's middle, if not beside it."""
        path = path if len(path) > 2 else straight(path[0], path[1])
        (x0, y0), (x1, y1) = path[0], path[-1]
        upright, half = abs(y1 - y0) > abs(x1 - x0), style.text_width(label, style.SMALL) / 2
        bend = path[3][0] - x0 if upright and len(path) > 4 else 0.0  # the text stands on the other side
        middle = (
            (x0 - half - 5 if bend > 0 else x0 + half + 5, y0 + 18) if upright else ((x0 + x1) / 2, (y0 + y1) / 2 + 8)
        )
        if role != "data" and abs(y1 - y0) > 20:  # a state that climbs: on its upper side
            middle = ((x0 + x1) / 2 - half - 9, (y0 + y1) / 2 + 4)
        at = (label_at or middle) if label else None
        if at is not None and any(
            edge.tail == tail and edge.label == label and edge.label_at and _near(edge.label_at, at)
            for edge in self.edges
        ):
            label, at = "", None  # the same label is there already
        self.edges.append(Edge(tail, head, role, label, path, at, state=state))

    def arrow_up(self, tail: str, head: str, column: int, label: str = "", further: float = 0.0) -> None:
        """An arrow upwards from one node to another, past what stands between them in the column. further: how far from
        the free lanes beside the cells."""
        low, high = self.drawn[tail], self.drawn[head]
        ((x0, y0), (_, h0)), ((x1, y1), (_, h1)) = place_and_size(low), place_and_size(high)
        begin, end, reach = (x0, y0 + h0 / 2), (x1, y1 - h1 / 2), _reach(high)
        wide = place_and_size(low)[1][0] / 2
        if low.role == "group" and abs(x1 - x0) > wide:  # it stands over other columns: out of its side
            side = 1.0 if x1 > x0 else -1.0
            into = x1 - side * min(14.0, reach)
            corners = ((x0 + side * wide, y0), (into, y0), (into, y1 - h1 / 2))
            self.arrow(tail, head, "data", rounded(corners), label)
            return
        if low.role == "group":  # its edge is long: right below the other end
            begin = (x1, begin[1])
        elif high.role == "group":
            end = (min(max(x0, x1 - reach), x1 + reach), end[1])
            reach -= abs(end[0] - x1)
        blocked, x, half = self.blocked(column, y0, y1), self.grid.x(column), self.grid.lane_beside() + further
        left, right = (self.free_lane(tail, column, x + side * half, (y0, y1)) for side in (-1, 1))
        # a group is met on the right, not through the frame's title
        lanes: tuple[float, ...] = (right,) if high.role == "group" else (left, right)
        if all(any(a - CLEAR < at < b + CLEAR for a, b in blocked) for at in (begin[0], end[0], *lanes)):
            lanes = tuple(at for a, b in blocked for at in (a - CLEAR, b + CLEAR))
        path = upwards(begin, _reach(low), end, reach, blocked, lanes)
        for lane in lanes:
            if any(point[0] == lane for point in path[1:-1]):
                self.lanes.setdefault(column, []).append((tail, lane, (y0, y1)))
        self.arrow(tail, head, "data", path, label)

    def free_lane(self, tail: str, column: int, lane: float, heights: Point) -> float:
        """A lane beside the cells of a column, or the next one further out where arrows from other nodes run in it."""
        side, (low, high) = 1.0 if lane > self.grid.x(column) else -1.0, heights
        used = [(at, b, t) for other, at, (b, t) in self.lanes.get(column, ()) if other != tail]
        while any(abs(at - lane) < CLEAR and bottom < high and low < top for at, bottom, top in used):
            lane += side * (CLEAR + 1)
        return lane

    def blocked(self, column: int, low: float, high: float) -> list[Point]:
        """The spans of x that nodes cover in a column between two heights."""
        spans = []
        for number, layer in enumerate(self.grid.layers):
            for id in (cell_id((number, t)) for t in layer.steps if layer.column(t) == column):
                if id in self.drawn and low < place_and_size(self.drawn[id])[0][1] < high:
                    x, half = place_and_size(self.drawn[id])[0][0], self.grid.size(layer)[0] / 2
                    spans += [(x - half, x + half), *self.grid.delays(number)]
        for node in self.drawn.values():
            if (
                node.role == "op" and node.step == column and low < place_and_size(node)[0][1] < high
            ):  # where results are joined
                (x, _), (wide, _) = place_and_size(node)
                spans.append((x - wide / 2, x + wide / 2))
        return spans

    def groups_between(self, begin: Point, head: str) -> bool:
        """Whether a group stands in the way straight up from a point to the height of another."""
        (_, top), _ = place_and_size(self.drawn[head])
        groups = [place_and_size(node) for node in self.drawn.values() if node.role == "group"]
        return any(begin[1] < y < top and abs(x - begin[0]) < w / 2 + CLEAR for (x, y), (w, _) in groups)

    def arrow_around(self, sources: tuple[str, ...], tail: str, head: str, column: int | None) -> None:
        """An arrow to a group past the groups below it: those of the same sources join beside them."""
        number = self.rails.setdefault(sources, len(self.rails))
        side, further = (-1.0, 1.0)[number % 2], 12.0 * (number // 2)
        groups = [place_and_size(node) for node in self.drawn.values() if node.role == "group"]
        rail = side * (max(side * x + w / 2 for (x, _), (w, _) in groups) + 18 + further)
        ((x0, y0), (w0, h0)), ((x1, y1), (w1, _)) = place_and_size(self.drawn[tail]), place_and_size(self.drawn[head])
        into = y1 + 6 * (number // 2)
        if column is None:
            path: tuple[Point, ...] = ((x0 + side * w0 / 2, y0), (rail, y0), (rail, into), (x1 + side * w1 / 2, into))
        else:
            shift, up = 28 + 5 * (number % 3), y0 + h0 / 2
            turn = self.grid.top + 8 + 7 * (number % 3)
            if y1 < self.grid.top:  # within the frames: below the first group in the way
                turn = min(y - h / 2 for (_, y), (_, h) in groups if y > y0) - 9 - 7 * (number % 3)
            blocked, middle, beside = (
                self.blocked(column, y0, turn),
                self.grid.x(column),
                self.grid.lane_beside(),
            )
            lanes = (x0 + shift, x0 - shift, middle + beside, middle - beside)
            out = next((x for x in lanes if all(x <= a - CLEAR or x >= b + CLEAR for a, b in blocked)), lanes[0])
            begin = min(max(out, x0 - shift), x0 + shift)
            jog = ((begin, up + 14), (out, up + 14)) if begin != out else ()
            path = ((begin, up), *jog, (out, turn), (rail, turn), (rail, into), (x1 + side * w1 / 2, into))
        self.arrow(tail, head, "data", rounded(path))

    def arrows_across(self, step: Step, origins: list[Origin]) -> None:
        """Arrows into a step from steps in other columns, a rank below: they join on their way, and pass through the gap."""
        rank, id = self.grid.layers[step[0]].rank, cell_id(step)
        number = self.lines.setdefault((rank, *origins), sum(key[0] == rank for key in self.lines))
        turn = self.grid.height[rank - 1] + CELL[1] / 2 + 32 + 7 * (number % 3)  # above the labels of arrows that rise
        shift = CELL[0] / 4 - 6 * (number % 3)
        (x1, y1), gap = self.grid.place(step), self.grid.gap()
        end = ((x1 - shift, turn), (x1 - shift, y1 - self.grid.size(self.grid.layers[step[0]])[1] / 2))
        hidden = False
        for tail in ((o.layer, o.t or 0) for o in origins):
            past = gap is not None and not self.grid.is_shown(tail)
            if self.grid.is_shown(tail):
                x0, y0 = self.grid.place(tail)
                up = y0 + self.grid.size(self.grid.layers[tail[0]])[1] / 2
                begin: tuple[Point, ...] = ((x0 + shift, up), (x0 + shift, turn))
                if self.blocked(self.grid.column(tail), y0, turn):
                    lane = x0 + self.grid.lane_beside()
                    begin = ((x0 + shift, up), (x0 + shift, up + 14), (lane, up + 14), (lane, turn))
                past = gap is not None and (x0 < gap) != (x1 < gap)
                edge = gap - 24 if gap is not None and x0 < gap else (gap or 0) + 24
                path = rounded((*begin, (edge, turn)) if past else (*begin, *end))
                self.arrow(cell_id(tail), "more" if past else id, "data", path)
            hidden = hidden or past
        if hidden and gap is not None:
            self.arrow("more", id, "data", rounded(((gap + 24 if x1 > gap else gap - 24, turn), *end)))


def _near(a: Point, b: Point) -> bool:
    """Whether two short texts would lie on each other."""
    return abs(a[0] - b[0]) < 24 and abs(a[1] - b[1]) < 10


def place_and_size(node: Node) -> tuple[Point, Point]:
    """The middle of a node, and its size."""
    assert node.at
    assert node.size
    return node.at, node.size


def _reach(node: Node) -> float:
    """How far from its middle a node's upper or lower edge may be met."""
    wide = (node.size or (0.0, 0.0))[0]
    return 0.0 if style.ROLES[node.role].shape == "ellipse" else wide / 2 - 12
