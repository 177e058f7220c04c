"""The cell view: the inside of one step, op by op, its gates named. The ops are those the cell records when it runs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_rnn.autodiff.graph import STEP, Graph, NodeInfo, Source, flat_tensors
from tinygrad_rnn.autodiff.state import generator
from tinygrad_rnn.autodiff.tensor import Tensor
from tinygrad_rnn.layers import GRUCell, Layer
from tinygrad_rnn.nn.recurrent import CellModule
from tinygrad_rnn.rnn import RNNCell

from .layouts.graphviz import settle
from .net.cell_graph import batch_of, dtype_of, on_copy
from .net.layers import Path, gate_of
from .net.measure import Measured, stepwise
from .net.steps import only_weights, state_name
from .net.unfused import opened_maps
from .ops import Facts, common, picture_of
from .scene import legend as legends
from .scene import style
from .scene.manual import ManualLayout
from .scene.picture import Corners, Edge, Node, Picture, Point
from .write.drawing import Drawing

GATES = {
    "f": "forget gate f",
    "i": "input gate i",
    "g": "candidate g",
    "o": "output gate o",
    "z": "update gate z",
    "r": "reset gate r",
    "n": "candidate n",
    "c": "memory c",
    "h": "output h",
}
MOST_NUMBERS = 8  # of a row, where numbers are written in
INSIDE = "inside"  # the id of the frame around a step
POINT, SQUASH, PRODUCT = (26.0, 26.0), (46.0, 28.0), (36.0, 26.0)


def cell(
    target: Any,
    *,
    shapes: bool = True,
    dtypes: bool = False,
    legend: bool = False,
    values: tuple[Any, Any] | None = None,
) -> Drawing:
    """Draw the inside of one step of a cell, op by op, with its gates named.

    An LSTM looks like the well-known diagram: c runs straight through, the gates stand below it; a GRU likewise. Other
    cells are laid out by the Graphviz program. target: a cell of `rnn`, `nn` or `layers`, or a layer of one; it is not
    changed. shapes, dtypes: whether inputs and weights tell theirs. legend: tell what shapes and arrows mean. values: (x,
    state), on which the step is run; every node then shows the numbers of the first row, for cells of up to 8 units.
    Raises TypeError for what is no cell, ValueError for values of another shape, or of a cell too large to be read.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> viz.cell(tg.rnn.LSTMCell(4))
    Drawing(22 nodes, 24 edges)
    >>> cell = tg.rnn.BasicRNNCell(2, seed=0)
    >>> picture = viz.cell(cell, values=([[1.0, 0.0, 0.0]], cell.zero_state(1))).picture
    >>> [node.lines for node in picture.nodes if node.lines[0] in ("xₜ", "hₜ₋₁")]
    [('xₜ', '1  0  0'), ('hₜ₋₁', '0  0')]
    """
    target = as_rnn_cell(target, "cell")
    if values is not None:
        return _with_values(target, values, style.Labels(False, dtypes, legend))
    graph, results = step_graph(target)
    plan = PLANS.get(_signature(graph))
    if plan is None:
        upwards = _stacked(target)  # layers stand on each other, as in every view
        labels = style.Labels(shapes, dtypes, legend)
        return _by_program(picture_of_step(graph, results, labels, "BT" if upwards else "LR"), labels)
    sketch = ManualLayout("cell")
    _Ops(sketch, graph, style.Labels(shapes, dtypes))(plan, style.shown(target.scope_name, 30))
    return Drawing(legends.add(sketch.picture(), None, legend))


def _with_values(target: RNNCell, values: tuple[Any, Any], labels: style.Labels) -> Drawing:
    """The op-level picture with the numbers of the first row of a batch."""
    x = values[0] if isinstance(values[0], Tensor) else Tensor(np.asarray(values[0], dtype_of(target)))
    known: dict[int, Any] = {}

    def run(copied: RNNCell, size: int) -> tuple[Graph, list[tuple[str, Source]]]:
        return _step(copied, size, (x, values[1]), known)

    graph, results = on_copy(target, run)
    widest = max(n.shapes[0][-1] for n in graph.nodes if n.op is None and n.kind == "input")
    if widest > MOST_NUMBERS:
        raise ValueError(
            f"cell: values of {widest} numbers cannot be read, expected at most {MOST_NUMBERS} units and inputs"
        )
    picture = picture_of_step(graph, results, labels, "BT" if _stacked(target) else "LR")
    nodes = []
    for node in picture.nodes:
        assert node.value is not None
        id = node.value.id
        numbers = _numbers(known.get(id), graph.nodes[id].kind == "parameter")
        nodes.append(replace(node, lines=(*node.lines, *numbers)))
    return _by_program(replace(picture, nodes=nodes), labels)


def _numbers(value: Any, whole: bool) -> list[str]:
    """The first row of an array, or all of a matrix of weights that is small enough; of an op with several results none."""
    if value is None or isinstance(value, tuple):
        return []
    rows = np.atleast_1d(value)
    rows = rows.reshape(-1, rows.shape[-1])[: len(rows) if whole and rows.size <= MOST_NUMBERS**2 else 1]
    if rows.shape[-1] > 3 * MOST_NUMBERS or (whole and rows.shape[0] < len(np.atleast_2d(value))):
        return []
    return ["  ".join(f"{number:.3g}".replace("-", "−") for number in row) for row in rows.tolist()]


def as_rnn_cell(target: Any, who: str) -> RNNCell:
    """The cell of `rnn`, `nn` or `layers`, or of a layer, as drivers run it."""
    target = target.cell if isinstance(target, Layer) and hasattr(target, "cell") else target
    target = target.alike() if isinstance(target, (CellModule, GRUCell)) else target
    if not isinstance(target, RNNCell):
        raise TypeError(f"{who}: target is {type(target).__name__}, expected an rnn.RNNCell such as rnn.LSTMCell(64)")
    return target


def step_graph(target: RNNCell) -> tuple[Graph, list[tuple[str, Source]]]:
    """The graph of one step of a copy of a cell, and what it gives out, by name."""
    return on_copy(target, _step)


def _by_program(picture: Picture, labels: style.Labels) -> Drawing:
    """The drawing of a step that the Graphviz program lays out."""
    return Drawing(
        legends.add(picture, None, labels.legend),
        lambda **options: legends.add(settle(picture, **options), None, labels.legend),
    )


def picture_of_step(
    graph: Graph, results: list[tuple[str, Source]], labels: style.Labels, direction: str = "LR"
) -> Picture:
    """The op-level picture with the words of a cell: gates by their names, states by theirs and t, before and after."""
    graph = _inward(graph)
    facts = Facts(graph, labels.shapes, labels.dtypes)
    picture = picture_of(graph, facts, None, True, direction)
    boxes = [replace(box, label=GATES.get(box.label, box.label)) for box in picture.boxes]
    leaves = {f"n{leaf.id}": leaf for leaf in graph.nodes if leaf.op is None and leaf.kind == "input"}
    nodes, edges = [], list(picture.edges)
    for node in picture.nodes:
        role, lines = node.role, node.lines
        if node.id in leaves:
            role, name = _named_leaf(leaves[node.id])
            lines = (name, *node.lines[1:])
        nodes.append(replace(node, role=role, lines=lines, strong=False))
    for name, source in results:
        maker = graph.nodes[source.id]
        lines = (f"{name}ₜ", *labels.of(maker.shapes[source.output], maker.dtypes[source.output]))
        state = "" if name == "y" else name
        nodes.append(Node(f"{name}'", lines, "state" if state else "output", value=source, state=state))
        role = "data" if name == "y" else "memory" if name[:1] == "c" else "state"
        edges.append(Edge(f"n{source.id}", f"{name}'", role))
        if role == "memory":
            line = set(itertools.pairwise(_memory_line(graph, name, source)))
            edges = [replace(edge, role=role) if (edge.tail, edge.head) in line else edge for edge in edges]
    return replace(picture, nodes=nodes, edges=edges, boxes=boxes)


def _memory_line(graph: Graph, name: str, result: Source) -> list[str]:
    """The ids of the nodes on the shortest way of a memory through a step; none where ops on the way mix its elements."""
    work = [[result.id]]
    while work:
        way = work.pop(0)
        node = graph.nodes[way[-1]]
        if node.op is None and node.kind == "input" and node.name == name:
            return [f"n{i}" for i in reversed(way)]
        if node.kind in ("pointwise", "select"):
            work.extend([*way, source.id] for source in node.sources)
    return []


def _inward(graph: Graph) -> Graph:
    """Ops on weights, done ahead for one cell of a stack (x W + b), in the scope of that cell."""
    weights, scopes = only_weights(graph), [node.scope for node in graph.nodes]
    meets: dict[int, Path] = {}  # of who reads a node
    for node in reversed(graph.nodes):
        own, there = scopes[node.id], meets.get(node.id, ())
        there = there[: next((k for k, part in enumerate(there) if part in GATES), None)]
        if node.op is not None and there[: len(own)] == own and any(s.id in weights for s in node.sources):
            scopes[node.id] = there
        for source in node.sources:
            meets[source.id] = common(meets.get(source.id, scopes[node.id]), scopes[node.id])
    return Graph(tuple(n._replace(scope=scope) for n, scope in zip(graph.nodes, scopes, strict=True)), graph.outputs)


def _named_leaf(leaf: NodeInfo) -> tuple[str, str]:
    """The role and the name of an input or state."""
    return ("input", "xₜ") if leaf.name == "x" else ("state", f"{leaf.name}ₜ₋₁")


def _step(
    run: RNNCell, size: int, values: tuple[Any, Any] | None = None, known: dict[int, Any] | None = None
) -> tuple[Graph, list[tuple[str, Source]]]:
    """One step of a cell on inputs named x and the state's parts by their names; and what it gives out, by name.

    The output is called y where it is no state. values: x and the state to run it on; known: takes what each node is then.
    """
    dtype = dtype_of(run)
    random = generator().bit_generator.state
    try:
        run.build(values[0].shape[-1] if values else size, dtype)
        x = Tensor(values[0].data if values else np.zeros((batch_of(run), size), dtype), name="x", requires_grad=True)
        state = run.zero_state(x.shape[0], dtype)
        state = state if values is None else run.check_state(values[1], x.shape[0], x.dtype, "state")
        own = isinstance(state, tuple) and not hasattr(state, "_fields") and not _stacked(run)
        state = _named(state, "s" if own else "h")
        given = [str(part.name) for part in flat_tensors(state)]
        output, after = run(x, state)
        made = [(name, part) for name, part in zip(given, flat_tensors(after), strict=False) if part._node is not None]
        tensors = [output, *(part for _, part in made)]
        if known is None:
            graph = opened_maps(stepwise(tensors))
        else:
            measured = Measured(tensors, "cell", (STEP,), [x, *flat_tensors(state), *run.parameters()])
            graph = measured.graph
            known.update({node.id: measured.value(Source(node.id, 0)) for node in graph.nodes})
    finally:
        generator().bit_generator.state = random
    states = list(zip((name for name, _ in made), graph.outputs[-len(made) :] if made else (), strict=True))
    shown = {**dict(zip(given, given, strict=True)), **(_letters(graph, states) if own else {})}
    leaves = (
        n._replace(kind="input", name=shown.get(n.name or "", n.name))
        if n.op is None and n.name in (x.name, *given)
        else n
        for n in graph.nodes
    )
    results = [(shown[name], source) for name, source in states]
    if len(graph.outputs) > len(made) and graph.outputs[0] not in [source for _, source in states]:
        results.append(("y", graph.outputs[0]))
    return Graph(tuple(leaves), graph.outputs), results


def _stacked(cell: Any) -> bool:
    """Whether a state is one of several cells."""
    while getattr(cell, "cell", None) is not None:
        cell = cell.cell
    return hasattr(cell, "cells")


def _letters(graph: Graph, states: list[tuple[str, Source]]) -> dict[str, str]:
    """Letters of states without names: by their scopes, if these differ, else s1, s2 … in the order they are made."""
    letters = {name: state_name(graph, source) for name, source in states}
    if len(set(letters.values())) < len(letters):
        letters = {name: f"s{k + 1}" for k, (name, _) in enumerate(sorted(states, key=lambda item: item[1]))}
    return letters


def _named(state: Any, name: str) -> Any:
    """The parts of a state with names: c and h, or h; in a stack with the number of the layer; else s1, s2 …"""
    if isinstance(state, tuple):
        plain = [f"{name}{i}" if name != "s" else f"s{i + 1}" for i in range(len(state))]
        names = getattr(state, "_fields", None) or plain
        parts = [_named(s, n if name == "h" else f"{n}{name[1:]}") for s, n in zip(state, names, strict=True)]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return Tensor(state.data, name=name, requires_grad=True)


def _signature(graph: Graph) -> tuple[str, ...]:
    """The ops in order, each with the name of its gate; φ for any activation."""
    ops = [node for node in graph.nodes if node.op is not None]
    return tuple(f"{'φ' if _squashes(node) else node.op} {gate_of(node.scope)}".rstrip() for node in ops)


def _squashes(node: NodeInfo) -> bool:
    """Whether an op is an activation: a function of each element."""
    return node.kind == "pointwise" and len(node.sources) == 1 and node.op != "subtract"


class _Ops:
    """The ops of a step by number, and its leaves by name, to be put and wired."""

    def __init__(self, sketch: ManualLayout, graph: Graph, labels: style.Labels):
        self.sketch, self.graph, self.labels = sketch, graph, labels
        self.ops = [node for node in graph.nodes if node.op is not None]
        self.leaves = {node.name: node for node in graph.nodes if node.op is None}
        self.keys = {node.id: f"o{i}" for i, node in enumerate(self.ops)}
        self.keys.update({node.id: str(name) for name, node in self.leaves.items()})
        self.wired: set[tuple[str, str]] = set()
        self.gates: set[str] = set()  # those that have a frame

    def __call__(self, plan: Plan, title: str) -> None:
        """Draw by a plan; whatever edge it does not speak of goes straight."""
        plan(self, title)
        for node in self.ops:
            for source in node.sources:
                pair = self.keys[source.id], self.keys[node.id]
                if pair not in self.wired:
                    leaf = self.graph.nodes[source.id].op is None
                    weight = leaf and self.graph.nodes[source.id].kind == "parameter"
                    self.wire(*pair, role="weight" if weight else "data")

    def leaf(self, name: str, x: float, y: float) -> None:
        """An input, state or weight."""
        node = self.leaves[name]
        role, shown = ("parameter", name) if node.kind == "parameter" else _named_leaf(node)
        lines = (shown, *self.labels.of(node.shapes[0], node.dtypes[0]))
        box = INSIDE if role == "parameter" else None
        self.sketch.put(name, lines, role, x, y, tip=_tip(node), box=box)

    def op(self, i: int, x: float, y: float, size: tuple[float, float] | None = None, gate: str = "") -> None:
        """An op, by its number, in the frame of this gate or of the one that it makes, if that has one."""
        node = self.ops[i]
        gate = gate or gate_of(node.scope)
        role = "squash" if _squashes(node) else "op"
        if node.op in ("add", "multiply", "subtract"):
            role = "point"
        default = {"squash": SQUASH, "point": POINT}.get(role, PRODUCT)
        label = "1−" if node.op == "subtract" else node.label
        box = gate if gate in self.gates else INSIDE
        self.sketch.put(f"o{i}", label, role, x, y, size or default, _tip(node), box)

    def wire(self, tail: str, head: str, *via: tuple[float, float], role: str = "data") -> None:
        self.wired.add((tail, head))
        self.sketch.wire(tail, head, *via, role=role)

    def result(self, i: int, name: str, x: float, y: float) -> None:
        """What the step gives out."""
        self.sketch.put(f"{name}'", f"{name}ₜ", "state", x, y)
        self.wire(f"o{i}", f"{name}'", role="memory" if name == "c" else "state")

    def gate(self, letter: str, x: float, y: float, below: float = 0.0) -> None:
        """A frame around a gate's op at x, y (and what stands below it), its name on the left."""
        kind, _, name = GATES[letter].partition(" ")
        self.frame(letter, f"{kind}\n{name}", (x - 82, y - 24 - below, x + 30, y + 24), (x - 53, y))

    def inside(self, title: str, corners: Corners) -> None:
        """The frame around all that the step does."""
        self.sketch.frame(INSIDE, title, corners, "inside")

    def frame(self, letter: str, title: str, corners: Corners, title_at: Point | None = None) -> None:
        """A frame around the ops of a gate."""
        self.gates.add(letter)
        self.sketch.frame(letter, title, corners, "gate", INSIDE, title_at)


