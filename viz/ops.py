"""The op-level view: every node of a graph, in boxes by scope."""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo

from . import style
from .drawing import Drawing
from .opened import open_all, take
from .picture import Box, Edge, Node, Picture
from .repeat import Repeat

Scope = tuple[str, ...]
LONG = 12  # steps from which on one is laid out and repeated


def draw(
    target: Any,
    *,
    depth: int | None = None,
    opened: bool = False,
    shapes: bool = True,
    dtypes: bool = False,
    clusters: bool = True,
    direction: str | None = None,
) -> Drawing:
    """Draw every op of a recorded graph, in boxes by scope; a parameter, input or constant used often is drawn once.

    target: a tensor, tensors nested in tuples, lists and dicts, or a Graph from tg.snapshot. depth: how many levels of
    scopes are opened; what lies deeper is one node a scope. opened: draw what each fused op stands for, in primitives, in
    its place. shapes, dtypes: whether labels tell them. clusters: boxes around scopes. direction: "LR" or "TB"; by default
    left to right where the graph has time steps (scopes "t=0", "t=1" …), else top to bottom. Raises TypeError if nothing
    was recorded.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> w = tg.Parameter([[1.0, 2.0]], name="w")
    >>> viz.draw(tg.tanh(w @ w.T))
    Drawing(4 nodes, 4 edges)
    >>> outputs, state = tg.rnn.dynamic_rnn(tg.rnn.GRUCell(2), [[[1.0], [2.0]]])
    >>> viz.draw(state), viz.draw(state, opened=True), viz.draw(state, opened=True, depth=0)
    (Drawing(6 nodes, 5 edges), Drawing(38 nodes, 52 edges), Drawing(1 node, 0 edges))
    """
    if direction not in (None, "LR", "RL", "TB", "BT"):
        raise ValueError(f"draw: direction is {direction!r}, expected 'LR' or 'TB'")
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise ValueError(f"draw: depth is {depth!r}, expected a non-negative integer or None")
    graph = open_all(target) if opened else take(target)
    places: list[Scope] = scopes_of(graph) if clusters or depth is not None else [()] * len(graph.nodes)
    timed = any(part.startswith("t=") for node in graph.nodes for part in node.scope)
    picture = Picture("ops", direction or ("LR" if timed else "TB"))
    limit = max((len(place) for place in places), default=0) if depth is None else depth
    boxes = _boxes([place[:limit] for place in places]) if clusters else {place[:limit]: None for place in places}
    picture.boxes = [box for box in boxes.values() if box is not None]
    ids = {i: f"n{i}" for i in range(len(graph.nodes))}
    closed: dict[Scope, list[int]] = {}
    for i, place in enumerate(places):
        if len(place) > limit:
            closed.setdefault(place[: limit + 1], []).append(i)
            ids[i] = f"n{closed[place[: limit + 1]][0]}"
    wanted = {ids[source.id] for source in graph.outputs}
    for node, place in zip(graph.nodes, places, strict=True):
        if ids[node.id] == f"n{node.id}":
            box = boxes.get(place[:limit])
            inside = closed.get(place[: limit + 1]) if len(place) > limit else None
            drawn = _closed(graph, place[limit], inside) if inside else _open(node, shapes, dtypes)
            drawn.box, drawn.strong = None if box is None else box.id, drawn.id in wanted
            picture.nodes.append(drawn)
    picture.edges = _edges(graph, ids, bool(closed))
    steps = sum(box.label.startswith("t=") for box in picture.boxes)
    return Drawing(picture, _repeat if steps >= LONG and picture.direction == "LR" else None)


def _repeat(picture: Picture, **options: Any) -> Picture:
    return Repeat(picture, **options).placed()


def _open(node: NodeInfo, shapes: bool, dtypes: bool) -> Node:
    return Node(f"n{node.id}", _label(node, shapes, dtypes), _role(node), tip=_tip(node))


def _closed(graph: Graph, name: str, inside: list[int]) -> Node:
    """One node for all that lies in a scope."""
    nodes = [graph.nodes[i] for i in inside]
    ops = sum(node.op is not None for node in nodes)
    weights = sum(node.op is None and node.kind == "parameter" for node in nodes)
    parts = [f"{n} {word}{'s' * (n != 1)}" for n, word in ((ops, "op"), (weights, "weight")) if n]
    lines = (style.shown(name), ", ".join(parts))
    return Node(f"n{inside[0]}", lines if parts else lines[:1], "cell", tip="/".join(nodes[0].scope))


def _edges(graph: Graph, ids: dict[int, str], once: bool) -> list[Edge]:
    """The edges between what is drawn; between closed scopes each once."""
    edges: list[Edge] = []
    seen: set[tuple[str, str]] = set()
    for node in graph.nodes:
        for source in node.sources:
            pair = ids[source.id], ids[node.id]
            if pair[0] == pair[1] or (once and pair in seen):
                continue
            seen.add(pair)
            role = _edge_role(graph.nodes[source.id])
            if _step(graph.nodes[source.id]) not in (None, _step(node)) and _step(node):
                role = "state"
            edges.append(Edge(*pair, role))
    return edges


def _step(node: NodeInfo) -> str | None:
    """The time step in which an op stands."""
    return next((part for part in node.scope if part.startswith("t=")), None) if node.op is not None else None


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
        return "cell" if node.kind == "recurrent" else "op"
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
