"""Where the gradient goes: its norm at every step, as numbers; the pictures and plots that show them use these."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_rnn.autodiff import engine
from tinygrad_rnn.autodiff.graph import Graph, Source, unfuse
from tinygrad_rnn.autodiff.node import Leaf, Node
from tinygrad_rnn.autodiff.tensor import Tensor

from .net.layers import time_of
from .net.live import nodes_of, refuse_freed
from .net.opened import STEPWISE, take
from .net.reading import Reading
from .net.steps import Unrolled, gates_of, read
from .plot import Plot

Numbers = npt.NDArray[np.float64]


class LayerFlow(NamedTuple):
    """The gradient along one layer: norms of d target / d state by the state's name, and of d target / d x_t, over time.

    Those of a layer that runs backward stand in order of time, too: the last number is that of its first step.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.MultiRNNCell([tg.rnn.LSTMCell(4), tg.rnn.GRUCell(3)])
    >>> outputs, _ = tg.rnn.dynamic_rnn(cell, np.ones((2, 6, 5), np.float32))
    >>> flow = tg.viz.grad_flow(outputs[:, -1].sum())
    >>> [(layer.name, sorted(layer.states)) for layer in flow.layers]
    [('lstm_cell', ['c', 'h']), ('gru_cell', ['h'])]
    """

    name: str
    states: dict[str, Numbers]
    inputs: Numbers | None
    backward: bool = False

    def state(self, name: str) -> Numbers:
        """The norms of a state, (T,); KeyError that names the states there are."""
        if name not in self.states:
            own = ", ".join(map(repr, self.states)) or "none that can be told"
            raise KeyError(f"grad_flow: layer {self.name!r} has no state {name!r}; .layers[…].states has {own}")
        return self.states[name]


class GradFlow(NamedTuple):
    """What `grad_flow` found: its layers from the bottom up. `h`, `c` and `inputs` are those of the top layer.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.MultiRNNCell([tg.rnn.LSTMCell(4), tg.rnn.GRUCell(3)])
    >>> outputs, _ = tg.rnn.dynamic_rnn(cell, np.ones((2, 6, 5), np.float32))
    >>> flow = tg.viz.grad_flow(outputs[:, -1].sum())
    >>> flow.h.shape, flow.inputs is None, flow.plot()
    ((6,), True, Plot(lstm_cell c, lstm_cell h, gru_cell h))
    """

    layers: tuple[LayerFlow, ...]
    jacobians: Numbers | None = None

    @property
    def h(self) -> Numbers:
        """|d target / d h_t| of the top layer, (T,); KeyError where it has no h."""
        return self.layers[-1].state("h")

    @property
    def c(self) -> Numbers:
        """|d target / d c_t| of the top layer, (T,); KeyError where it has no c."""
        return self.layers[-1].state("c")

    @property
    def inputs(self) -> Numbers | None:
        """|d target / d x_t| of the top layer, (T,); None where it is not known."""
        return self.layers[-1].inputs

    def plot(self) -> Plot:
        """Lines over time, one for each layer and state, on a logarithmic scale."""
        names = [f"{flow.name} backward" if flow.backward else flow.name for flow in self.layers]
        lines = {}
        for i, (name, flow) in enumerate(zip(names, self.layers, strict=True)):
            number = f" {names[: i + 1].count(name)}" if names.count(name) > 1 else ""
            label = f"{name}{number} " if len(names) > 1 else ""
            lines.update({f"{label}{state}": values for state, values in flow.states.items()})
        return Plot(lines, "step t", "norm of the gradient")

    def save(self, path: str | Path) -> Path:
        """Write the plot to a file, whose name must end in .svg; returns the path written."""
        return self.plot().save(path)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {**self.plot()._repr_mimebundle_(), "text/plain": repr(self)}


def grad_flow(target: Tensor, grad: Any = None, *, jacobians: bool = False) -> GradFlow:
    """The gradient of `target` at every step: |d target / d h_t| (and c_t) of each layer, and |d target / d x_t|.

    target: a loss; or any tensor with its cotangent `grad`, of its shape. A step that target does not depend on has 0. A
    sweep of its own runs over the recorded graph, through what fused ops stand for: no `.grad` changes and nothing is
    freed. x_t is what step t reads: what a driver cut or a loop of your own picked for it. It is known where it requires
    grad, is one array a step and not another layer's result; else it is None. A backward layer's numbers stand in order
    of time, as its picture does. jacobians: besides, for a target of shape (B, H), such as a state, the matrices
    d target[0] / d x_t[0], (T, H, D); it takes H sweeps.

    Raises ValueError where the graph has no time steps, and GraphError where a backward pass has freed it: call this
    before backward, or keep the graph with backward(retain_graph=True).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> outputs, state = tg.rnn.dynamic_rnn(tg.rnn.BasicRNNCell(4), np.ones((2, 30, 3), np.float32))
    >>> flow = viz.grad_flow((outputs[:, -1] ** 2).sum())
    >>> flow.h.shape, bool(flow.h[0] < flow.h[-1])
    ((30,), True)
    """
    if not isinstance(target, Tensor):
        raise TypeError(f"grad_flow: target is {type(target).__name__}, expected a tensor, such as a loss")
    _, seed = target._seed(grad if not jacobians or grad is not None else np.ones(target.shape), "grad_flow")
    run = Sweep(target, "grad_flow")
    cotangents = run(seed)
    layers = []
    for number, layer in enumerate(run.found.layers):
        reading = Reading(run.found, run.live, number)
        states = {
            name: _norms(reading, [run.at(cotangents, source) for source in sources])
            for name, sources in states_of(run.found, number).items()
        }
        g = reading.gradient(cotangents)
        layers.append(LayerFlow(layer.name, states, None if g is None else _row_norms(g), layer.backward))
    return GradFlow(tuple(layers), _jacobians(run, target) if jacobians else None)


def _jacobians(run: Sweep, target: Tensor) -> Numbers:
    """d target[0] / d x_t[0], one sweep for each unit of target."""
    if target.ndim != 2:
        raise ValueError(
            f"grad_flow: jacobians=True with a target of shape {target.shape}, expected (B, H), such as a state"
        )
    reading, rows = Reading(run.found, run.live, 0), []
    for unit in range(target.shape[1]):
        seed = np.zeros_like(target.data)
        seed[0, unit] = 1
        g = reading.gradient(run(seed))
        if g is None:
            raise ValueError(
                "grad_flow: jacobians=True, but what the first layer reads has no gradient, or is not one array a step; make "
                "the inputs with requires_grad=True"
            )
        rows.append(g[:, 0])
    return np.array(rows).swapaxes(0, 1)


class Sweep:
    """Sweeps over a recorded graph, its fused runs opened on their values; gives cotangents by id of the opened graph."""

    def __init__(self, target: Tensor, who: str):
        refuse_freed(target, who)
        (opened,) = unfuse(target, STEPWISE)
        self.found = read(take(opened), who)
        self.live = nodes_of(opened)
        self.ids = {node.counter: i for i, node in enumerate(self.live)}
        self.start: Any = opened._node

    def __call__(self, seed: Any) -> dict[int, Any]:
        """The cotangents from one seed: of a node with several results, the list of theirs."""
        seen: dict[int, Any] = {}

        def observe(node: Node | Leaf, g: Any) -> None:
            seen[self.ids[node.counter]] = g

        engine.sweep([(self.start, seed)], retain=True, observe=observe)
        return seen

    def at(self, cotangents: dict[int, Any], source: Source | None) -> Any:
        """The gradient at a state; None where none arrived.

        A state that is carried where a row has ended counts, elsewhere, with all that reads what the step made of it.
        """
        if source is None:
            return None
        g, node = cotangents.get(source.id), self.found.graph.nodes[source.id]
        g = g[source.output] if isinstance(g, list) else g
        step = self.found.step_of.get(source.id)
        made = [s for s in node.sources if step is not None and self.found.step_of.get(s.id) == step]
        where: Any = self.live[source.id]
        if node.effect != "selects" or len(made) != 1:
            return g
        fresh = self.at(cotangents, made[0])
        if g is None or fresh is None:
            return fresh if g is None else g
        return np.where(where.saved[0], fresh, g)


def states_of(found: Unrolled, number: int) -> dict[str, list[Source | None]]:
    """Where each state of a layer is after each of its steps, by the state's name."""
    layer = found.layers[number]
    own: dict[str, dict[int, Source]] = {}
    for state in found.states:
        if state.tail is not None and state.tail[0] == number == state.head[0]:
            own.setdefault(state.name, {})[state.tail[1]] = state.source
    result: dict[str, list[Source | None]] = {}
    for name, by_step in sorted(own.items()):
        last, end = max(by_step), layer.steps[-1]
        if end not in by_step:
            final = _at_the_end(found, found.places[number][last], found.places[number][end], by_step[last].id)
            by_step |= {} if final is None else {end: Source(final, by_step[last].output)}
        result[name] = [by_step.get(t) for t in layer.steps]
    return result or _only_states(found, number)


