"""What each step of a layer reads, and the gradient at it, in order of time.

The gradient is taken at what a step itself reads: a driver cuts the inputs into steps. Where a layer multiplies the inputs
of all steps by its kernel at once and cuts the product, it is taken at what was multiplied.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_rnn import ops
from tinygrad_rnn.autodiff.graph import NodeInfo, Source

from .layers import Step
from .measure import Measured
from .steps import hoisted, passes

Array = npt.NDArray[Any]


class _Cut(NamedTuple):
    """Where a layer's input was cut into steps: the `unstack`, what was multiplied before, what was reversed and how."""

    id: int
    multiplied: Source | None
    reversals: list[int]  # ids of the ops in between that reverse time
    lengths: Any  # by which rows were reversed


class LayerInputs:
    """What a layer of a measured net reads over time."""

    def __init__(self, measured: Measured, number: int):
        self.measured, self.net, self.number = measured, measured.net, number
        self.recorded, self.nodes, self.layer = measured.nodes, measured.graph.nodes, measured.net.layers[number]
        self.others: dict[int, bool] = {}  # by a value's node: whether it is made of what another layer computed
        reads = [self._reads((number, t)) for t in self.layer.steps]
        self.sources = [r[0] for r in reads] if all(len(r) == 1 for r in reads) else None
        self.cut = self._cut()

    def gradient(self) -> Array | None:
        """The gradient of the last sweep at x_t, (T, B, D), by step in order of time; None where it is not known."""
        if self.sources is None:
            return None
        if self.cut is not None and self.cut.multiplied is not None:
            parts = self._before_the_cut(self.cut, self.cut.multiplied)
        else:
            parts = [self._at(source) for source in self.sources]
        return None if len({part.shape for part in parts}) > 1 else self.in_time(np.stack(parts))

    def in_time(self, values: Array) -> Array:
        """Values by step of running, (T, B, …), in order of time: what a backward layer did first comes last."""
        lengths = self.cut.lengths if self.cut is not None else None
        if self.layer.backward and lengths is not None and values.ndim > 1 and values.shape[1] == len(lengths):
            in_order: Array = ops.reverse_sequence(values, lengths=lengths, time_axis=0)
            return in_order
        return values[sorted(range(len(values)), key=lambda i: self.layer.column(self.layer.steps[i]))]

    # -- what is read ------------------------------------------------------------------------------------------------

    def _reads(self, step: Step) -> list[Source]:
        """What a step reads that is no state, no weight and no other layer's: arrays over time after they were cut."""
        readers: dict[Source, list[int]] = {}
        for i in self.net.places[step[0]][step[1]]:
            for source in self.nodes[i].sources:
                readers.setdefault(source, []).append(i)
        work = [s for s in self.net.feeds.get(step, ()) if self.recorded[s.id].requires_grad]
        read: dict[Source, None] = {}
        while work:
            source = work.pop()
            for i in readers.get(source, ()):
                node, long = self.nodes[i], len(self.nodes[source.id].shapes[source.output]) > 2
                if long and passes(node) and len(node.sources) == 1:
                    work.extend(Source(i, k) for k in range(len(node.shapes)))
                else:
                    read[source] = None
        for source in read:
            if source.id not in self.others:
                self.others[source.id] = self._of_another(source)
        return [] if any(self.others[source.id] for source in read) else list(read)

    def _of_another(self, source: Source) -> bool:
        """Whether a value is made of what some layer computed."""
        work, seen = [source.id], {source.id}
        while work:
            node = self.nodes[work.pop()]
            step = self.net.step_of.get(node.id)
            if step is not None and step[0] != self.number:
                return True
            if passes(node) or hoisted(self.net, self.layer, node):
                fresh = {s.id for s in node.sources} - seen
                seen |= fresh
                work.extend(sorted(fresh))
        return False

    def _cut(self) -> _Cut | None:
        """The `unstack` from which every step has its part, and the layer's own work before it."""
        if self.sources is None or len({s.id for s in self.sources}) > 1:
            return None
        cut = self.nodes[self.sources[0].id]
        if cut.effect != "cuts" or cut.id in self.net.step_of:
            return None
        multiplied, lengths = None, None
        reversals: list[int] = []
        before: list[int] = []
        source = cut.sources[0]
        node = self.nodes[source.id]
        while hoisted(self.net, self.layer, node):
            data = self._data(node)
            if len(data) != 1:
                break
            if node.effect == "reverses":
                before.append(node.id)
                options: Any = getattr(self.recorded[node.id], "options", {})
                lengths = options.get("lengths")
            source = data[0]
            if not passes(node):
                multiplied, reversals = source, list(before)
            elif multiplied is not None and node.effect in ("selects", "picks"):  # the driver's way with padding
                multiplied = source
            elif multiplied is not None:
                break
            node = self.nodes[source.id]
        if multiplied is not None and not self.recorded[multiplied.id].requires_grad:
            self.sources = None
        return _Cut(cut.id, multiplied, reversals, lengths)

    def _data(self, node: NodeInfo) -> list[Source]:
        """What an op reads beside weights and masks; of several, those that a gradient reaches."""
        data = [
            s
            for s in dict.fromkeys(node.sources)
            if s.id not in self.net.only_weights and self.nodes[s.id].dtypes[s.output] != "bool"
        ]
        return data if len(data) < 2 else [s for s in data if self.recorded[s.id].requires_grad]

    # -- its gradient ------------------------------------------------------------------------------------------------

    def _at(self, source: Source) -> Array:
        """The gradient at a value; 0 where none arrived."""
        node = self.nodes[source.id]
        g = self.measured.gradient(source)
        return np.zeros(node.shapes[source.output], node.dtypes[source.output]) if g is None else np.asarray(g)

    def _before_the_cut(self, cut: _Cut, multiplied: Source) -> list[Array]:
        """The gradient at what was multiplied, by step."""
        assert self.sources is not None
        whole = self._at(multiplied)
        for i in reversed(cut.reversals):
            options: Any = getattr(self.recorded[i], "options", {})
            whole = ops.reverse_sequence(whole, **options)
        axis = self.nodes[cut.id].options.get("axis", 0)
        return [np.take(whole, source.output, axis=axis) for source in self.sources]
