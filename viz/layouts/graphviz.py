"""One small layout by the Graphviz program, read back as places: of nodes, boxes and edges."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from types import MappingProxyType
from typing import Any

from tinygrad_rnn.errors import DrawingError

from ..scene import style
from ..scene.picture import Box, Node, Picture, Point
from ..write.program import run

Link = tuple[str, str]
STRAIGHT = "100"  # the weight of an edge that is to be straight
FRAME = 9.0  # from a frame to what stands in it
MOST_LAYOUTS = 4  # layouts that are tried to keep arrows out of titles


@dataclass
class Layout:
    """Where things are, the lower left corner being 0, 0."""

    size: Point = (0.0, 0.0)
    nodes: dict[str, Point] = field(default_factory=dict)
    boxes: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    links: dict[Link, tuple[Point, ...]] = field(default_factory=dict)
    paths: dict[int, tuple[Point, ...]] = field(default_factory=dict)  # the same by their numbers, twins apart
    titles: dict[str, Point] = field(default_factory=dict)  # the middles of the boxes' titles, in their upper corners


def lay_out(
    nodes: Sequence[Node],
    boxes: Sequence[Box],
    links: Sequence[Link],
    direction: str,
    first: Sequence[str] = (),
    last: Sequence[str] = (),
    room: Mapping[str, int] = MappingProxyType({}),
    line: Collection[Link] = (),
    before: Collection[Link] = (),
    **options: Any,
) -> Layout:
    """Have the program place nodes in their boxes, and ports: ids in `first` where arrows begin, `last` where they end.

    A box whose parent is not among `boxes` stands on its own. room: by a box's id, how much is left beside its title.
    line: links that are to be one straight line. before: pairs of ids of which the
    first stands before the second. options: program and timeout.
    """
    graphviz: Any = import_module("graphviz")
    look = {"rankdir": direction, "nodesep": "0.18", "ranksep": "0.28"}
    root = graphviz.Digraph(graph_attr={**look, "newrank": "true"} if before else look)
    root.attr("node", fixedsize="true", label="")
    known = {
        box.id: graphviz.Digraph(f"cluster_{box.id}", graph_attr=_title(box, direction, room.get(box.id, 0)))
        for box in boxes
    }
    for node in nodes:
        wide, tall = node.extent
        shape = "ellipse" if style.ROLES[node.role].shape == "ellipse" else "box"
        group = {"group": "line"} if any(node.id in link for link in line) else {}
        known.get(node.box or "", root).node(
            node.id, shape=shape, width=f"{wide / 72:.3f}", height=f"{tall / 72:.3f}", **group
        )
    for box in reversed(boxes):  # inner before outer
        known.get(box.parent or "", root).subgraph(known[box.id])
    for side, ports in (("source", first), ("sink", last)):
        if ports:
            with root.subgraph(graph_attr={"rank": side}) as rank:
                for port in ports:
                    rank.node(port, shape="point", width="0.1", height="0.01")
                for a, b in itertools.pairwise(ports):
                    rank.edge(a, b, style="invis")
    heads, tails = {head for _, head in links}, {tail for tail, _ in links}
    for a, b in before:
        root.edge(a, b, style="invis", weight="0")
    for node in nodes:  # where arrows come in and go out, no node stands in their way
        if first and node.id not in heads:
            root.edge(first[0], node.id, style="invis", weight="0")
        if last and node.id not in tails:
            root.edge(node.id, last[0], style="invis", weight="0")
    for k, (tail, head) in enumerate(links):
        weight = {"weight": STRAIGHT} if (tail, head) in line else {}
        root.edge(tail, head, id=str(k), **({"arrowhead": "none"} if head in last else {}), **weight)
    answer = run(root.source, "json0", **options)
    try:
        layout = _read(json.loads(answer), set(known))
    except (ValueError, KeyError) as error:
        raise DrawingError(
            f"drawing: the program did not answer with a layout in JSON but with {answer[:60]!r}"
        ) from error
    passed = [point for path in layout.links.values() for point in _along(path)]
    for box in boxes:
        if box.id in layout.boxes:
            layout.titles[box.id] = _title_place(layout.boxes[box.id], box.label, passed)
    return layout


def with_layout(picture: Picture, **options: Any) -> Picture:
    """A picture with the places that the program gives it, its boxes' titles on top where no arrow runs through them.

    Where arrows go upright, a title that has no such place is broken into two lines, with room beside them. The way of a
    memory through a step that is drawn from left to right is one straight line, from what comes in to what goes out.
    """
    links = [(edge.tail, edge.head) for edge in picture.edges]
    line = (
        {(edge.tail, edge.head) for edge in picture.edges if edge.role == "memory"}
        if picture.direction == "LR"
        else set()
    )
    outer = _outermost(picture, links) if line else None
    nodes = [replace(node, box=None) if outer and node.box == outer.id else node for node in picture.nodes]
    boxes = [
        replace(box, parent=None) if outer and box.parent == outer.id else box
        for box in picture.boxes
        if box is not outer
    ]
    tries = MOST_LAYOUTS if picture.direction in ("TB", "BT") else 1
    room: Counter[str] = Counter()
    for attempt in range(tries):
        layout = lay_out(
            nodes,
            boxes,
            links,
            picture.direction,
            room=room,
            line=line,
            before=_order(picture, links) if outer else (),
            **options,
        )
        if outer is not None:
            layout.boxes[outer.id] = _frame(picture, layout)
            boxes = [outer, *boxes]
        passed = [point for path in layout.paths.values() for point in _along(path)]
        titles = {box.id: _title_on_top(layout.boxes[box.id], box.label, passed) for box in boxes}
        crowded = {box.id for box in boxes if titles[box.id][1]}
        if not crowded or attempt == tries - 1:
            break
        room.update(crowded)
        boxes = [replace(box, label=_in_two(box.label)) if box.id in crowded else box for box in boxes]
    placed = [replace(node, at=layout.nodes[node.id], size=node.extent) for node in picture.nodes]
    edges = [replace(edge, path=layout.paths[k]) for k, edge in enumerate(picture.edges)]
    parents = {box.id: box.parent for box in picture.boxes}
    boxes = [
        replace(box, parent=parents[box.id], corners=layout.boxes[box.id], label_at=titles[box.id][0]) for box in boxes
    ]
    return Picture(picture.name, picture.direction, placed, edges, boxes, placed=True)


def _outermost(picture: Picture, links: list[Link]) -> Box | None:
    """The box around all but what comes in and what goes out; None where there is none."""
    heads, tails = {head for _, head in links}, {tail for tail, _ in links}
    boxes = [box for box in picture.boxes if box.parent is None]
    inside = all(node.box or node.id not in heads or node.id not in tails for node in picture.nodes)
    return boxes[0] if len(boxes) == 1 and inside else None


def _order(picture: Picture, links: list[Link]) -> list[Link]:
    """What comes in stands before all with which the picture begins, what goes out after all with which it ends."""
    heads, tails = {head for _, head in links}, {tail for tail, _ in links}
    inner = {node.id for node in picture.nodes if node.box is not None}
    ends = {a for a, b in links if b not in inner and b not in tails}
    begins = [id for id in inner if id not in heads]
    onward = {a for a, b in links if b in inner}
    pairs = [(node.id, id) for node in picture.nodes if node.id not in inner | heads for id in begins]
    last = [id for id in inner if id in ends or id not in onward]
    return pairs + [(id, node.id) for node in picture.nodes if node.id not in inner | tails for id in last]


def _frame(picture: Picture, layout: Layout) -> tuple[float, float, float, float]:
    """The corners of a box around all that stands in it, with room on top for its title."""
    spans = [layout.boxes[box.id] for box in picture.boxes if box.id in layout.boxes]
    for node in picture.nodes:
        if node.box is not None:
            (x, y), (w, h) = layout.nodes[node.id], node.extent
            spans.append((x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    left, bottom, right, top = zip(*spans, strict=True)
    return min(left) - FRAME, min(bottom) - FRAME, max(right) + FRAME, max(top) + 3 * FRAME


def _in_two(title: str) -> str:
    """A title broken at its first space."""
    return title if "\n" in title else title.replace(" ", "\n", 1)


def _title_on_top(
    corners: tuple[float, float, float, float], title: str, passed: list[Point]
) -> tuple[Point | None, int]:
    """Where on top of a box its title has the fewest arrows, None for its usual place; and how many points of them."""
    left, _, right, top = corners
    lines = title.split("\n")
    half, tall = max(map(style.text_width, lines)) / 2, 6.0 * len(lines)
    first, last = left + 10 + half, right - 10 - half
    places = [(first + (last - first) * k / 12, top - 6 - tall) for k in range(13)]
    if last < first:
        places = [((left + right) / 2, top - 6 - tall)]
    best = min(places, key=lambda place: _overlaps(place, half, tall, passed))
    usual = best == places[0] and last >= first and len(lines) == 1
    return None if usual else best, _overlaps(best, half, tall, passed)


def _title_place(corners: tuple[float, float, float, float], title: str, passed: list[Point]) -> Point:
    """The upper corner through which fewer arrows run, the left one if it makes no difference."""
    left, _bottom, right, top = corners
    half = style.text_width(title, style.SMALL) / 2
    places = [(left + 7 + half, top - 10), (right - 7 - half, top - 10)]
    if 4 * half + 14 > right - left:
        places = [((left + right) / 2, top - 10)]
    return min(places, key=lambda place: _overlaps(place, half, 6.0, passed))


def _overlaps(place: Point, half: float, tall: float, passed: list[Point]) -> int:
    """How many points of arrows lie in a title."""
    return sum(abs(x - place[0]) < half + 4 and abs(y - place[1]) < tall + 3 for x, y in passed)


def _along(path: tuple[Point, ...]) -> list[Point]:
    """Points along a Bézier curve."""
    points = []
    for k in range(0, len(path) - 3, 3):
        curve = path[k : k + 4]
        for i in range(16):
            s = i / 15
            weights = ((1 - s) ** 3, 3 * (1 - s) ** 2 * s, 3 * (1 - s) * s**2, s**3)
            x, y = (sum(w * p[axis] for w, p in zip(weights, curve, strict=True)) for axis in (0, 1))
            points.append((x, y))
    return points


def _title(box: Box, direction: str, room: int) -> dict[str, str]:
    """Space on top for a title, which is not drawn: a plain text about as wide; with `room`, on both sides of an arrow."""
    lines = [
        "".join(c if c.isascii() and (c.isalnum() or c in " _=") else "m" for c in line)
        for line in box.label.split("\n")
    ]
    plain = "\n".join(f"{line}{'mm' * room}{line}" if room else line for line in lines)
    place = {"labeljust": "l", "labelloc": "b" if direction == "BT" else "t"}  # the program turns them with the picture
    return {"label": plain or " ", "fontname": style.FONT, "fontsize": f"{style.SMALL if room else 12:g}", **place}


def _read(answer: dict[str, Any], known: set[str]) -> Layout:
    left, bottom, right, top = (float(v) for v in answer.get("bb", "0,0,0,0").split(","))
    layout = Layout((right - left, top - bottom))
    names = []
    for item in answer.get("objects", ()):
        names.append(item.get("name", ""))
        if "pos" in item:
            x, y = item["pos"].split(",")
            layout.nodes[item["name"]] = (float(x) - left, float(y) - bottom)
        elif "bb" in item and item["name"].removeprefix("cluster_") in known:
            a, b, c, d = (float(v) for v in item["bb"].split(","))
            layout.boxes[item["name"].removeprefix("cluster_")] = (a - left, b - bottom, c - left, d - bottom)
    for edge in answer.get("edges", ()):
        if edge.get("style") == "invis" or "pos" not in edge:
            continue
        tip: Point | None = None
        points: list[Point] = []
        for part in edge["pos"].split():
            numbers = part.removeprefix("e,").removeprefix("s,").split(",")
            point = (float(numbers[0]) - left, float(numbers[1]) - bottom)
            if part.startswith("e,"):
                tip = point
            elif not part.startswith("s,"):
                points.append(point)
        path = (*points[:-1], tip) if tip else tuple(points)
        layout.paths[int(edge["id"])] = path
        layout.links.setdefault((names[edge["tail"]], names[edge["head"]]), path)
    return layout