def _only_states(found: Unrolled, number: int) -> dict[str, list[Source | None]]:
    """The states where no step hands one on, as with a single one: c and h by their letters, else what leaves the step."""
    lettered = {name: sources for name, sources in gates_of(found, number).items() if name in ("c", "h")}
    if lettered or len(found.layers[number].steps) > 1:
        return lettered
    (step,) = found.places[number].values()
    inside = set(step)
    read = [s for node in found.graph.nodes if node.id not in inside for s in node.sources]
    leaving = dict.fromkeys(s for s in (*read, *found.graph.outputs) if s.id in inside)
    return {"h": list(leaving)} if len(leaving) == 1 else {}


def _made_by(graph: Graph, i: int) -> int:
    """The op that made what the masks of a step chose."""
    node = graph.nodes[i]
    while node.effect == "selects":
        here = time_of(node.scope)
        own = [s.id for s in node.sources if here and (there := time_of(graph.nodes[s.id].scope)) and there.t == here.t]
        own = [i for i in own if graph.nodes[i].op is not None]
        if not own:
            break
        node = graph.nodes[own[-1]]
    return node.id


def _at_the_end(found: Unrolled, step: list[int], end: list[int], i: int) -> int | None:
    """The op of the last step that is to it what op i is to an earlier one.

    Where sequences have ended, the last step does not carry on the states that no one reads: then what it made itself.
    """
    i = i if len(step) == len(end) else _made_by(found.graph, i)
    for at in (step.index(i), step.index(i) - len(step)):
        if -len(end) <= at < len(end) and found.graph.nodes[end[at]].op == found.graph.nodes[i].op:
            return end[at]
    return None


def norm(g: Any) -> float:
    """The norm of a gradient; 0 where none arrived."""
    return 0.0 if g is None else float(_row_norms(np.reshape(g, (1, -1)))[0])


def _row_norms(g: Any) -> Numbers:
    """The Euclidean norm of every row, taken of parts of its largest entry: squares of large numbers overflow."""
    wide = np.reshape(np.asarray(g, np.float64), (len(g), -1))
    most = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    most[~(np.isfinite(most) & (most > 0))] = 1.0
    with np.errstate(over="ignore"):
        found: Numbers = np.linalg.norm(wide / most, axis=1) * most[:, 0]
    return found


def _norms(reading: Reading, parts: list[Any]) -> Numbers:
    """The norm at every step, in order of time."""
    known = {np.shape(part) for part in parts if part is not None}
    if len(known) > 1 or () in known:  # steps of batches that differ, or of no batch
        return reading.in_time(np.array([norm(part) for part in parts]))
    zero = np.zeros(known.pop()[0] if known else 1)
    rows = [zero if part is None else _row_norms(part) for part in parts]
    return _row_norms(reading.in_time(np.stack(rows)))
