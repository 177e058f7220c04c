"""What a run computed, measured once: the values and gradients of gates and states, by layer, name and time step."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_rnn.autodiff import engine
from tinygrad_rnn.autodiff.graph import Source, flat_tensors, unfuse
from tinygrad_rnn.autodiff.tensor import Tensor

from .flow import states_of
from .net.live import Values, nodes_of, refuse_freed
from .net.opened import STEPWISE, take
from .net.steps import gates_of, read

Array = npt.NDArray[Any]


class Measured:
    """The gates and states of a run. target: what it computed; for gradients a loss.

    `names` lists for each layer what it has; `over_time` gives one of them in order of time.
    """

    def __init__(self, target: Any, who: str, gradient: bool = False):
        if not any(True for _ in flat_tensors(target)):
            raise TypeError(
                f"{who}: target is {type(target).__name__}, expected what a run computed: outputs, a state, a loss"
            )
        refuse_freed(target, who)
        tensors = unfuse(target, STEPWISE)
        self.who, self.found = who, read(take(tensors), who)
        self.live = nodes_of(tensors)
        self.named = [{**gates_of(self.found, n), **states_of(self.found, n)} for n in range(len(self.found.layers))]
        self.names = [[name for name, sources in named.items() if any(sources)] for named in self.named]
        self.values = Values(tensors)
        self.cotangents = self._sweep(target, tensors) if gradient else None

    def _sweep(self, target: Any, tensors: list[Tensor]) -> dict[int, Any]:
        """The loss's gradient at every node, by the node's counter."""
        if not isinstance(target, Tensor):
            raise TypeError(f"{self.who}: gradients need a loss, not {type(target).__name__}")
        seen: dict[int, Any] = {}
        _, seed = target._seed(None, self.who)
        start: Any = tensors[0]._node
        engine.sweep([(start, seed)], retain=True, observe=lambda node, g: seen.update({node.counter: g}))
        return seen

    def layer(self, name: str, number: int | None) -> int:
        """The layer meant: the one of this number, else the top one that has a value of this name."""
        have = [n for n, names in enumerate(self.names) if name in names]
        if number is not None and not -len(self.names) <= number < len(self.names):
            raise ValueError(
                f"{self.who}: layer is {number}, expected less than {len(self.names)}, the number of layers"
            )
        wanted = have[-1:] if number is None else [n for n in have if n == number % len(self.names)]
        if not wanted:
            known = ", ".join(sorted({name for names in self.names for name in names})) or "none"
            which = "no layer has" if number is None else f"layer {number} does not have"
            raise ValueError(f"{self.who}: {which} {name!r}, expected one of {known}")
        return wanted[0]

    def over_time(self, number: int, name: str) -> Array:
        """A gate or state of a layer (B, T, H), in order of time; NaN past a row's length and where it is not known."""
        layer = self.found.layers[number]
        steps: list[Any] = [None if source is None else self._of(source) for source in self.named[number][name]]
        shapes = {np.shape(value) for value in steps if value is not None}
        if len(shapes) != 1 or len(next(iter(shapes))) < 2:
            raise ValueError(f"{self.who}: {name!r} has shapes {sorted(shapes)}, expected one (B, ·) at every step")
        shape = shapes.pop()
        found = np.full((shape[0], len(steps), *shape[1:]), np.nan)
        lengths: Any = next((run.lengths for run in layer.runs if run.lengths is not None), None)
        lengths = np.full(shape[0], len(steps)) if lengths is None or len(lengths) != shape[0] else lengths
        for k, value in enumerate(steps):
            for row in np.flatnonzero(lengths > k) if value is not None else ():
                found[row, lengths[row] - 1 - k if layer.backward else k] = value[row]
        return found

    def _of(self, source: Source) -> Any:
        """The value, or where gradients were asked for the gradient, of one of the graph's results."""
        node = self.live[source.id]
        if self.cotangents is None:
            return self.values(node, source.output)
        g: Any = self.cotangents.get(node.counter)
        g = g[source.output] if isinstance(g, list) else g
        shape = self.found.graph.nodes[source.id].shapes[source.output]
        return np.zeros(shape) if g is None else np.asarray(g)
