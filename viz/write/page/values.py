"""What the page shows of a recorded graph's nodes: shapes, and the values and gradients that are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.autodiff.graph import STEP, Graph, NodeInfo, Source

from ...net.layers import layer_names, times_of
from ...net.measure import Measured, nodes_of, was_freed
from ...net.states import states_of
from ...net.unfused import STEPWISE, open_all, take
from ...scene import style

Rows = list[tuple[str, str]]
FIRST = 4  # numbers of an array that are shown


class State(NamedTuple):
    """A state after a step: its column in time, name and result, and the norms of its value and gradient."""

    step: int
    name: str
    value: Source
    norm: float | None
    gradient: float | None


@dataclass
class Details:
    """A graph; by the ids of its nodes rows of words and texts; and its states in order of time."""

    graph: Graph
    rows: list[Rows]
    states: list[State] = field(default_factory=list)


def read(target: Any, opened: bool, others: Any = ()) -> Details:
    """The graph of `target`, with fused recurrent ops opened if so asked, and what is known of every node.

    A Graph holds no values, and one that was freed by a backward pass none that are to be relied on.
    """
    if isinstance(target, Graph) or was_freed(target) or not nodes_of(target):
        graph = open_all(target, STEPWISE, constants=False) if opened else take(target)
        nothing = [[None] * len(info.shapes) for info in graph.nodes]
        return Details(graph, [_rows(info, none, none) for info, none in zip(graph.nodes, nothing, strict=True)])
    with np.errstate(all="ignore"):  # what was no number in the run is none here
        measured = Measured(target, "to_html", STEPWISE if opened else (STEP,), others)
        if [t.shape for t in measured.tensors] == [()]:
            measured.sweep()
        rows = []
        for info in measured.graph.nodes:
            results = [Source(info.id, k) for k in range(len(info.shapes))]
            rows.append(_rows(info, list(map(measured.value, results)), list(map(measured.gradient, results))))
        return Details(measured.graph, rows, list(_states(measured)))


def _states(measured: Measured) -> Iterator[State]:
    """The states of all layers at all steps; with the layer's name where another layer has a state of the same name."""
    if not any(times_of(measured.graph)):
        return
    net = measured.net
    states = [states_of(net, number) for number in range(len(net.layers))]
    names = layer_names(net.layers)
    for number, own in enumerate(states):
        for name, sources in own.items():
            shared = sum(name in other for other in states) > 1
            title = f"{name} in {names[number]}" if shared else name
            for t, source in zip(net.layers[number].steps, sources, strict=True):
                if source is not None:
                    norms = _norm(measured.value(source)), _norm(measured.state_gradient(source))
                    yield State(t, title, source, *norms)


def _rows(node: NodeInfo, values: list[Any], grads: list[Any]) -> Rows:
    """What the page shows of a node."""
    rows: Rows = [("op", node.op or node.kind)]
    if node.name:
        rows.append(("name", style.shown(node.name, 200)))
    if node.scope:
        rows.append(("scope", style.shown("/".join(node.scope), 200)))
    several = len(node.shapes) > 1
    for k, (shape, dtype, value, grad) in enumerate(zip(node.shapes, node.dtypes, values, grads, strict=True)):
        if k == FIRST and len(node.shapes) > FIRST + 1:
            rows.append(("…", f"{len(node.shapes) - FIRST} more results"))
            break
        rows.append((f"result {k}" if several else "shape", f"{style.shape_text(shape)} {dtype}"))
        rows += [] if value is None else [("value", _summary(value)), *([] if several else _first(value))]
        if grad is not None:
            rows.append(("gradient", f"norm {_norm(grad)}"))
            rows += [] if several or np.size(grad) < 2 else [("", _summary(grad))]
    rows.append(("bytes", f"{node.bytes:,}"))
    rows += [(key, style.shown(str(value), 80)) for key, value in sorted(node.options.items())]
    return rows


def _summary(value: Any) -> str:
    """Least, mean and greatest of an array."""
    array = np.asarray(value)
    if array.size == 0:
        return "empty"
    if array.dtype == bool:
        return f"{int(array.sum())} of {array.size} true"
    if array.size == 1:
        return f"{array.item():.4g}"
    bad = int(array.size - np.isfinite(array).sum())
    warning = f"; {bad} not finite" if bad else ""
    mean = array.mean(dtype=np.float64)
    return f"{array.min():.3g} … {array.max():.3g}, mean {mean:.3g}{warning}"


def _first(value: Any) -> Rows:
    """The first few numbers of an array."""
    array = np.asarray(value)
    if array.size < 2:
        return []
    few = ", ".join(f"{n:.4g}" for n in array.flat[:FIRST].tolist())
    return [("first", few + (", …" if array.size > FIRST else ""))]


def _norm(value: Any) -> float | None:
    """The norm of an array, to four digits; None where it is not known or no number."""
    if value is None or np.asarray(value).dtype.kind not in "fiub":
        return None
    norm = float(np.linalg.norm(np.asarray(value, np.float64)))
    return float(f"{norm:.4g}") if np.isfinite(norm) else None
