"""What the page tells of every node: its shape, its value and its gradient where the graph still knows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_rnn.autodiff import engine
from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, flat_tensors, unfuse
from tinygrad_rnn.autodiff.node import Leaf, Node

from .. import style
from ..live import Values, nodes_of
from ..opened import open_all, take

Rows = list[tuple[str, str]]
FIRST = 4  # numbers of an array that are shown


@dataclass
class Found:
    """A graph, and by the ids of its drawn nodes: rows of words and texts, norms of value and gradient."""

    graph: Graph
    rows: dict[str, Rows] = field(default_factory=dict)
    norms: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)


def read(target: Any, opened: bool, given: Any = ()) -> Found:
    """The graph of `target`, with fused recurrent ops opened if so asked, and what is known of every node."""
    if isinstance(target, Graph):
        found = Found(open_all(target, "recurrent") if opened else take(target))
        nodes, values, gradients = [], None, {}
    else:
        freed = any(isinstance(node, Node) and node.saved is None for node in nodes_of(target))
        shown = unfuse(target, "recurrent") if opened else target
        found, nodes = Found(take(shown)), nodes_of(shown)
        values = None if freed else Values(shown, given)
        gradients = {} if freed else _gradients(shown, nodes)
    for node in found.graph.nodes:
        id, count = f"n{node.id}", len(node.shapes)
        known = [None if values is None else values(nodes[node.id], k) for k in range(count)]
        parts = gradients.get(node.id)
        grads = parts if isinstance(parts, list) else [parts]
        grads += [None] * (count - len(grads))
        found.rows[id] = _rows(node, known, grads)
        found.norms[id] = _norm(known[0]), _norm(grads[0])
    return found


def _gradients(shown: Any, nodes: list[Node | Leaf]) -> dict[int, Any]:
    """The gradient of a loss at every node, by id; of a node with several results a list. Empty where there is no loss."""
    tensors = list(flat_tensors(shown))
    if len(tensors) != 1 or tensors[0].shape != ():
        return {}
    edge, seed = tensors[0]._seed(None, "to_html")
    seen: dict[int, Any] = {}
    ids = {node.counter: i for i, node in enumerate(nodes)}

    def observe(node: Node | Leaf, g: Any) -> None:
        seen[ids[node.counter]] = list(g) if isinstance(g, list) else np.array(g)

    engine.sweep([(edge, seed)], retain=True, observe=observe)
    return seen


def _rows(node: NodeInfo, values: list[Any], grads: list[Any]) -> Rows:
    """What the page tells of a node."""
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
    if array.size == 1:
        return f"{array.item():.4g}" if array.dtype != bool else str(array.item())
    bad = int(array.size - np.isfinite(array).sum())
    warning = f"; {bad} not finite" if bad else ""
    with np.errstate(all="ignore"):
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