Plan = Callable[[_Ops, str], None]


def _tip(node: NodeInfo) -> str:
    return f"{node.op or node.kind} {style.shape_text(node.shapes[0])} {node.dtypes[0]}"


def _input_column(s: _Ops, product: int, plus: int, x: float, y: float) -> None:
    """x W + b, upwards to y."""
    s.leaf("x", x, y - 172)
    s.op(product, x, y - 110)
    s.leaf("kernel", x - 96, y - 110)
    s.op(plus, x, y - 56)
    s.leaf("bias", x - 96, y - 56)


def _plain(s: _Ops, title: str) -> None:
    """h' = activation(x W + b + h U)."""
    squash = len(s.ops) > 4
    s.inside(title, (2, -142, 330 if squash else 250, 112))
    _input_column(s, 0, 1, 170, 0)
    s.leaf("h", -60, 0)
    s.op(2, 74, 0)
    s.leaf("recurrent_kernel", 90, 58)
    s.op(3, 170, 0)
    s.wire("h", "o2", role="state")
    if squash:
        s.op(4, 262, 0)
    s.result(4 if squash else 3, "h", 410 if squash else 330, 0)


def _lstm(s: _Ops, title: str) -> None:
    """c straight through on top; f, i, g and o below it; x W + b + h U at the left."""
    s.inside(title, (2, -142, 806, 238))
    columns = {"f": 330.0, "i": 448.0, "g": 566.0, "o": 684.0}
    for number, (letter, x) in zip((6, 5, 7, 8), columns.items(), strict=True):
        s.gate(letter, x, 76)
        s.op(number, x, 76)
    _input_column(s, 0, 1, 170, 0)
    s.leaf("h", -60, 0)
    s.op(2, 74, 0)
    s.leaf("recurrent_kernel", 90, 58)
    s.op(3, 170, 0)
    s.op(4, 507, 0, (402, 24))
    s.wire("h", "o2", role="state")
    s.wire("o3", "o4")
    s.leaf("c", -60, 200)
    s.op(9, 330, 200)
    s.op(10, 507, 144)
    s.op(11, 507, 200)
    s.op(12, 756, 140)
    s.op(13, 756, 76)
    s.wire("c", "o9", role="memory")
    s.wire("o9", "o11", role="memory")
    s.wire("o5", "o10", (448, 144))
    s.wire("o7", "o10", (566, 144))
    s.wire("o11", "o12", (756, 200), role="memory")
    s.result(11, "c", 880, 200)
    s.result(13, "h", 880, 76)


