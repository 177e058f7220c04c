"""Keras's cells: those of `rnn` with Keras's names and arguments, and lists of states in Keras's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from .. import checks, regularizers, rnn
from ..autodiff.state import generator, training
from ..autodiff.tensor import Tensor
from ..initializers import get
from ..module import Parameter
from ..rnn.cell import LSTMState, described, random_source
from ..rnn.cells import GatedCell
from . import activations
from .base import Layer, Weights, phase

if TYPE_CHECKING:
    from typing import Unpack


class CellOptions(TypedDict, total=False):
    """Keyword arguments of Keras's cells, for editors and type checkers."""

    kernel_initializer: Any
    recurrent_initializer: Any
    bias_initializer: Any
    dropout: float
    recurrent_dropout: float
    seed: Any
    kernel_regularizer: Any
    recurrent_regularizer: Any
    bias_regularizer: Any
    name: str | None


class KerasCell(Weights, GatedCell):
    """Base of Keras's cells, which add dropout, regularizers and states in lists.

    In training, dropout applies to the input, with one mask per sequence, and recurrent_dropout to the h that is multiplied
    by the recurrent kernel, with one mask per sequence and gate [Gal & Ghahramani 2016].
    """

    def __init__(
        self,
        units: int,
        *,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        use_bias: bool = True,
        name: str | None = None,
        **options: Any,
    ):
        owner = type(self).__name__
        self.units = checks.integer(owner, "units", units)
        self.dropout = checks.probability(owner, "dropout", dropout, "[0, 1)")
        self.recurrent_dropout = checks.probability(owner, "recurrent_dropout", recurrent_dropout, "[0, 1)")
        self.rng = random_source(seed)
        initializers = {"kernel": kernel_initializer, "recurrent": recurrent_initializer, "bias": bias_initializer}
        named: dict[str, Any] = {f"{name}_initializer": get(initializer) for name, initializer in initializers.items()}
        super().__init__(self.units, use_bias=use_bias, name=name, **named, **options)
        penalties = {"kernel": kernel_regularizer, "recurrent_kernel": recurrent_regularizer, "bias": bias_regularizer}
        self.regularizers = {weight: regularizers.get(penalty) for weight, penalty in penalties.items()}

    def add(self, name: str, shape: tuple[int, ...], initializer: Any) -> Parameter:
        return self.regularize(super().add(name, shape, initializer), self.regularizers.get(name))

    def unbuild(self) -> None:
        super().unbuild()
        self.regularized = ()

    def draw(self, shape: tuple[int, int, int], dtype: Any) -> Any:
        """The dropout masks of h, one for each gate, the same at all steps; empty without recurrent dropout."""
        if not (self.training and self.recurrent_dropout):
            return ()
        keep, draw = 1 - self.recurrent_dropout, generator(self.rng).random
        return tuple(((draw((shape[0], self.output_size)) < keep) / keep).astype(dtype) for _ in range(self.gates))

    def fused(self) -> str | None:
        return None if self.training and self.recurrent_dropout else super().fused()

    def as_cell(self) -> rnn.RNNCell:
        """The cell as the driver runs it, wrapped in its dropout of inputs."""
        return running(self)

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """The initial state: a list of zeros."""
        return listed(self, self.zero_state(batch_size, self.dtype or np.float32))

    def __call__(self, x: Any, state: Any = None, training: bool | None = None) -> tuple[Any, Any]:
        return stepped(self, x, state, training)


class SimpleRNNCell(KerasCell, rnn.BasicRNNCell):
    """Keras's SimpleRNNCell [Elman 1990]: h' = activation(x W + h U + b).

    cell(inputs, states, training=None) -> (output, [h]), inputs (B, D), states [h] of (B, H). Raises ValueError for an
    unknown activation, units below 1, dropout outside [0, 1).

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.layers.SimpleRNNCell(2)
    >>> output, [h] = cell(np.ones((3, 4), np.float32), cell.get_initial_state(3))
    >>> output.shape
    (3, 2)
    """

    def __init__(self, units: int, activation: Any = "tanh", use_bias: bool = True, **options: Unpack[CellOptions]):
        function = activations.get(type(self).__name__, "activation", activation)
        super().__init__(units, activation=function, use_bias=use_bias, **options)


