"""What a recorded graph tells of its run: the values, gradients and times of its results, and the lengths of its rows."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_rnn.autodiff import engine
from tinygrad_rnn.autodiff.graph import Graph, Source, flat_tensors, reachable, unfuse
from tinygrad_rnn.autodiff.node import Edge, Leaf, Node, Output
from tinygrad_rnn.errors import GraphError

from .layers import Path, time_of
from .sequences import sequence_of
from .states import values_of
from .steps import Net, read
from .unfused import STEPWISE, take

Array = npt.NDArray[Any]
Key = tuple[int, int]  # a node's counter, and which of its results
MOST_RUNS, MOST_SECONDS = 5, 0.05  # how often an op is timed, and after how many seconds that will do


class Measured:
    """The values, gradients and times of a recorded graph.

    target: tensors, of which fused ops of these `kinds` are opened on their values. `graph` is the snapshot, whose
    ids name nodes in all methods; `nodes` are the recorded nodes in their order, `net` its layers and time steps.
    others: tensors that may stand in the graph as leaves, whose values are then known, too. constants: what opened ops
    compute from constants alone stands in the graph, too.

    A value is known where an op kept it for its derivative: its own, or one that reads it; else it is computed again from
    what is known. Raises TypeError where nothing was recorded, GraphError where a backward pass has freed the graph.
    """

    def __init__(
        self,
        target: Any,
        who: str,
        kinds: tuple[str, ...] | None = STEPWISE,
        others: Any = (),
        constants: bool = False,
    ):
        if not any(True for _ in flat_tensors(target)):
            came = type(target).__name__
            raise TypeError(f"{who}: target is {came}, expected what a run computed: outputs, a state, a loss")
        if was_freed(target):
            raise GraphError(
                f"{who}: the graph was freed by a backward pass. Call this (or draw) before backward, or keep the graph "
                "with backward(retain_graph=True)"
            )
        self.who, self._type = who, type(target).__name__
        self.tensors = unfuse(target, kinds, constants=constants)
        self.graph: Graph = take(self.tensors)
        self.nodes = nodes_of(self.tensors)
        self._known: dict[Key, Any] = {}
        self._unknown: set[Key] = set()
        self._gradients: dict[int, Any] = {}
        ops = [node for node in (*nodes_of(target), *self.nodes) if isinstance(node, Node)]
        for node in ops:  # those of the target, too: a fused op that was opened kept its inputs
            for code, value in _saved(node):
                parent = node.parents[code] if code >= 0 else None
                if parent is not None:
                    self._known[_key(parent)] = value
                elif code == -1:
                    self._store(node, value)
        self._known.update((_key(t._node), t.data) for t in flat_tensors((self.tensors, others)) if t._node is not None)

    @cached_property
    def net(self) -> Net:
        """Layers and steps. Raises ValueError if the graph has none."""
        return read(self.graph, self.who)

    # -- values ------------------------------------------------------------------------------------------------------

    def value(self, source: Source) -> Any:
        """The value of a result; None where the graph does not hold it."""
        return self._value(self.nodes[source.id], source.output)

    def _value(self, node: Node | Leaf, output: int) -> Any:
        work = [(node, output)]
        while work:
            one, index = work[-1]
            key = one.counter, index
            if self._is_resolved(key):
                work.pop()
                continue
            unsaved = _unsaved(one) if isinstance(one, Node) else []
            further = [_split(p) for p in unsaved if p is not None and not self._is_resolved(_key(p))]
            if further:
                work.extend(further)
            elif isinstance(one, Leaf) or any(p is None or _key(p) in self._unknown for p in unsaved):
                self._unknown.add(key)  # a leaf that no op kept, a plain number, or what is computed from them
            else:
                self._store(one, one.op.forward(*self._inputs(one), **one.options))
        return self._known.get((node.counter, output))

    def _inputs(self, node: Node) -> list[Any]:
        """The values that an op read; None for those that are not known."""
        kept = dict(_saved(node))
        parents = enumerate(node.parents)
        return [kept[i] if i in kept else None if p is None else self._known.get(_key(p)) for i, p in parents]

    def _is_resolved(self, key: Key) -> bool:
        return key in self._known or key in self._unknown

    def _store(self, node: Node, value: Any) -> None:
        for k, part in enumerate(value if node.op.several else (value,)):
            self._known[node.counter, k] = np.asarray(part)

    # -- times -------------------------------------------------------------------------------------------------------

    def seconds(self, id: int) -> float | None:
        """The median time of an op's forward, run again by itself as it ran (with what it keeps for backward); None of a
        leaf. It runs on the recorded values; what the graph does not hold is 0.5 everywhere, of the recorded shape."""
        node = self.nodes[id]
        if isinstance(node, Leaf):
            return None
        for parent in _unsaved(node):
            if parent is not None:
                self._value(*_split(parent))
        inputs, kept = self._inputs(node), dict(_saved(node))
        for i, parent in enumerate(node.parents):
            if inputs[i] is None and i not in kept:
                inputs[i] = 0.5 if parent is None else np.full(parent.shape, 0.5).astype(parent.dtype)
        options = {**node.options, "keep": True} if node.op.residuals else node.options
        times: list[float] = []
        with np.errstate(all="ignore"):
            while len(times) <= MOST_RUNS and (len(times) < 2 or sum(times) < MOST_SECONDS):
                begin = time.perf_counter()
                node.op.forward(*inputs, **options)
                times.append(time.perf_counter() - begin)
        return float(np.median(times[1:]))  # the first run warms the caches

    # -- gradients ---------------------------------------------------------------------------------------------------

    def sweep(self, grad: Any = None) -> None:
        """Take the gradient of the target, a loss, or a tensor with its cotangent; no `.grad` changes."""
        if len(self.tensors) != 1:
            raise TypeError(f"{self.who}: gradients need a loss, not {self._type}")
        ids = {node.counter: i for i, node in enumerate(self.nodes)}
        seen: dict[int, Any] = {}

        def observe(node: Node | Leaf, g: Any) -> None:
            seen[ids[node.counter]] = g

        engine.sweep([self.tensors[0]._seed(grad, self.who)], retain=True, observe=observe)
        self._gradients = seen

    def gradient(self, source: Source) -> Any:
        """The gradient that arrived at a result; None where none did."""
        g = self._gradients.get(source.id)
        return g[source.output] if isinstance(g, list) else g

    def state_gradient(self, source: Source) -> Any:
        """The gradient at a state after a step; None where none arrived.

        Where some rows have ended, the step selects between the state it computed and the one it got. For the rows that
        run, the gradient is taken at the computed state, which the step's output reads, too.
        """
        node, g = self.graph.nodes[source.id], self.gradient(source)
        step = self.net.step_of.get(source.id)
        computed = [s for s in node.sources if step is not None and self.net.step_of.get(s.id) == step]
        if node.effect != "selects" or len(computed) != 1:
            return g
        fresh = self.state_gradient(computed[0])
        if g is None or fresh is None:
            return fresh if g is None else g
        recorded: Any = self.nodes[source.id]
        return np.where(recorded.saved[0], fresh, g)

    # -- over time ---------------------------------------------------------------------------------------------------

    @cached_property
    def named(self) -> list[dict[str, list[Source | None]]]:
        """For each layer its gates and states by name: where they are at each step."""
        return [values_of(self.net, number) for number in range(len(self.net.layers))]

    def layer(self, name: str, number: int | None) -> int:
        """The layer meant: the one of this number, else the top one that has a value of this name."""
        count = len(self.named)
        if number is not None and not -count <= number < count:
            raise ValueError(f"{self.who}: layer is {number}, expected less than {count}, the number of layers")
        numbers = range(count) if number is None else [number % count]
        wanted = [n for n in numbers if name in self.named[n]]
        if not wanted:
            known = ", ".join(sorted({name for named in self.named for name in named})) or "none"
            which = "no layer has" if number is None else f"layer {number} does not have"
            raise ValueError(f"{self.who}: {which} {name!r}, expected one of {known}")
        return wanted[-1]

    def lengths(self, number: int) -> Any:
        """The lengths of the rows of a layer; None where all rows have all steps."""
        return next((run.lengths for run in self.net.layers[number].runs if run.lengths is not None), None)

    def over_time(self, number: int, name: str, gradient: bool = False) -> Array:
        """A gate or state of a layer, or after `sweep` the gradient there, (B, T, H) in order of time; NaN past a row's
        length and where it is not known."""
        layer = self.net.layers[number]
        parts: list[Any] = [
            None if s is None else self._gradient_or_zero(s) if gradient else self.value(s)
            for s in self.named[number][name]
        ]
        shapes = {np.shape(part) for part in parts if part is not None}
        if len(shapes) != 1 or len(next(iter(shapes))) < 2:
            raise ValueError(f"{self.who}: {name!r} has shapes {sorted(shapes)}, expected one (B, ·) at every step")
        shape = shapes.pop()
        values = np.full((shape[0], len(parts), *shape[1:]), np.nan)
        lengths = self.lengths(number)
        lengths = np.full(shape[0], len(parts)) if lengths is None or len(lengths) != shape[0] else lengths
        for k, part in enumerate(parts):
            for row in np.flatnonzero(lengths > k) if part is not None else ():
                values[row, lengths[row] - 1 - k if layer.backward else k] = part[row]
        return values

    def _gradient_or_zero(self, source: Source) -> Array:
        g = self.state_gradient(source)
        return np.zeros(self.graph.nodes[source.id].shapes[source.output]) if g is None else np.asarray(g)


def nodes_of(target: Any) -> list[Node | Leaf]:
    """The recorded nodes behind tensors, in the order of their snapshot's ids."""
    return [node for _, node in sorted(reachable([t._node for t in flat_tensors(target) if t._node]).items())]


