"""The cell view: the inside of one step, op by op, its gates named. The ops are those the cell records when it runs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_rnn.autodiff.graph import Graph, Source
from tinygrad_rnn.autodiff.tensor import Tensor
from tinygrad_rnn.layers import GRUCell, Layer
from tinygrad_rnn.nn.recurrent import CellModule
from tinygrad_rnn.rnn import RNNCell

from .layouts.cells import GATES, diagram, named_leaf
from .layouts.graphviz import with_layout
from .net.cell_graph import Result, dtype_of, is_stacked, step_graph
from .net.layers import Path, common
from .net.steps import only_weights
from .ops import Facts, picture_of
from .scene import legend as legends
from .scene import style
from .scene.picture import Edge, Node, Picture
from .write.drawing import Drawing

MOST_NUMBERS = 8  # of a row, where numbers are written in


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
    graph, results, _ = step_graph(target)
    picture = diagram(graph, style.Labels(shapes, dtypes), style.shown(target.scope_name, 30))
    if picture is None:
        upwards = is_stacked(target)  # layers stand on each other, as in every view
        labels = style.Labels(shapes, dtypes, legend)
        return _by_program(picture_of_step(graph, results, labels, "BT" if upwards else "LR"), labels)
    return Drawing(legends.add(picture, None, legend))


def _with_values(target: RNNCell, values: tuple[Any, Any], labels: style.Labels) -> Drawing:
    """The op-level picture with the numbers of the first row of a batch."""
    x = values[0] if isinstance(values[0], Tensor) else Tensor(np.asarray(values[0], dtype_of(target)))
    graph, results, known = step_graph(target, (x, values[1]))
    widest = max(n.shapes[0][-1] for n in graph.nodes if n.op is None and n.kind == "input")
    if widest > MOST_NUMBERS:
        raise ValueError(
            f"cell: values of {widest} numbers cannot be read, expected at most {MOST_NUMBERS} units and inputs"
        )
    picture = picture_of_step(graph, results, labels, "BT" if is_stacked(target) else "LR")
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


def _by_program(picture: Picture, labels: style.Labels) -> Drawing:
    """The drawing of a step that the Graphviz program lays out."""
    return Drawing(
        legends.add(picture, None, labels.legend),
        lambda **options: legends.add(with_layout(picture, **options), None, labels.legend),
    )


def picture_of_step(graph: Graph, results: list[Result], labels: style.Labels, direction: str) -> Picture:
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
            role, name = named_leaf(leaves[node.id])
            lines = (name, *node.lines[1:])
        nodes.append(replace(node, role=role, lines=lines, strong=False))
    for name, source, role in results:
        maker = graph.nodes[source.id]
        lines = (f"{name}ₜ", *labels.of(maker.shapes[source.output], maker.dtypes[source.output]))
        state = "" if role == "data" else name
        nodes.append(Node(f"{name}'", lines, "state" if state else "output", value=source, state=state))
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