class LSTMCell(KerasCell, rnn.LSTMCell):
    """Keras's LSTMCell: i, f, c, o = split(x W + h U + b); c' = σ(f) c + σ(i) φ(c); h' = σ(o) φ(c') [Gers et al. 2000].

    cell(inputs, states, training=None) -> (output, [h, c]), inputs (B, D), states [h, c] of (B, H). φ is activation, σ
    recurrent_activation. unit_forget_bias: the initial bias of f is 1, regardless of bias_initializer. Errors as
    SimpleRNNCell.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.layers.LSTMCell(2)
    >>> output, [h, c] = cell(np.ones((3, 4), np.float32), cell.get_initial_state(3))
    >>> output.shape, c.shape
    ((3, 2), (3, 2))
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        *,
        unit_forget_bias: bool = True,
        **options: Unpack[CellOptions],
    ):
        self.unit_forget_bias = bool(unit_forget_bias)
        both = _both(self, activation, recurrent_activation)
        super().__init__(units, use_bias=use_bias, forget_bias=0.0, **both, **options)
        if self.unit_forget_bias:
            self.initializers["bias"] = UnitForget(self.initializers["bias"])


class UnitForget:
    """The initial bias of an LSTM with unit_forget_bias: ones for f, the values of `others` for i, c, o."""

    def __init__(self, others: Any):
        self.others = others

    def __call__(self, shape: tuple[int, ...], dtype: Any) -> Any:
        units = shape[0] // 4
        blocks = [self.others((units,), dtype), np.ones(units, dtype), self.others((2 * units,), dtype)]
        return np.concatenate(blocks)


class GRUCell(KerasCell, rnn.GRUCell):
    """Keras's GRUCell: z, r = σ(x W + h U + b); h' = z h + (1 − z) n [Cho et al. 2014].

    n = φ(x W + b + r (h U + b')) with reset_after=True, φ(x W + (r h) U + b) without. cell(inputs, states, training=None)
    -> (output, [h]), inputs (B, D), states [h] of (B, H). φ is activation, σ recurrent_activation. Errors as
    SimpleRNNCell.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.layers.GRUCell(2)
    >>> output, [h] = cell(np.ones((3, 4), np.float32), cell.get_initial_state(3))
    >>> output.shape
    (3, 2)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        *,
        reset_after: bool = True,
        **options: Unpack[CellOptions],
    ):
        both = _both(self, activation, recurrent_activation)
        super().__init__(units, use_bias=use_bias, reset_after=reset_after, gate_bias=0.0, **both, **options)

    @property
    def paired(self) -> bool:
        """Whether the bias is (2, 3H), that of x W above that of h U."""
        return self.reset_after and self.use_bias

    def alike(self) -> rnn.GRUCell:
        """A cell of `rnn` of the same kind and size with weights of its own, for drawings."""
        functions = {"activation": self.activation, "recurrent_activation": self.recurrent_activation}
        options = {"reset_after": self.reset_after, "use_bias": self.use_bias, "seed": 0, **functions}
        return rnn.GRUCell(self.units, name=self.scope_name, **options)

    def build_parameters(self, input_size: int) -> None:
        if not self.paired:
            return super().build_parameters(input_size)
        columns = self.gates * self.units
        self.add("kernel", (input_size, columns), self.initializers["kernel"])
        self.add("recurrent_kernel", (self.units, columns), self.initializers["recurrent_kernel"])
        self.add("bias", (2, columns), self.initializers["bias"])

    def project(self, x: Any) -> Any:
        return x @ self.kernel + self.bias[0] if self.paired else super().project(x)

    @property
    def recurrent_bias(self) -> Any:
        """The half of the bias that is added to h U."""
        return self.bias[1]

    @property
    def weights(self) -> tuple[Any, Any, Any, Any]:
        return (self.kernel, self.recurrent_kernel, self.bias, None) if self.paired else super().weights


def _both(cell: Any, activation: Any, recurrent_activation: Any) -> dict[str, Any]:
    """The two activations of a gated cell, by argument."""
    functions = {"activation": activation, "recurrent_activation": recurrent_activation}
    return {name: activations.get(type(cell).__name__, name, f) for name, f in functions.items()}


class StackedRNNCells(Weights, rnn.MultiRNNCell):
    """A stack of cells; each reads the output of the one below. The states are a list with one entry per cell.

    Raises TypeError for an entry that is not a cell, ValueError for an empty list or a repeated cell.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.layers.StackedRNNCells([tg.layers.LSTMCell(4), tg.layers.GRUCell(3)])
    >>> output, [[h, c], [g]] = cell(np.ones((2, 5), np.float32), cell.get_initial_state(2))
    >>> output.shape, c.shape
    ((2, 3), (2, 4))
    """

    def __init__(self, cells: Sequence[Any], name: str | None = None):
        if not isinstance(cells, (list, tuple)):
            raise TypeError(f"StackedRNNCells: cells is {described(cells)}, expected a list of cells")
        super().__init__([as_cell("StackedRNNCells", cell) for cell in cells], name=name)

    def as_cell(self) -> rnn.RNNCell:
        """The stack as the driver runs it, each cell wrapped in its dropout of inputs."""
        return running(self)

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """Zeros for every cell."""
        built = [c.dtype for c in self.cells if c.dtype is not None]
        return listed(self, self.zero_state(batch_size, built[0] if built else np.float32))

    def __call__(self, x: Any, state: Any = None, training: bool | None = None) -> tuple[Any, Any]:
        """The output and the new states, each in the form of the old one: a list or a tensor."""
        output, new = stepped(self, x, state, training)
        pairs = zip(state, new, strict=True)
        return output, [after if isinstance(before, (list, tuple)) else after[0] for before, after in pairs]


class CellAdapter(rnn.RNNCell):
    """Adapts a user-written Keras cell, `call(inputs, states) -> (output, [states])` with a `state_size`, to our driver."""

    def __init__(self, cell: Any):
        self.cell = cell
        size = cell.state_size
        self.single = not isinstance(size, (list, tuple))
        self.state_size = tuple(size) if isinstance(size, (list, tuple)) else size
        first = self.state_size[0] if isinstance(self.state_size, tuple) else size
        self.output_size = getattr(cell, "output_size", None) or first

    @property
    def built(self) -> bool:
        return getattr(self.cell, "built", True)

    def build(self, input_size: int, dtype: Any = np.float32) -> Any:
        if isinstance(self.cell, Layer):
            self.cell.ensure_built((None, input_size))
        return self

    def build_from(self, arrays: Any) -> None:
        """Nothing to do: the user's cell builds itself."""

    def call(self, x: Any, state: Any) -> tuple[Any, Any]:
        output, new = self.cell.call(x, list(state) if isinstance(state, tuple) else [state])
        several = isinstance(new, (list, tuple))
        if isinstance(self.state_size, tuple):
            return output, tuple(new) if several else (new,)
        return output, new[0] if several and len(new) == 1 else new


# -- between Keras's conventions and ours ------------------------------------------------------------------------------


def as_cell(owner: str, cell: Any) -> rnn.RNNCell:
    """The cell itself if it is an RNNCell; a user-written Keras cell is wrapped in a CellAdapter."""
    if isinstance(cell, rnn.RNNCell):
        return cell
    if isinstance(cell, type) or not callable(getattr(cell, "call", None)) or not hasattr(cell, "state_size"):
        raise TypeError(
            f"{owner}: cell is {described(cell)}, expected a cell such as layers.LSTMCell(64), or an object with a state_size "
            "and call(inputs, states)"
        )
    return CellAdapter(cell)


def running(cell: rnn.RNNCell) -> rnn.RNNCell:
    """The cell as the driver runs it, wrapped in its dropout of inputs."""
    if isinstance(cell, StackedRNNCells):
        return rnn.MultiRNNCell([running(c) for c in cell.cells], name=cell.scope_name)
    if isinstance(cell, KerasCell) and cell.dropout and cell.training:
        return rnn.DropoutWrapper(cell, 1 - cell.dropout, variational_recurrent=True, seed=cell.rng)
    return cell


def listed(cell: rnn.RNNCell, state: Any) -> list[Any]:
    """A state as Keras's list: [h, c] of an LSTM, [h] of other cells, a list of these of a stack.

    In a stack, the state of a user-written cell whose state_size is a number is not in a list, as in Keras.
    """
    if isinstance(state, LSTMState):
        return [state.h, state.c]
    if isinstance(cell, rnn.MultiRNNCell):
        pairs = [(cell_, listed(cell_, cell_state)) for cell_, cell_state in zip(cell.cells, state, strict=True)]
        return [
            cell_state[0] if isinstance(cell_, CellAdapter) and cell_.single else cell_state
            for cell_, cell_state in pairs
        ]
    return list(state) if isinstance(state, tuple) else [state]


def unlisted(owner: str, states: Any, cell: rnn.RNNCell, dtype: Any) -> Any:
    """The state of the driver from Keras's list, cast to the dtype."""
    size, several = cell.state_size, isinstance(states, (list, tuple))
    if isinstance(size, LSTMState):
        _demand(owner, states, 2, "[h, c]")
        return LSTMState(_cast(owner, states[1], dtype), _cast(owner, states[0], dtype))
    if isinstance(cell, rnn.MultiRNNCell):
        _demand(owner, states, len(cell.cells), "a list, one entry for each cell")
        pairs = zip(cell.cells, states, strict=True)
        return tuple(unlisted(f"{owner}.cells[{i}]", s, c, dtype) for i, (c, s) in enumerate(pairs))
    if isinstance(size, tuple):
        _demand(owner, states, len(size), f"a list of {len(size)}")
        return tuple(_cast(owner, s, dtype) for s in states)
    if several:
        _demand(owner, states, 1, "[h]")
        states = states[0]
    return _cast(owner, states, dtype)


def _demand(owner: str, states: Any, count: int, expected: str) -> None:
    if not isinstance(states, (list, tuple)) or len(states) != count:
        received = f"a {type(states).__name__}{f' of {len(states)}' if isinstance(states, (list, tuple)) else ''}"
        raise ValueError(f"{owner}: the states are {received}, expected {expected}")


def _cast(owner: str, state: Any, dtype: Any) -> Tensor:
    if state is None:
        raise ValueError(f"{owner}: a state is None, expected a tensor (B, H)")
    t = state if isinstance(state, Tensor) else Tensor(np.asarray(state))
    return t if t.dtype == dtype else t.astype(dtype) if t.dtype.kind == "f" else Tensor(t.data.astype(dtype))


_training = training  # a step has an argument of that name


def stepped(cell: rnn.RNNCell, x: Any, states: Any, training: bool | None) -> tuple[Any, Any]:
    """One step of a cell in Keras's form: (output, list of states)."""
    x = x if isinstance(x, Tensor) else Tensor(x)
    with _training(phase.get() if training is None else bool(training)):
        state = unlisted(cell.scope_name, states, cell, x.dtype)
        output, new = rnn.RNNCell.__call__(running(cell), x, state)
    new_states = listed(cell, new)
    return output, new_states if isinstance(states, (list, tuple)) else new_states[0]
