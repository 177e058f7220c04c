"""Where the gradient goes: its norm at every step, as numbers; the pictures and plots that show them use these."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_rnn.autodiff.tensor import Tensor

from .net.inputs import LayerInputs
from .net.layers import layer_names
from .net.measure import Measured
from .net.states import states_of
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
            own = ", ".join(map(repr, self.states)) or "none that is known"
            raise KeyError(f"grad_flow: layer {self.name!r} has no state {name!r}; .layers[…].states has {own}")
        return self.states[name]


class GradFlow(NamedTuple):
    """The result of `grad_flow`: its layers from the bottom up. `h`, `c` and `inputs` are those of the top layer.

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
        lines = {}
        for name, flow in zip(layer_names(self.layers), self.layers, strict=True):
            label = f"{name} " if len(self.layers) > 1 else ""
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
    grad = np.ones(target.shape) if jacobians and grad is None else grad
    target._seed(grad, "grad_flow")  # refuses what has no gradient
    measured = Measured(target, "grad_flow")
    measured.sweep(grad)
    layers = []
    for number, layer in enumerate(measured.net.layers):
        inputs = LayerInputs(measured, number)
        states = {
            name: _norms(inputs, [None if s is None else measured.state_gradient(s) for s in sources])
            for name, sources in states_of(measured.net, number).items()
        }
        g = inputs.gradient()
        layers.append(LayerFlow(layer.name, states, None if g is None else _row_norms(g), layer.backward))
    return GradFlow(tuple(layers), _jacobians(measured, target) if jacobians else None)


def _jacobians(measured: Measured, target: Tensor) -> Numbers:
    """d target[0] / d x_t[0], one sweep for each unit of target."""
    if target.ndim != 2:
        raise ValueError(
            f"grad_flow: jacobians=True with a target of shape {target.shape}, expected (B, H), such as a state"
        )
    inputs, rows = LayerInputs(measured, 0), []
    for unit in range(target.shape[1]):
        seed = np.zeros_like(target.data)
        seed[0, unit] = 1
        measured.sweep(seed)
        g = inputs.gradient()
        if g is None:
            raise ValueError(
                "grad_flow: jacobians=True, but what the first layer reads has no gradient, or is not one array a step; make "
                "the inputs with requires_grad=True"
            )
        rows.append(g[:, 0])
    return np.array(rows).swapaxes(0, 1)


def norm(g: Any) -> float:
    """The norm of a gradient; 0 where none arrived."""
    return 0.0 if g is None else float(_row_norms(np.reshape(g, (1, -1)))[0])


def _row_norms(g: Any) -> Numbers:
    """The Euclidean norm of every row, taken of parts of its largest entry: squares of large numbers overflow."""
    wide = np.reshape(np.asarray(g, np.float64), (len(g), -1))
    most = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    most[~(np.isfinite(most) & (most > 0))] = 1.0
    with np.errstate(over="ignore"):
        norms: Numbers = np.linalg.norm(wide / most, axis=1) * most[:, 0]
    return norms


def _norms(inputs: LayerInputs, parts: list[Any]) -> Numbers:
    """The norm at every step, in order of time."""
    known = {np.shape(part) for part in parts if part is not None}
    if len(known) > 1 or () in known:  # steps of batches that differ, or of no batch
        return inputs.in_time(np.array([norm(part) for part in parts]))
    zero = np.zeros(known.pop()[0] if known else 1)
    rows = [zero if part is None else _row_norms(part) for part in parts]
    return _row_norms(inputs.in_time(np.stack(rows)))