def _gru(s: _Ops, title: str) -> None:
    """h straight through on top; z, r and n below it (the reset gate before the product with h)."""
    s.inside(title, (2, -196, 786, 242))
    s.gate("z", 300, 76)
    s.gate("r", 416, 76)
    s.frame("n", GATES["n"], (508, 34, 750, 104))
    _input_column(s, 0, 1, 170, -54)
    s.op(2, 170, -56, (64, 24))
    s.leaf("h", -60, 204)
    s.op(4, 74, 0)
    s.op(5, 170, 0)
    s.op(6, 358, 0, (170, 24))
    s.leaf("recurrent_kernel", 358, -140)
    s.op(3, 252, -82, (46, 24))
    s.op(10, 464, -82, (46, 24))
    s.op(7, 300, 76)
    s.op(8, 416, 76)
    s.op(9, 416, 160)
    s.op(11, 544, 60, gate="n")
    s.op(12, 624, 60)
    s.op(13, 706, 60)
    s.op(14, 300, 204)
    s.op(15, 580, 160)
    s.op(16, 706, 160)
    s.op(17, 706, 204)
    s.wire("h", "o14", role="state")
    s.wire("h", "o4", (74, 204), role="state")
    s.wire("h", "o9", (74, 204), (74, 160), role="state")
    s.wire("recurrent_kernel", "o3", (252, -140), role="weight")
    s.wire("recurrent_kernel", "o10", (464, -140), role="weight")
    s.wire("o3", "o4", (74, -82), role="weight")
    s.wire("o10", "o11", (544, -82), role="weight")
    s.wire("o2", "o12", (624, -56))
    s.wire("o7", "o15", (300, 124), (580, 124))
    s.wire("o9", "o11", (478, 160), (478, 60))
    s.wire("o14", "o17", role="state")
    s.result(17, "h", 860, 204)


