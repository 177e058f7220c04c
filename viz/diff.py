"""Two cells side by side, op by op, with what only one of them does marked."""

from __future__ import annotations

from dataclasses import replace
from difflib import SequenceMatcher
from typing import Any

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo

from .cell import as_rnn_cell, picture_of_step
from .layouts.graphviz import with_layout
from .net.cell_graph import step_graph
from .net.layers import gate_of
from .net.steps import only_weights, parameters_of
from .scene import style
from .scene.picture import Box, Edge, Node, Picture
from .write.drawing import Drawing

ONLY_FIRST, ONLY_SECOND = "#F6C9A8", "#BBDDF3"  # vermilion and blue, pale [Okabe & Ito 2008]
APART = 60.0


def diff(a: Any, b: Any) -> Drawing:
    """Draw one step of two cells side by side, with colours where only one does a thing: the first's is vermilion, the
    second's blue.

    a, b: cells or layers of `rnn`, `nn` or `layers`, as for `viz.cell`; the same cell with other options, or two kinds.
    Ops are compared in the order in which they run, each by what it is, by the gate that it makes and by the weights and
    states that it reads; these by their names. Raises TypeError for what is no cell.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> picture = viz.diff(tg.rnn.GRUCell(4), tg.rnn.GRUCell(4, reset_after=True)).picture
    >>> sorted(node.lines[0] for node in picture.nodes if node.fill == "#BBDDF3")
    ['+', '+', '+', 'recurrent_bias', '×']
    """
    cells = as_rnn_cell(a, "diff"), as_rnn_cell(b, "diff")
    steps = [step_graph(cell) for cell in cells]
    labels = style.Labels()
    pictures = [picture_of_step(step.graph, step.results, labels, "BT") for step in steps]
    only = _only([step.graph for step in steps])
    ends = [{f"{name}'" for name, *_ in step.results} for step in steps]
    only = [only[0] | (ends[0] - ends[1]), only[1] | (ends[1] - ends[0])]
    for k, (picture, cell) in enumerate(zip(pictures, cells, strict=True)):
        pictures[k] = _part("ab"[k], cell.scope_name, picture, only[k], (ONLY_FIRST, ONLY_SECOND)[k])
    both = _beside(pictures)
    return Drawing(both, lambda **options: _beside([with_layout(picture, **options) for picture in pictures]))


def _only(graphs: list[Graph]) -> list[set[str]]:
    """The ids of nodes that only one of two graphs has."""
    ops = [[node for node in graph.nodes if node.op is not None] for graph in graphs]
    keys = [
        [(node.op, gate_of(node.scope), _read(graph, node)) for node in some]
        for graph, some in zip(graphs, ops, strict=True)
    ]
    only = [{node.id for node in some} for some in ops]
    for match in SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks():
        for k, start in enumerate((match.a, match.b)):
            only[k] -= {node.id for node in ops[k][start : start + match.size]}
    moved = [{key: node.id for node, key in zip(ops[k], keys[k], strict=True) if node.id in only[k]} for k in (0, 1)]
    for key in moved[0].keys() & moved[1].keys():  # the same work for a gate, at another time
        if key[1]:
            only[0].discard(moved[0][key])
            only[1].discard(moved[1][key])
    names = [{node.name: node.id for node in graph.nodes if node.op is None and node.name} for graph in graphs]
    for k in (0, 1):
        only[k] |= {i for name, i in names[k].items() if name not in names[1 - k]}
    return [{f"n{i}" for i in some} for some in only]


def _read(graph: Graph, node: NodeInfo) -> tuple[str, ...]:
    """The names of the inputs and states that an op reads, and of the weights, whatever part of them."""
    weights = only_weights(graph)
    names: set[str] = set()
    for source in node.sources:
        leaves = parameters_of(graph, source.id) if source.id in weights else [source.id]
        names.update(graph.nodes[i].name or "" for i in leaves if graph.nodes[i].op is None)
    return tuple(sorted(names))


def _part(letter: str, title: str, picture: Picture, only: set[str], fill: str) -> Picture:
    """A cell's picture with ids and a box of its own, and what the other lacks coloured."""
    named_inside = any(box.parent is None and box.label == title for box in picture.boxes)
    frame = Box(letter, "" if named_inside else style.shown(title, 30), "inside")

    def named(id: str | None) -> str:
        return letter if id is None else letter + id

    nodes = [
        replace(n, id=letter + n.id, box=named(n.box), fill=fill if n.id in only else n.fill) for n in picture.nodes
    ]
    edges = [replace(e, tail=letter + e.tail, head=letter + e.head) for e in picture.edges]
    boxes = [frame, *(replace(box, id=letter + box.id, parent=named(box.parent)) for box in picture.boxes)]
    return Picture("diff", picture.direction, nodes, edges, boxes)


def _beside(pictures: list[Picture]) -> Picture:
    """Two pictures as one: with places, the second to the right of the first, both on one line."""
    nodes: list[Node] = []
    edges: list[Edge] = []
    boxes: list[Box] = []
    begin = 0.0
    for picture in pictures:
        if picture.placed:
            corners = [box.corners for box in picture.boxes if box.corners]
            picture = _moved(picture, begin - min(c[0] for c in corners), -min(c[1] for c in corners))
            begin = max(box.corners[2] for box in picture.boxes if box.corners) + APART
        nodes += picture.nodes
        edges += picture.edges
        boxes += picture.boxes
    return Picture("diff", "BT", nodes, edges, boxes, placed=pictures[0].placed)


def _moved(picture: Picture, dx: float, dy: float) -> Picture:
    """A picture with places, moved."""

    def by(point: Any) -> Any:
        return None if point is None else tuple(v + (dy if k % 2 else dx) for k, v in enumerate(point))

    nodes = [replace(n, at=by(n.at)) for n in picture.nodes]
    edges = [replace(e, path=tuple(map(by, e.path)), label_at=by(e.label_at)) for e in picture.edges]
    boxes = [replace(box, corners=by(box.corners), label_at=by(box.label_at)) for box in picture.boxes]
    return Picture(picture.name, picture.direction, nodes, edges, boxes, placed=True)
