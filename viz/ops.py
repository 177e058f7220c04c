"""The op-level view: every node of a graph, in boxes by scope."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tinygrad_rnn.autodiff.graph import STEP, Graph, NodeInfo, Source, flat_tensors
from tinygrad_rnn.autodiff.node import Leaf
from tinygrad_rnn.autodiff.node import Node as LiveNode
from tinygrad_rnn.autodiff.state import Scope
from tinygrad_rnn.module import Module
from tinygrad_rnn.rnn import RNNCell

from .layouts.graphviz import with_layout
from .layouts.period import place as place_block
from .layouts.period import repeated
from .layouts.repeat import repeat
from .net import costs
from .net.costs import count_text
from .net.layers import Path, common, passes_of, time_of
from .net.measure import Measured, nodes_of
from .net.unfused import open_all, take
from .scene import style
from .scene.color_scale import ColorScale
from .scene.legend import add as add_legend
from .scene.picture import Box, Edge, Node, Picture
from .write.drawing import BIGGEST_SHOWN, Drawing

Place = tuple[tuple[int, Scope], ...]  # a path of scopes, each with what tells it from others of its name
LONG = 2  # steps from which on one is laid out and repeated


def draw(
    target: Any,
    *,
    depth: int | None = None,
    opened: bool = False,
    shapes: bool = True,
    dtypes: bool = False,
    bytes: bool = False,
    flops: bool = False,
    color: str | None = None,
    legend: bool = False,
    clusters: bool = True,
    direction: str | None = None,
) -> Drawing:
    """Draw every op of a recorded graph, in boxes by scope; a parameter, input or constant used often is drawn once.

    target: a tensor, tensors nested in tuples, lists and dicts, or a Graph from tg.snapshot. A tg.Parameter is drawn as a
    weight, another tensor with a name or a gradient as an input, whatever its name. depth: how many levels of
    scopes are opened; what lies deeper is one node a scope. opened: draw what each fused op stands for, in primitives, in
    its place.

    shapes, dtypes, bytes, flops: what labels tell, bytes and flops of an op's result and forward. color="time": every op's
    forward is run again by itself on what the graph holds (else on numbers of the same shape); labels tell the median time
    and shades show its logarithm. legend: tell what shapes and arrows mean. clusters: boxes around scopes. direction: "LR" or
    "TB"; by default left to right where the graph has time steps or repeats itself, else top to bottom. Steps that are alike
    are laid out once. What is not marked by `rnn.steps` or `tg.step` has no box of a step, only the boxes of the modules that
    were called; a long loop is laid out as quickly.

    Raises TypeError if nothing was recorded, and, for times, of a Graph; GraphError for times after a backward pass has
    freed the graph.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> w = tg.Parameter([[1.0, 2.0]], name="w")
    >>> viz.draw(tg.tanh(w @ w.T))
    Drawing(4 nodes, 4 edges)
    >>> outputs, state = tg.rnn.dynamic_rnn(tg.rnn.GRUCell(2), [[[1.0], [2.0]]])
    >>> viz.draw(state), viz.draw(state, opened=True), viz.draw(state, opened=True, depth=0)
    (Drawing(5 nodes, 4 edges), Drawing(42 nodes, 57 edges), Drawing(1 node, 0 edges))
    >>> [node.lines for node in viz.draw(w @ w.T, bytes=True, flops=True).picture.nodes][-1]
    ('@', '(1, 1)', '4 B, 4 flop')
    """
    if direction not in (None, "LR", "RL", "TB", "BT"):
        raise ValueError(f"draw: direction is {direction!r}, expected 'LR' or 'TB'")
    if depth is not None and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 0):
        raise ValueError(f"draw: depth is {depth!r}, expected a non-negative integer or None")
    if color not in (None, "time"):
        raise ValueError(f"draw: color is {color!r}, expected 'time' or None")
    refuse_unrecorded(target, "draw")
    measured, runs = None, nodes_of(target) if flops and not isinstance(target, Graph) else []
    if color == "time":
        measured = Measured(target, "draw: color='time'", None if opened else (STEP,))
        graph, runs = measured.graph, measured.nodes
    else:
        graph = open_all(target) if opened else take(target)
    facts = Facts(graph, shapes, dtypes, bytes, flops, measured, runs)
    picture = picture_of(graph, facts, depth, clusters, direction)
    scale = facts.scale()
    if scale is not None:
        fills = {id: scale.fill(took) for id, took in facts.took.items()}
        picture = replace(picture, nodes=[replace(node, fill=fills.get(node.id)) for node in picture.nodes])
    steps = sum(box.step is not None for box in picture.boxes)
    block = repeated(picture) if direction in (None, "LR") and not steps else None
    place: Callable[..., Picture] = repeat if steps >= LONG and picture.direction == "LR" else with_layout
    if block is not None:
        picture = replace(picture, direction="LR")
        place = partial(place_block, block=block)
    return Drawing(
        add_legend(picture, scale, legend),
        lambda **options: add_legend(place(picture, **options), scale, legend),
    )


def refuse_unrecorded(target: Any, who: str) -> None:
    """Raise TypeError, with the way out, if nothing was recorded of what is to be drawn."""
    if isinstance(target, Graph) or any(tensor._node is not None for tensor in flat_tensors(target)):
        return
    cls = target if isinstance(target, type) else type(target)
    name = ".".join([*cls.__module__.split(".")[1:2], cls.__name__])
    if isinstance(target, type) and issubclass(target, Module):
        raise TypeError(f"{who}: target is the class {name}, expected what one computes: make one and {_way(cls, who)}")
    if isinstance(target, Module):
        raise TypeError(f"{who}: target is {name}, which records nothing by itself: {_way(cls, who)}")
    raise TypeError(
        f"{who}: target is {cls.__name__}: no tensor with a graph was given; a tensor has one when it was computed "
        "(outside no_grad) from a tensor that requires grad"
    )


def _way(cls: type, who: str) -> str:
    """What to draw instead of a module: what it computes."""
    if not issubclass(cls, RNNCell):
        return f"run it and draw its outputs, viz.{who}(layer(x))"
    return "draw it by viz.cell(cell), viz.unrolled(cell) or viz.folded(cell)"


class Facts:
    """The facts that labels show of the ops of a graph. measured: for the times of its ops; runs: its recorded nodes, which
    hold the lengths of rows that a snapshot does not."""

    def __init__(
        self,
        graph: Graph,
        shapes: bool = True,
        dtypes: bool = False,
        bytes: bool = False,
        flops: bool = False,
        measured: Measured | None = None,
        runs: Sequence[LiveNode | Leaf] = (),
    ):
        self.graph, self.shapes, self.dtypes, self.bytes, self.flops = graph, shapes, dtypes, bytes, flops
        self.options: dict[int, Any] = {}
        if len(runs) == len(graph.nodes):  # else ops were opened
            self.options = {i: n.options for i, n in enumerate(runs) if isinstance(n, LiveNode)}
        ids = range(len(graph.nodes)) if measured is not None else ()
        times = {i: measured.seconds(i) for i in ids if measured is not None}
        self.seconds = {i: seconds for i, seconds in times.items() if seconds is not None}
        self.took: dict[str, float] = {}  # seconds by the id of what is drawn

    def lines(self, node: NodeInfo) -> tuple[str, ...]:
        """The lines of a node's label: name and op, shape, dtype, costs."""
        lines = [style.shown(node.label)]
        if node.op is not None and node.name:
            lines = [style.shown(node.name), style.shown(node.label)]
        if self.shapes:
            parts = [style.shape_text(s) for s in node.shapes]
            alike = len(parts) > 1 and len(set(parts)) == 1
            lines.append(f"{len(parts)} × {parts[0]}" if alike else style.shown(" ".join(parts)))
        if self.dtypes:
            lines.append(" ".join(dict.fromkeys(node.dtypes)))
        return (*lines, *self.costs([node], f"n{node.id}"))

    def costs(self, nodes: list[NodeInfo], id: str) -> list[str]:
        """What nodes cost together."""
        ops = [node for node in nodes if node.op is not None]
        parts = [count_text(sum(node.bytes for node in nodes), "B")] if self.bytes else []
        if self.flops and ops:
            parts.append(
                count_text(sum(costs.flops(node, self.graph, self.options.get(node.id)) for node in ops), "flop")
            )
        lines = [", ".join(parts)] if parts else []
        if any(node.id in self.seconds for node in ops):
            self.took[id] = sum(self.seconds.get(node.id, 0.0) for node in ops)
            lines.append(costs.seconds_text(self.took[id]))
        return lines

    def scale(self) -> ColorScale | None:
        return (
            ColorScale(self.took.values(), "time of an op's forward", "time", text=costs.seconds_text)
            if self.took
            else None
        )


