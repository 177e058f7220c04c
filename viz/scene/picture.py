"""A picture as plain data, before any format: nodes, edges and nested boxes. Views make it, writers (DOT, …) read it.

What a node, edge or box stands for in the net is a field of it, so that no writer has to find it in a label or a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tinygrad_rnn.autodiff.graph import Source

from . import style

Point = tuple[float, float]
Corners = tuple[float, float, float, float]  # left, bottom, right, top
Carried = tuple[tuple[int, int], str]  # a state after a step: its layer and t, and its name


@dataclass(frozen=True)
class Node:
    """One shape with text in it. `at` is its centre in points, y upwards, in a picture that has places."""

    id: str
    lines: tuple[str, ...]
    role: str  # a key of style.ROLES
    box: str | None = None  # the id of the Box it stands in
    at: Point | None = None
    size: Point | None = None
    tip: str = ""
    fill: str | None = None  # instead of the role's
    strong: bool = False  # drawn with a heavier line: what the picture was asked for
    table: tuple[tuple[str, str, str], ...] = ()  # a legend: of each line the mark, its colour, the text
    value: Source | None = None  # the result of the recorded graph that it shows
    layer: int | None = None  # the number of its layer in the net
    step: int | None = None  # its column in time
    state: str = ""  # the name of the state that its result is

    @property
    def extent(self) -> Point:
        """Its size; where it has none of its own, one that holds its lines."""
        return self.size or style.fitting_size(self.lines, style.ROLES[self.role].shape)


@dataclass(frozen=True)
class Edge:
    """An arrow. `path` are the points of its curve (1 + 3 n of them, Bézier), in a picture that has places."""

    tail: str
    head: str
    role: str = "data"  # a key of style.EDGES
    label: str = ""
    path: tuple[Point, ...] = ()
    label_at: Point | None = None
    look: tuple[str, float] | None = None  # colour and width, instead of the role's
    state: Carried | None = None  # the state that it carries


@dataclass(frozen=True)
class Box:
    """A frame around nodes, with a title (of several lines, if it holds line ends).

    `corners` are those of its frame in a picture that has places.
    """

    id: str
    label: str
    role: str  # a key of style.BOXES
    parent: str | None = None
    corners: Corners | None = None
    label_at: Point | None = None  # the title's middle; by default it stands in the upper left corner
    step: int | None = None  # of a time step: its column in time
    time: str = ""  # and what it is called: its number, or T−1 …


@dataclass(frozen=True)
class Picture:
    """Nodes, edges and boxes, in drawing order. Every box comes after its parent."""

    name: str
    direction: str = "TB"
    nodes: Sequence[Node] = ()
    edges: Sequence[Edge] = ()
    boxes: Sequence[Box] = ()
    placed: bool = False
