"""What a recorded graph still holds beside its shape: the values of its results, who still runs, how long an op takes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_rnn.autodiff.graph import STEP, Graph, flat_tensors, reachable, unfuse
from tinygrad_rnn.autodiff.node import Edge, Leaf, Node, Output
from tinygrad_rnn.errors import GraphError

from .sequences import sequence_of

Key = tuple[int, int]  # a node's counter, and which of its results
RUNS, ENOUGH = 5, 0.05  # how often an op is timed, and after how many seconds that will do


def nodes_of(target: Any) -> list[Node | Leaf]:
    """The recorded nodes behind tensors, in the order of their snapshot's ids."""
    return [node for _, node in sorted(reachable([t._node for t in flat_tensors(target) if t._node]).items())]


def stepwise(target: Any) -> Any:
    """The target with the single steps of cells in its graph opened into primitives; itself where there are none."""
    if isinstance(target, Graph) or not any(isinstance(n, Node) and n.op.kind == STEP for n in nodes_of(target)):
        return target
    return unfuse(target, (STEP,))


def refuse_freed(target: Any, who: str) -> None:
    """Raise GraphError if a backward pass has freed the values."""
    if any(isinstance(node, Node) and node.saved is None for node in nodes_of(target)):
        raise GraphError(
            f"{who}: the graph was freed by a backward pass. Call this (or draw) before backward, or keep the graph with "
            "backward(retain_graph=True)"
        )


class Values:
    """The values of a graph's results.

    A result is known where an op kept it for its derivative: its own, or one that reads it; else it is computed again
    from what is known. `given`: tensors that may stand in the graph as leaves, whose values are then known too.
    """

    def __init__(self, target: Any, given: Any = ()):
        self.known: dict[Key, Any] = {}
        self.lost: set[Key] = set()
        for node in nodes_of(target):
            if isinstance(node, Node):
                for code, value in _kept(node):
                    parent = node.parents[code] if code >= 0 else None
                    if parent is not None:
                        self.known[_key(parent)] = value
                    elif code == -1:
                        self._store(node, value)
        self.known.update((_key(t._node), t.data) for t in flat_tensors((target, given)) if t._node is not None)

    def __call__(self, node: Node | Leaf, output: int = 0) -> Any:
        """The value of a leaf, or of one of an op's results; None where the graph does not tell it."""
        work = [(node, output)]
        while work:
            one, index = work[-1]
            key = one.counter, index
            if self._settled(key):
                work.pop()
                continue
            unkept = self._unkept(one) if isinstance(one, Node) else []
            further = [_split(p) for p in unkept if p is not None and not self._settled(_key(p))]
            if further:
                work.extend(further)
            elif isinstance(one, Leaf) or any(p is None or _key(p) in self.lost for p in unkept):
                self.lost.add(key)  # a leaf that no op kept, a plain number, or what is made of them
            else:
                self._store(one, one.op.forward(*self.inputs(one), **one.options))
        return self.known.get((node.counter, output))

    def inputs(self, node: Node) -> list[Any]:
        """The values that an op read; None for those that are not known."""
        kept = dict(_kept(node))
        parents = enumerate(node.parents)
        return [kept[i] if i in kept else None if p is None else self.known.get(_key(p)) for i, p in parents]

    def _settled(self, key: Key) -> bool:
        return key in self.known or key in self.lost

    def _unkept(self, node: Node) -> list[Edge | None]:
        """The inputs that the op itself has not kept."""
        kept = dict(_kept(node))
        return [p for i, p in enumerate(node.parents) if i not in kept]

    def _store(self, node: Node, value: Any) -> None:
        for k, part in enumerate(value if node.op.several else (value,)):
            self.known[node.counter, k] = np.asarray(part)

    def seconds(self, node: Node) -> float:
        """The median time of an op's forward, run again by itself as it ran (with what it keeps for backward).

        It runs on the recorded values; what the graph does not hold is 0.5 everywhere, of the recorded shape.
        """
        for parent in self._unkept(node):
            if parent is not None:
                self(*_split(parent))
        inputs, kept = self.inputs(node), dict(_kept(node))
        for i, parent in enumerate(node.parents):
            if inputs[i] is None and i not in kept:
                inputs[i] = 0.5 if parent is None else np.full(parent.shape, 0.5).astype(parent.dtype)
        options = {**node.options, "keep": True} if node.op.keeps else node.options
        times: list[float] = []
        with np.errstate(all="ignore"):
            while len(times) <= RUNS and (len(times) < 2 or sum(times) < ENOUGH):
                begin = time.perf_counter()
                node.op.forward(*inputs, **options)
                times.append(time.perf_counter() - begin)
        return float(np.median(times[1:]))  # the first run warms the caches


def _kept(node: Node) -> list[tuple[int, Any]]:
    """What a node kept for its derivative: input i, or -1 for its result, with the value."""
    op = node.op
    codes = (*op.saved_codes, *range(len(node.parents))) if op.saves_all else op.saved_codes
    return [(code, value) for code, value in zip(codes, node.saved or (), strict=False) if code >= -1]


def _split(edge: Edge) -> tuple[Node | Leaf, int]:
    return (edge.node, edge.index) if isinstance(edge, Output) else (edge, 0)


def _key(edge: Edge) -> Key:
    node, index = _split(edge)
    return node.counter, index


def running(target: Any) -> dict[int, npt.NDArray[np.bool_]]:
    """For each step at which some rows are past their length: which rows still run. Empty if not known."""
    found: dict[int, npt.NDArray[np.bool_]] = {}
    for node in [] if isinstance(target, Graph) else nodes_of(target):
        if not isinstance(node, Node):
            continue
        sequence = sequence_of(node)
        if sequence is not None and sequence.lengths is not None:
            found.update((t, np.asarray(sequence.lengths) > t) for t in range(sequence.steps))
        elif node.op.work.effect == "selects" and node.saved:
            times = [part.number for part in node.scope if part.kind == "step"]
            mask, read = node.saved[0], node.parents[0]  # a mask that has a name is one that a cell drew
            unnamed = read is None or read.name is None
            if times and unnamed and getattr(mask, "ndim", 0) == 2 and mask.shape[1] == 1 and mask.dtype == bool:
                found[times[0]] = mask[:, 0]
    return {t: rows for t, rows in sorted(found.items()) if not rows.all()}