def picture_of(graph: Graph, facts: Facts, depth: int | None, clusters: bool, direction: str | None) -> Picture:
    """The nodes, edges and boxes; what lies deeper than `depth` is one node a scope."""
    places: list[Place] = places_of(graph) if clusters or depth is not None else [()] * len(graph.nodes)
    timed = any(part.kind == "step" for node in graph.nodes for part in node.scope)
    nodes: list[Node] = []
    limit = max((len(place) for place in places), default=0) if depth is None else depth
    boxes = _boxes([place[:limit] for place in places]) if clusters else {place[:limit]: None for place in places}
    ids = {i: f"n{i}" for i in range(len(graph.nodes))}
    closed: dict[Place, list[int]] = {}
    for i, place in enumerate(places):
        if len(place) > limit:
            closed.setdefault(place[: limit + 1], []).append(i)
            ids[i] = f"n{closed[place[: limit + 1]][0]}"
    wanted = {ids[source.id] for source in graph.outputs}
    for node, place in zip(graph.nodes, places, strict=True):
        if ids[node.id] == f"n{node.id}":
            box = boxes.get(place[:limit])
            inside = closed.get(place[: limit + 1]) if len(place) > limit else None
            drawn = _closed(facts, place[limit][1], inside) if inside else _open(facts, node)
            nodes.append(replace(drawn, box=None if box is None else box.id, strong=drawn.id in wanted))
    frames = [box for box in boxes.values() if box is not None]
    return Picture("ops", direction or ("LR" if timed else "TB"), nodes, _edges(graph, ids, bool(closed)), frames)


