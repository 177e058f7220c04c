"""The op-level view: every node of a graph, in boxes by scope."""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo

from . import style
from .drawing import Drawing
from .opened import open_all, take
from .picture import Box, Edge, Node, Picture

Scope = tuple[str, ...]


def draw(
    target: Any,
    *,
    shapes: bool = True,
    dtypes: bool = False,
    clusters: bool = True,
    direction: str | None = None,
    opened: bool = False,
) -> Drawing:
    """Draw every op of a recorded graph, in boxes by scope; a parameter, input or constant used often is drawn once.

    target: a tensor, tensors nested in tuples, lists and dicts, or a Graph from tg.snapshot. shapes, dtypes: whether
    labels tell them. clusters: boxes around scopes. direction: "LR" or "TB"; by default left to right where the graph has
    time steps (scopes "t=0", "t=1" …), else top to bottom. opened: draw what each fused op stands for, in primitives, in its
    place. Raises TypeError if nothing was recorded.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> w = tg.Parameter([[1.0, 2.0]], name="w")
    >>> viz.draw(tg.tanh(w @ w.T))
    Drawing(4 nodes, 4 edges)
    """
    if direction not in (None, "LR", "RL", "TB", "BT"):
        raise ValueError(f"draw: direction is {direction!r}, expected 'LR' or 'TB'")
    graph = open_all(target) if opened else take(target)
    places: list[Scope] = scopes_of(graph) if clusters else [()] * len(graph.nodes)
    timed = any(part.startswith("t=") for node in graph.nodes for part in node.scope)
    picture = Picture("ops", direction or ("LR" if timed else "TB"))
    boxes = _boxes(places)
    picture.boxes = [box for box in boxes.values() if box is not None]
    wanted = {source.id for source in graph.outputs}
    for node, place in zip(graph.nodes, places, strict=True):
        box = boxes[place]
        picture.nodes.append(
            Node(
                f"n{node.id}",
                _label(node, shapes, dtypes),
                _role(node),
                None if box is None else box.id,
                tip=_tip(node),
                strong=node.id in wanted,
            )
        )
        for source in node.sources:
            picture.edges.append(Edge(f"n{source.id}", f"n{node.id}", _edge_role(graph.nodes[source.id])))
    return Drawing(picture)


def scopes_of(graph: Graph) -> list[Scope]:
    """The scope in which to draw each node: an op's own; a leaf stands where all that use it meet."""
    places: list[Scope] = [node.scope for node in graph.nodes]
    users: dict[int, Scope] = {}
    for node in graph.nodes:
        for source in node.sources:
            if graph.nodes[source.id].op is None:
                users[source.id] = _common(users.get(source.id, node.scope), node.scope)
    for i, shared in users.items():
        leaf = graph.nodes[i]
        places[i] = shared if leaf.kind == "parameter" or not leaf.name else _common(shared, leaf.scope)
    return places


def _common(a: Scope, b: Scope) -> Scope:
    same = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        same += 1
    return a[:same]


def _boxes(places: list[Scope]) -> dict[Scope, Box | None]:
    """A box for every scope and what it lies in, outer before inner, numbered in order of appearance."""
    boxes: dict[Scope, Box | None] = {(): None}
    for place in places:
        for depth in range(1, len(place) + 1):
            path = place[:depth]
            if path not in boxes:
                outer = boxes[path[:-1]]
                boxes[path] = Box(f"b{len(boxes)}", style.shown(path[-1]), "scope", None if outer is None else outer.id)
    return boxes


def _label(node: NodeInfo, shapes: bool, dtypes: bool) -> tuple[str, ...]:
    """The lines of a node's label: name and op, shape, dtype."""
    if node.op is None or not node.name:
        lines = [style.shown(node.label)]
    else:
        lines = [style.shown(node.name), style.shown(node.label)]
    if shapes:
        parts = [style.shape_text(s) for s in node.shapes]
        alike = len(parts) > 1 and len(set(parts)) == 1
        lines.append(f"{len(parts)} × {parts[0]}" if alike else style.shown(" ".join(parts)))
    if dtypes:
        lines.append(" ".join(dict.fromkeys(node.dtypes)))
    return tuple(lines)


def _role(node: NodeInfo) -> str:
    if node.op is not None:
        return "op"
    return "input" if node.kind == "constant" and node.name else node.kind


def _edge_role(source: NodeInfo) -> str:
    if source.op is not None:
        return "data"
    return {"parameter": "weight", "constant": "constant" if not source.name else "data"}.get(source.kind, "data")


def _tip(node: NodeInfo) -> str:
    """What a viewer shows where the pointer rests."""
    shapes = " ".join(f"{style.shape_text(s)} {d}" for s, d in zip(node.shapes, node.dtypes, strict=True))
    options = ", ".join(f"{k}={v}" for k, v in sorted(node.options.items()))
    where = "/".join(node.scope)
    head = f"{node.op or node.kind}{f' {node.name}' if node.name else ''}"
    return style.shown("; ".join(p for p in (head, shapes, options, where) if p), 200)