def _gru_reset_after(s: _Ops, title: str) -> None:
    """As `_gru`; the reset gate comes after the product with h, which so has its own bias and serves all three."""
    s.inside(title, (2, -219, 862, 288))
    for letter, x in (("z", 372.0), ("r", 492.0)):
        s.gate(letter, x, 116, below=52)
    s.frame("n", GATES["n"], (536, 34, 832, 104))
    for y, name, bias, first in ((-130, "kernel", "bias", 0), (0, "recurrent_kernel", "recurrent_bias", 3)):
        s.op(first, 118, y)
        s.op(first + 1, 186, y)
        s.op(first + 2, 266, y, (44, 74))
        s.leaf(name, *((38, y) if first == 0 else (112, y + 62)))
        s.leaf(bias, 186, y - 60)
    s.leaf("x", 118, -256)
    s.leaf("h", -60, 250)
    s.wire("h", "o3", (30, 250), (30, 0), role="state")
    for plus, squash, x, y in ((6, 7, 372, 24), (8, 9, 492, 0)):
        s.op(plus, x, 64)
        s.op(squash, x, 116)
        s.wire("o5", f"o{plus}", (x - 7, y))
        s.wire("o2", f"o{plus}", (x + 7, y - 130))
    for number, x, y in ((10, 640, 60), (11, 712, 60), (12, 788, 60), (13, 372, 250), (14, 676, 204), (15, 788, 204)):
        s.op(number, x, y)
    s.op(16, 788, 250)
    s.wire("o5", "o10", (640, -24))
    s.wire("o2", "o11", (712, -154))
    s.wire("o9", "o10", (640, 116))
    s.wire("o7", "o14", (372, 166), (676, 166))
    s.wire("h", "o13", role="state")
    s.wire("o13", "o16", role="state")
    s.result(16, "h", 936, 250)


_GRU_OPS = "matmul,add,split,getitem,matmul,add,split,φ z,φ r,multiply,getitem,matmul,add n,φ n"
_RESET_AFTER_OPS = "matmul,add,split,matmul,add,split,add z,φ z,add r,φ r,multiply n,add n,φ n"
_UPDATE = "multiply h,subtract h,multiply h,add h"
_LSTM_OPS = "matmul,add,matmul,add,split,φ i,φ f,φ g,φ o,multiply c,multiply c,add c,φ h,multiply h"
PLANS: dict[tuple[str, ...], Plan] = {
    tuple(_LSTM_OPS.split(",")): _lstm,
    tuple(f"{_GRU_OPS},{_UPDATE}".split(",")): _gru,
    tuple(f"{_RESET_AFTER_OPS},{_UPDATE}".split(",")): _gru_reset_after,
    **{("matmul", "add h", "matmul", "add h", *last): _plain for last in ((), ("φ h",))},
}