def _open(facts: Facts, node: NodeInfo) -> Node:
    return Node(f"n{node.id}", facts.lines(node), _role(node), tip=_tip(node), value=Source(node.id, 0))


def _closed(facts: Facts, name: str, inside: list[int]) -> Node:
    """One node for all that lies in a scope."""
    nodes = [facts.graph.nodes[i] for i in inside]
    ops = sum(node.op is not None for node in nodes)
    weights = sum(node.op is None and node.kind == "parameter" for node in nodes)
    parts = [f"{n} {word}{'s' * (n != 1)}" for n, word in ((ops, "op"), (weights, "weight")) if n]
    lines = (style.shown(name), *([", ".join(parts)] if parts else []), *facts.costs(nodes, f"n{inside[0]}"))
    return Node(f"n{inside[0]}", lines, "fused", tip="/".join(nodes[0].scope))


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
    time = time_of(node.scope) if node.op is not None else None
    return None if time is None else time.step


def places_of(graph: Graph) -> list[Place]:
    """The place in which to draw each node: an op's own scopes; a leaf stands where all that use it meet."""
    place = Places(graph)
    places = [place(_shown(node.scope)) if node.op is not None else () for node in graph.nodes]
    users: dict[int, Place] = {}
    for node in graph.nodes:
        for source in node.sources:
            if graph.nodes[source.id].op is None:
                users[source.id] = common(users.get(source.id, places[node.id]), places[node.id])
    for i, shared in users.items():
        leaf = graph.nodes[i]
        own = (
            shared
            if leaf.kind == "parameter" or not leaf.name
            else common(tuple([part for _, part in shared]), _shown(leaf.scope))
        )
        places[i] = shared[: len(own)]
    return places


class Places:
    """Tells scopes apart: two calls of one module are two places, a step is one of its pass over time, and the parts of
    one gate or layer are together."""

    def __init__(self, graph: Graph):
        self.passes = passes_of([time_of(path) for path in {id(n.scope): n.scope for n in graph.nodes}.values()])
        self.calls: dict[int, int] = {}  # by a scope's identity

    def __call__(self, path: Path) -> Place:
        return tuple([(self._mark(part), part) for part in path])

    def _mark(self, part: Scope) -> int:
        if part.kind == "step" and part.run is not None:
            return self.passes.number[id(part.run)]
        return self.calls.setdefault(id(part), len(self.calls)) if part.kind in ("scope", "direction") else 0


def _shown(path: Path) -> Path:
    """A path without what has no box: the names of states, and scopes without a name."""
    if path and (path[-1].kind == "state" or "" in path):
        return tuple(part for part in path if part and part.kind != "state")
    return path


def _boxes(places: list[Place]) -> dict[Place, Box | None]:
    """A box for every scope and what it lies in, outer before inner, numbered in order of appearance."""
    boxes: dict[Place, Box | None] = {(): None}
    for place in places:
        for depth in range(1, len(place) + 1):
            path = place[:depth]
            if path not in boxes:
                outer = boxes[path[:-1]]
                part, parent = path[-1][1], None if outer is None else outer.id
                step = part.number if part.kind == "step" else None
                time = "" if step is None else str(step)
                boxes[path] = Box(f"b{len(boxes)}", style.shown(part), "scope", parent, step=step, time=time)
    return boxes


def _role(node: NodeInfo) -> str:
    if node.op is not None:
        return "fused" if node.kind == "recurrent" else "op"
    if node.kind == "constant" and node.name:
        return "input"
    return "constant" if node.kind == "mask" else node.kind


def _edge_role(source: NodeInfo) -> str:
    return {"parameter": "weight", "constant": "constant"}.get(_role(source), "data")


def _tip(node: NodeInfo) -> str:
    """What a viewer shows where the pointer rests."""
    shapes = " ".join(f"{style.shape_text(s)} {d}" for s, d in zip(node.shapes, node.dtypes, strict=True))
    options = ", ".join(f"{k}={v}" for k, v in sorted(node.options.items()))
    where = "/".join(node.scope)
    head = f"{node.op or node.kind}{f' {node.name}' if node.name else ''}"
    return style.shown("; ".join(p for p in (head, shapes, options, where) if p), 200)


def mimebundle(graph: Graph) -> dict[str, Any]:
    """What Jupyter shows for a graph: its op-level picture, else text and how to get the picture. Never raises.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0], requires_grad=True, name="x")
    >>> "text/plain" in tg.viz.mimebundle(tg.snapshot(tg.tanh(x)))
    True
    """
    try:
        if len(graph.nodes) > BIGGEST_SHOWN:
            return {"text/plain": f"{graph!r}: too big to show by itself; use viz.draw(graph).save('x.svg')"}
        bundle = draw(graph)._repr_mimebundle_()
    except Exception as error:  # as above
        return {"text/plain": f"{graph!r}: {type(error).__name__}: {error}"}
    bundle["text/plain"] = bundle["text/plain"] if "image/svg+xml" not in bundle else repr(graph)
    return bundle
