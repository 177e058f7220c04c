"""What is known of a recorded graph's values and gradients, without running the model again.

An op keeps for its vjp what that needs: inputs, its result. So most values stand in the graph. Those between follow from
them: an op whose inputs are all known is computed again, on plain arrays. What is not known is not shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygrad_rnn.autodiff import engine
from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Source, flat_tensors
from tinygrad_rnn.autodiff.node import Leaf, Node
from tinygrad_rnn.autodiff.tensor import Tensor
from tinygrad_rnn.errors import GraphError

from .. import style
from ..flow import Sweep
from ..opened import Opening, open_all, open_live, take

Rows = list[tuple[str, str]]
Known = dict[Source, Any]
NOTHING = "nothing"  # a kind that no op is of
FIRST = 4  # numbers of an array that are shown


@dataclass
class Found:
    """A graph, and by the ids of its drawn nodes: rows of words and texts, norms of value and gradient."""

    graph: Graph
    rows: dict[str, Rows] = field(default_factory=dict)
    norms: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)


def read(target: Any, opened: bool, given: Any = ()) -> Found:
    """The graph of `target`, with fused recurrent ops opened if so asked, and what is known of every node."""
    graph, live, openings, sweep = _graph(target, opened)
    known = _values(target, graph, live, openings, given)
    gradients = _gradients(target, live, sweep)
    found = Found(graph)
    for node in graph.nodes:
        id = f"n{node.id}"
        values = [known.get(Source(node.id, k)) for k in range(len(node.shapes))]
        parts = gradients.get(node.id)
        grads = parts if isinstance(parts, list) else [parts]
        grads += [None] * (len(values) - len(grads))
        found.rows[id] = _rows(node, values, grads)
        found.norms[id] = _norm(values[0]), _norm(grads[0])
    return found


def _graph(target: Any, opened: bool) -> tuple[Graph, dict[int, Node | Leaf], list[Opening], Sweep | None]:
    """The graph to show, the recorded nodes by id where they are at hand, what was opened on its values, and a sweep."""
    if isinstance(target, Graph):
        return (open_all(target, "recurrent") if opened else take(target)), {}, [], None
    if opened:
        try:
            sweep = Sweep(target)
            return sweep.found.graph, sweep.owners, sweep.openings, sweep
        except GraphError:  # freed: opened on zeros, which are no values
            return open_all(target, "recurrent"), {}, [], None
        except ValueError:  # no time steps, so nothing recurrent to open
            pass
    return *open_live(target, NOTHING), None


def _values(
    target: Any, graph: Graph, live: dict[int, Node | Leaf], openings: list[Opening], given: Any
) -> dict[Source, Any]:
    """The arrays that are known, by where they were made."""
    if not live:
        return {}
    known: Known = {}
    for opening in openings:  # a fused op keeps all its inputs
        inputs = [v for v, p in zip(opening.node.saved, opening.node.parents, strict=False) if p is not None]
        known.update(zip(opening.sources, inputs, strict=True))
    ids = {node.counter: i for i, node in live.items()}
    for tensor in flat_tensors(list(given)):
        if isinstance(tensor._node, Leaf) and tensor._node.counter in ids:
            known[Source(ids[tensor._node.counter], 0)] = tensor.data
    recorded = [t for t in flat_tensors(target) if t._node is not None]
    known.update((source, t.data) for source, t in zip(graph.outputs, recorded, strict=True))
    for info in graph.nodes:
        node = live.get(info.id)
        if isinstance(node, Node) and node.saved is not None:
            _kept(info, node, known)
    for info in graph.nodes:
        node = live.get(info.id)
        if isinstance(node, Node) and Source(info.id, 0) not in known:
            _again(info, node, known)
    return known


def _kept(info: NodeInfo, node: Node, known: Known) -> None:
    """What one node keeps: inputs, and its own result."""
    inputs = iter(info.sources)
    sources = [None if parent is None else next(inputs) for parent in node.parents]
    op = node.op
    codes = (*op.saved_codes, *range(len(sources))) if op.saves_all else op.saved_codes
    for code, value in zip(codes, node.saved, strict=False):
        source = sources[code] if code >= 0 else None
        if source is not None:
            known.setdefault(source, value)
        elif code == -1:
            parts = value if op.several else (value,)
            known.update((Source(info.id, k), part) for k, part in enumerate(parts))


def _again(info: NodeInfo, node: Node, known: Known) -> None:
    """Compute an op from its inputs, if all of them are known. Ops are pure: the same inputs give the same result."""
    if None in node.parents or not all(source in known for source in info.sources):
        return
    out = node.op.forward(*[known[source] for source in info.sources], **node.options)
    parts = out if node.op.several else (out,)
    known.update((Source(info.id, k), part) for k, part in enumerate(parts))


def _gradients(target: Any, live: dict[int, Node | Leaf], sweep: Sweep | None) -> dict[int, Any]:
    """The gradient of a loss at every node, by id; of a node with several results a list. Empty where there is no loss."""
    if not isinstance(target, Tensor) or target.shape != () or not live:
        return {}
    edge, seed = target._seed(None, "to_html")
    seen: dict[int, Any] = {}
    ids = {node.counter: i for i, node in live.items()}

    def observe(node: Node | Leaf, g: Any) -> None:
        if node.counter in ids:
            seen[ids[node.counter]] = list(g) if isinstance(g, list) else np.array(g)

    try:
        if sweep is not None:
            return sweep(edge, seed)
        engine.sweep([(edge, seed)], retain=True, observe=observe)
    except GraphError:  # freed
        return {}
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
