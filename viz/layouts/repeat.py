"""Fast places for long graphs: time is a row of steps, so one step is laid out by the program and its places repeated.

Steps of the same build stand in a row. What stands outside time is laid out at the row's left (before it) or right (after
the last one). Its arrows run along lanes below and above the row; states run from step to step between the frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..scene.paths import rounded
from ..scene.picture import Box, Edge, Node, Picture, Point
from ..scene.style import ROLES
from .graphviz import Layout, Link, lay_out

GAP, LANE, TRACK, MARGIN = 58.0, 9.0, 6.0, 60.0


def repeat(picture: Picture, **options: Any) -> Picture:
    """The picture with places. options: program and timeout."""
    return Repeat(picture, **options).placed()


@dataclass
class Step:
    """The nodes of one step, and the ports through which arrows come and go."""

    box: Box
    nodes: list[Node] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    inner: list[Link] = field(default_factory=list)
    enters: dict[str, str] = field(default_factory=dict)  # an outer source -> its port
    leaves: dict[str, str] = field(default_factory=dict)  # an inner node -> its port
    into: list[Link] = field(default_factory=list)  # outer source, inner node
    layout: Layout = field(default_factory=Layout)
    at: Point = (0.0, 0.0)


@dataclass
class Row:
    """Steps in order of time."""

    steps: list[Step]
    bottom: float = 0.0
    below: dict[str, float] = field(default_factory=dict)  # what comes from outside: its lane's height
    above: dict[str, float] = field(default_factory=dict)  # what is read outside, by the reader
    right: float = 0.0


class Repeat:
    """Places a picture with many time steps. Steps are known by their boxes."""

    def __init__(self, picture: Picture, **options: Any):
        self.picture, self.options = picture, options
        self.steps: dict[str, Step] = {}
        self.owner: dict[str, str] = {}  # a node's id -> the box of its step
        self.node = {node.id: node for node in picture.nodes}
        self._collect()
        self.rows = self._rows()
        self.row_of = {step.box.id: r for r, row in enumerate(self.rows) for step in row.steps}
        self.edges: dict[int, tuple[Point, ...]] = {}
        self.where: dict[str, Point] = {}
        self.frames: dict[str, list[tuple[float, float, float, float]]] = {}
        self.links: dict[Link, tuple[Point, ...]] = {}

    def placed(self) -> Picture:
        """The same picture with places."""
        self._ports()
        self._lay_out_steps()
        y = 0.0
        outside = self._segments()
        for r, row in enumerate(self.rows):
            y = self._place_row(r, row, outside, y)
        self._place_segment(outside[len(self.rows)])
        self.left = min((self.where[id][0] - self.node[id].extent[0] / 2 for id in self.segment), default=0.0)
        for k, edge in enumerate(self.picture.edges):
            self._draw(k, edge)
        return self._result()

    # -- structure ---------------------------------------------------------------------------------------------------

    def _collect(self) -> None:
        home: dict[str, str | None] = {}
        for box in self.picture.boxes:
            inside = home.get(box.parent or "")
            if inside is None and box.step is not None:
                self.steps[box.id] = Step(box)
                inside = box.id
            home[box.id] = inside
            if inside is not None:
                self.steps[inside].boxes.append(box)
        for node in self.picture.nodes:
            step = home.get(node.box or "")
            if step is not None:
                self.owner[node.id] = step
                self.steps[step].nodes.append(node)

    def _rows(self) -> list[Row]:
        by_parent: dict[str | None, list[Step]] = {}
        for step in self.steps.values():
            by_parent.setdefault(step.box.parent, []).append(step)
        rows = [Row(sorted(steps, key=lambda s: s.box.step or 0)) for steps in by_parent.values()]
        return sorted(rows, key=lambda row: min(int(n.id[1:]) for s in row.steps for n in s.nodes))

    def _ports(self) -> None:
        for edge in self.picture.edges:
            tail, head = self.owner.get(edge.tail), self.owner.get(edge.head)
            if tail == head:
                if tail is not None:
                    self.steps[tail].inner.append((edge.tail, edge.head))
                continue
            if head is not None:
                step = self.steps[head]
                step.enters.setdefault(edge.tail, f"i{len(step.enters)}")
                step.into.append((edge.tail, edge.head))
            if tail is not None:
                self.steps[tail].leaves.setdefault(edge.tail, f"o{len(self.steps[tail].leaves)}")

    def _lay_out_steps(self) -> None:
        """One layout for all steps of the same build: their nodes' ids are numbered within the step."""
        known: dict[Any, Layout] = {}
        for step in self.steps.values():
            names = {node.id: f"n{i}" for i, node in enumerate(step.nodes)}
            boxes = {box.id: f"b{i}" for i, box in enumerate(step.boxes)}
            first = sorted(step.enters, key=lambda s: (s not in self.owner, step.enters[s]))  # states to the left
            ports = {source: f"i{k}" for k, source in enumerate(first)}
            nodes = [Node(names[n.id], n.lines, n.role, boxes[n.box or ""], size=n.size) for n in step.nodes]
            inner = [
                Box(boxes[b.id], b.label if i else "step", b.role, boxes.get(b.parent or ""))
                for i, b in enumerate(step.boxes)
            ]
            links = [(names[a], names[b]) for a, b in step.inner]
            links += [(ports[s], names[h]) for s, h in step.into] + [(names[n], o) for n, o in step.leaves.items()]
            ends = list(step.leaves.values())
            looks = tuple((n.extent, ROLES[n.role].shape, n.box) for n in nodes)
            shapes = looks, tuple((b.label, b.parent) for b in inner)
            build = (*shapes, tuple(links), len(first))
            if build not in known:
                known[build] = lay_out(
                    nodes, inner, list(dict.fromkeys(links)), "BT", list(ports.values()), ends, **self.options
                )
            layout = known[build]
            back = {**{v: k for k, v in names.items()}, **{p: f"i {s}" for s, p in ports.items()}}
            back |= {o: f"o {n}" for n, o in step.leaves.items()}
            step.layout = Layout(
                layout.size,
                {back[n]: p for n, p in layout.nodes.items() if n in back},
                {b.id: layout.boxes[boxes[b.id]] for b in step.boxes if boxes[b.id] in layout.boxes},
                {(back[a], back[b]): p for (a, b), p in layout.links.items()},
                titles={b.id: layout.titles[boxes[b.id]] for b in step.boxes if boxes[b.id] in layout.titles},
            )

    def _segments(self) -> list[list[Node]]:
        """The nodes outside time, by the row they stand before: after all that they read, close before who reads them."""
        after: dict[str, int] = {}
        readers: dict[str, int] = {}
        incoming: dict[str, list[str]] = {}
        for edge in self.picture.edges:
            incoming.setdefault(edge.head, []).append(edge.tail)
        for node in self.picture.nodes:  # sources come first
            reached = [after[t] if t in after else self.row_of[self.owner[t]] + 1 for t in incoming.get(node.id, ())]
            if node.id not in self.owner:
                after[node.id] = max(reached, default=0)
        last = len(self.rows)
        for edge in reversed(self.picture.edges):
            if edge.tail in after:
                use = self.row_of[self.owner[edge.head]] if edge.head in self.owner else readers.get(edge.head, last)
                readers[edge.tail] = min(use, readers.get(edge.tail, last))
        segments: list[list[Node]] = [[] for _ in range(last + 1)]
        self.segment: dict[str, int] = {}
        for node in self.picture.nodes:
            if node.id in after:
                self.segment[node.id] = readers.get(node.id, last)
                segments[self.segment[node.id]].append(node)
        return segments

    # -- places ------------------------------------------------------------------------------------------------------

    def _place_row(self, r: int, row: Row, outside: list[list[Node]], y: float) -> float:
        """Steps from left to right, with lanes below and above; returns the height at which the next row may begin."""
        inside = {step.box.id for step in row.steps}
        for edge in self.picture.edges:
            tail, head = self.owner.get(edge.tail), self.owner.get(edge.head)
            if head in inside and (tail is None or self.row_of[tail] != r):
                row.below.setdefault(edge.tail, 0.0)
            if tail in inside and (head is None or self.row_of[head] != r):
                row.above.setdefault(edge.head, 0.0)
        tall = max(step.layout.size[1] for step in row.steps)
        tracks = TRACK * (2 + max(len(step.leaves) for step in row.steps))
        segment = self._lay_out_segment(outside[r])
        lanes = LANE * len(row.below)
        row.bottom = y + max(lanes + tracks, segment.size[1] / 2 - tall / 2)
        for k, source in enumerate(row.below):
            row.below[source] = row.bottom - tracks - LANE * (k + 1)
        top = row.bottom + tall + tracks
        for k, reader in enumerate(row.above):
            row.above[reader] = top + LANE * (k + 1)
        x = 0.0
        for step in row.steps:
            step.at = (x, row.bottom)
            x += step.layout.size[0] + GAP
        row.right = x - GAP
        self._shift_segment(
            segment, (-MARGIN - segment.size[0] - LANE * len(row.below), row.bottom + (tall - segment.size[1]) / 2)
        )
        return max(top + LANE * len(row.above), row.bottom + (tall + segment.size[1]) / 2) + 40

    def _lay_out_segment(self, nodes: list[Node]) -> Layout:
        """A layout of nodes outside time, with ports for what comes from elsewhere and what goes elsewhere."""
        names = {node.id for node in nodes}
        if not names:
            return Layout()
        links: list[Link] = []
        first: dict[str, None] = {}
        last: dict[str, None] = {}
        for edge in self.picture.edges:
            if edge.tail in names and edge.head in names:
                links.append((edge.tail, edge.head))
            elif edge.head in names:
                first[f"i {edge.head}"] = None
                links.append((f"i {edge.head}", edge.head))
            elif edge.tail in names:
                last[f"o {edge.tail}"] = None
                links.append((edge.tail, f"o {edge.tail}"))
        used = {node.box for node in nodes}
        boxes = []
        for box in reversed(self.picture.boxes):
            if box.id in used and box.id not in self.steps:
                boxes.append(box)
                used.add(box.parent)
        return lay_out(nodes, boxes[::-1], list(dict.fromkeys(links)), "LR", list(first), list(last), **self.options)

    def _shift_segment(self, layout: Layout, by: Point) -> None:
        for id, (x, y) in layout.nodes.items():
            self.where[id] = (x + by[0], y + by[1])
        for id, (a, b, c, d) in layout.boxes.items():
            self.frames.setdefault(id, []).append((a + by[0], b + by[1], c + by[0], d + by[1]))
        for link, path in layout.links.items():
            self.links[link] = tuple((x + by[0], y + by[1]) for x, y in path)

    def _place_segment(self, nodes: list[Node]) -> None:
        """What comes after the last row stands at its right."""
        segment, row = self._lay_out_segment(nodes), self.rows[-1]
        if nodes:
            tall = max(step.layout.size[1] for step in row.steps)
            self._shift_segment(
                segment, (row.right + MARGIN + LANE * len(row.above), row.bottom + (tall - segment.size[1]) / 2)
            )

    # -- arrows ------------------------------------------------------------------------------------------------------

    def _draw(self, k: int, edge: Edge) -> None:
        tail, head = self.owner.get(edge.tail), self.owner.get(edge.head)
        if tail is not None and tail == head:
            self.edges[k] = self._shifted(self.steps[tail], (edge.tail, edge.head))
            return
        if tail is None and head is None and self.segment[edge.tail] == self.segment[edge.head]:
            self.edges[k] = self.links[edge.tail, edge.head]
            return
        out, into = (edge.tail, f"o {edge.tail}"), (f"i {edge.head if head is None else edge.tail}", edge.head)
        begin = self.links[out] if tail is None else self._shifted(self.steps[tail], out)
        end = self.links[into] if head is None else self._shifted(self.steps[head], into)
        a, b = begin[-1], end[0]
        if tail is None:
            corners = self._from_outside(edge, a, b, head)
        elif head is not None and self.row_of[tail] == self.row_of[head]:
            corners = self._along(self.steps[tail], edge.tail, a, b)
        else:
            corners = self._upwards(edge, a, b, tail, head)
        middle = rounded((a, *(p for p in corners), b))
        self.edges[k] = (*begin, *middle[1:], *end[1:])

    def _shifted(self, step: Step, link: Link) -> tuple[Point, ...]:
        return tuple((x + step.at[0], y + step.at[1]) for x, y in step.layout.links[link])

    def _along(self, step: Step, source: str, a: Point, b: Point) -> list[Point]:
        """From the top of one step, down between the frames, into the bottom of another."""
        track = TRACK * (1 + list(step.leaves).index(source))
        x = step.at[0] + step.layout.size[0] + track + 8
        return [(a[0], a[1] + track), (x, a[1] + track), (x, b[1] - track), (b[0], b[1] - track)]

    def _strip(self, row: Row, source: str) -> float:
        """The upright lane of a source, between what stands at the left and the first steps."""
        return -MARGIN / 2 - LANE * list(row.below).index(source)

    def _from_outside(self, edge: Edge, a: Point, b: Point, head: str | None) -> list[Point]:
        if head is not None:
            row = self.rows[self.row_of[head]]
            x, lane = self._strip(row, edge.tail), row.below[edge.tail]
            return [(x, a[1]), (x, lane), (b[0], lane)]
        if self.segment[edge.head] == len(self.rows):  # below the last row, to its right
            row = self.rows[-1]
            under = min(row.below.values(), default=row.bottom) - 2 * TRACK
            x = row.right + MARGIN / 2
            return [(-MARGIN / 2, a[1]), (-MARGIN / 2, under), (x, under), (x, b[1])]
        under = min(self.where[n][1] for n, s in self.segment.items() if s == self.segment[edge.head]) - 40
        return [(-MARGIN / 2, a[1]), (-MARGIN / 2, under), (b[0] - 20, under), (b[0] - 20, b[1])]

    def _upwards(self, edge: Edge, a: Point, b: Point, tail: str, head: str | None) -> list[Point]:
        """From a step to a reader outside, or to a step of another row."""
        row = self.rows[self.row_of[tail]]
        lane, number = row.above[edge.head], list(row.above).index(edge.head)
        if head is not None:
            other = self.rows[self.row_of[head]]
            x, low = self._strip(other, edge.tail), other.below[edge.tail]
            return [(a[0], lane), (x, lane), (x, low), (b[0], low)]
        if self.segment[edge.head] == len(self.rows):
            x = self.rows[-1].right + MARGIN / 2 + LANE * number
        else:
            x = min(self.left, b[0]) - 20 - LANE * number
        return [(a[0], lane), (x, lane), (x, b[1])]

    # -- the result --------------------------------------------------------------------------------------------------

    def _result(self) -> Picture:
        for step in self.steps.values():
            for id, (x, y) in step.layout.nodes.items():
                self.where[id] = (x + step.at[0], y + step.at[1])
            for id, (a, b, c, d) in step.layout.boxes.items():
                dx, dy = step.at
                self.frames.setdefault(id, []).append((a + dx, b + dy, c + dx, d + dy))
        for box in reversed(self.picture.boxes):  # inner before outer
            parts = self.frames.get(box.id)
            if parts:
                grow = 0.0 if len(parts) == 1 else 10.0
                frame = (
                    min(p[0] for p in parts) - grow, min(p[1] for p in parts) - grow,
                    max(p[2] for p in parts) + grow, max(p[3] for p in parts) + grow,
                )  # fmt: skip
                self.frames[box.id] = [frame]
                if box.parent is not None:
                    self.frames.setdefault(box.parent, []).append(frame)
        holds, titles = self._exclusive(), self._titles()
        kept = {box.id for box in self.picture.boxes if box.id in self.frames and holds.get(box.id, True)}
        around: dict[str | None, str | None] = {
            None: None
        }  # for each box, itself or the nearest one around it that is kept
        for box in self.picture.boxes:
            around[box.id] = box.id if box.id in kept else around[box.parent]
        nodes = [replace(n, at=self.where[n.id], box=around[n.box]) for n in self.picture.nodes]
        edges = [replace(edge, path=self.edges[k]) for k, edge in enumerate(self.picture.edges)]
        boxes = [
            replace(b, corners=self.frames[b.id][0], label_at=titles.get(b.id), parent=around[b.parent])
            for b in self.picture.boxes
            if b.id in kept
        ]
        return Picture(self.picture.name, self.picture.direction, nodes, edges, boxes, placed=True)

    def _titles(self) -> dict[str, Point]:
        """Where the titles of the boxes within steps stand; a step's own stands as others do, unless an arrow is there."""
        return {
            id: (x + step.at[0], y + step.at[1])
            for step in self.steps.values()
            for id, (x, y) in step.layout.titles.items()
            if id != step.box.id or x > step.layout.size[0] / 2
        }

    def _exclusive(self) -> dict[str, bool]:
        """For each box around steps, whether its frame holds nothing that is not in it; else it is not drawn."""
        outer = {step.box.parent for step in self.steps.values() if step.box.parent is not None}
        chain: dict[str, set[str | None]] = {}
        for box in self.picture.boxes:
            chain[box.id] = {box.id, *(chain[box.parent] if box.parent is not None else ())}
        around = {b for o in outer for b in chain[o] if b is not None}
        holds = dict.fromkeys(around, True)
        for node in self.picture.nodes:
            for id in around:
                left, bottom, right, top = self.frames[id][0]
                x, y = self.where[node.id]
                if left < x < right and bottom < y < top and (node.box is None or id not in chain[node.box]):
                    holds[id] = False
        return holds