def was_freed(target: Any) -> bool:
    """Whether a backward pass has freed the values."""
    return any(isinstance(node, Node) and node.saved is None for node in nodes_of(target))


def _saved(node: Node) -> list[tuple[int, Any]]:
    """What a node kept for its derivative: input i, or -1 for its result, with the value."""
    origins = node.op.origins(len(node.parents))
    return [(origin, value) for origin, value in zip(origins, node.saved or (), strict=False) if origin >= -1]


def _unsaved(node: Node) -> list[Edge | None]:
    """The inputs that an op itself has not kept."""
    kept = dict(_saved(node))
    return [p for i, p in enumerate(node.parents) if i not in kept]


def _split(edge: Edge) -> tuple[Node | Leaf, int]:
    return (edge.node, edge.index) if isinstance(edge, Output) else (edge, 0)


def _key(edge: Edge) -> Key:
    node, index = _split(edge)
    return node.counter, index


Lengths = dict[tuple[int, ...], Any]


def lengths_of(target: Any) -> Lengths:
    """The lengths of the rows of each run over time that has any, by the scopes around it."""
    lengths: Lengths = {}
    for node in [] if isinstance(target, Graph) else nodes_of(target):
        if isinstance(node, Leaf):
            continue
        sequence, time = sequence_of(node), time_of(node.scope)
        if sequence is not None and sequence.lengths is not None:
            lengths[scope_key(node.scope)] = sequence.lengths
        if time is not None and time.step.run is not None and time.step.run.lengths is not None:
            lengths[scope_key(time.outer)] = time.step.run.lengths
    return lengths


def scope_key(path: Path) -> tuple[int, ...]:
    """What tells the scopes around a run from those around another: each is an object of its own."""
    return tuple([id(part) for part in path if part])
