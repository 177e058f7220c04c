"""Keras's recurrent layers: any cell over time, run by the driver of `rnn`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .. import ops, rnn
from ..autodiff.tensor import Tensor
from ..rnn.cell import detach, leaves
from ..rnn.driver import Time, prepare, run_cell
from .base import Layer, LayerOptions, Shape
from .cells import CellOptions, GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells, as_cell, listed, running, unlisted
from .masks import Mask

if TYPE_CHECKING:
    from typing import Unpack


class RNN(Layer):
    """Run a cell over time: h_t = cell(x_t, h_{t−1}).

    cell: a cell of layers or rnn, a user-written Keras cell (state_size and call(inputs, states) -> (output, states)), or a
    list of cells, which are stacked. layer(x, initial_state=None, mask=None, training=None) with x (B, T, D) returns the
    last output (B, H), or all of them (B, T, H) with return_sequences; with return_state a tuple: the output, then the
    states in Keras's order (LSTM: h, c). mask (B, T): where it is False the state is copied forward, and the output is that
    of the step before, or 0 with zero_output_for_mask (Keras 3 ignores the mask of the inputs if there is an
    initial_state; here it applies). go_backwards runs from the last step to the first and returns outputs in that order.
    A stateful layer starts from the final state of the last call, until reset_state(). unroll=True runs step by step in
    primitives, otherwise the sequence is one fused op if the cell allows it. Raises ValueError and TypeError that name the
    argument.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> layer = tg.layers.RNN([tg.layers.LSTMCell(4), tg.layers.GRUCell(3)], return_state=True)
    >>> output, [h, c], [g] = layer(np.ones((2, 5, 6)))
    >>> output.shape, c.shape, g.shape
    ((2, 3), (2, 4), (2, 3))
    """

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        *,
        input_dim: int | None = None,
        input_length: int | None = None,
        **options: Unpack[LayerOptions],
    ):
        if input_dim is not None:
            options.setdefault("input_shape", (input_length, input_dim))
        super().__init__(**options)
        owner = type(self).__name__
        self.cell = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else as_cell(owner, cell)
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful = bool(go_backwards), bool(stateful)
        self.unroll, self.zero_output_for_mask = bool(unroll), bool(zero_output_for_mask)
        self.states: Any = None  # final states of the last call, for a stateful layer

    @property
    def built(self) -> bool:
        return self.cell.built

    @built.setter
    def built(self, value: bool) -> None:
        """Ignored: the cell stores it."""

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 3 or input_shape[2] is None:
            raise ValueError(f"{self.scope_name}: input_shape is {input_shape}, expected (B, T, D) with D known")
        self.cell.build(int(input_shape[2]), self.dtype)

    def unbuild(self) -> None:
        """Nothing to do: the weights are in the cell."""

    def compute_output_shape(self, input_shape: Shape) -> Any:
        output = (*input_shape[: 2 if self.return_sequences else 1], self.cell.output_size)
        states = _shapes(listed(self.cell, self.cell.state_size), input_shape[0])
        return (output, *states) if self.return_state else output

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return mask if self.return_sequences else None

    def streamed(self) -> list[Any]:
        """For `rnn.stepper`: the cell."""
        if self.go_backwards:
            raise ValueError(f"stepper: {self.scope_name} goes backwards, so it needs the whole sequence")
        return [running(self.cell)]

    def stepper(self, batch: int = 1) -> Any:
        """This layer's cell for streaming; see rnn.stepper."""
        return rnn.stepper(self, batch=batch)

    def reset_state(self) -> None:
        """Reset a stateful layer to the initial state."""
        self.states = None

    reset_states = reset_state

    def ensure_built(self, input_shape: Shape) -> None:
        if len(input_shape) != 3:
            hint = (
                "; x[None] makes a batch of one sequence, an Embedding before it turns integers into vectors, and a recurrent "
                "layer before it needs return_sequences=True"
            )
            hint *= len(input_shape) == 2
            raise ValueError(f"{self.scope_name}: inputs have shape {tuple(input_shape)}, expected (B, T, D){hint}")
        super().ensure_built(input_shape)

    def call(self, sequences: Tensor, initial_state: Any = None, mask: Any = None) -> Any:
        owner = self.scope_name
        if sequences.shape[1] == 0:
            raise ValueError(f"{owner}: inputs have shape {sequences.shape}, expected at least one step")
        x, state = sequences, None
        if initial_state is not None:
            state = unlisted(f"{owner}: initial_state", initial_state, self.cell, self.dtype)
        elif self.stateful and self.states is not None:
            state, batch = self.states, len(leaves(self.states)[0])
            if batch != len(x):
                raise ValueError(
                    f"{owner}: inputs hold {len(x)} rows, but the last call's {batch}, whose states a stateful layer goes on "
                    "with; call reset_states() before another batch"
                )
        zero = self.zero_output_for_mask
        layout = None if mask is None else Mask(owner, mask, x, self.go_backwards, zero)
        if layout is not None:
            x = layout.packed(x)
        lengths = None if layout is None else layout.lengths
        impl, cell = "unrolled" if self.unroll else "auto", running(self.cell)
        x, lengths, state = prepare(owner, cell, x, lengths, state, None, False, impl)
        outputs, final = run_cell(owner, cell, x, state, Time(lengths, self.go_backwards, impl=impl))
        if self.stateful:
            self.states = detach(final)
        output = self._output(outputs, layout)
        return (output, *listed(self.cell, final)) if self.return_state else output

    def _output(self, outputs: Tensor, layout: Mask | None) -> Any:
        """Keras's output, from the outputs in order of time."""
        if layout is not None:
            return layout.spread(outputs) if self.return_sequences else layout.last(outputs)
        if not self.return_sequences:
            return outputs[:, 0 if self.go_backwards else -1]
        return ops.flip(outputs, axis=1) if self.go_backwards else outputs

    def describe(self) -> str:
        flags = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")
        return ", ".join(f"{flag}=True" for flag in flags if getattr(self, flag))


def _shapes(sizes: list[Any], batch: Any) -> list[Any]:
    """The shapes of the states from their sizes."""
    return [_shapes(n, batch) if isinstance(n, list) else (batch, n) for n in sizes]


class SimpleRNNOptions(CellOptions, LayerOptions, total=False):
    """Options of SimpleRNN: the cell's arguments and those of RNN."""

    activation: Any
    use_bias: bool
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    unroll: bool
    zero_output_for_mask: bool
    input_dim: int | None
    input_length: int | None
    implementation: int


class GatedOptions(SimpleRNNOptions, total=False):
    """Options shared by LSTM and GRU."""

    recurrent_activation: Any
    use_cudnn: bool | str


class LSTMOptions(GatedOptions, total=False):
    """Options of LSTM."""

    unit_forget_bias: bool


class GRUOptions(GatedOptions, total=False):
    """Options of GRU."""

    reset_after: bool


class CellLayer(RNN):
    """Base of layers with one class of cell; takes the cell's arguments and those of RNN."""

    cell_class: Any

    def __init__(self, units: int, *arguments: Any, implementation: int = 2, **options: Any):
        bases = (base for base in self.cell_class.__mro__ if "__init__" in vars(base))
        names = {name for base in bases for name in inspect.signature(base).parameters} - {"name"}
        cell_options = {key: options.pop(key) for key in list(options) if key in names}
        super().__init__(self.cell_class(units, *arguments, **cell_options), **options)
        self.implementation = implementation

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        return {
            key: value for key, value in (cls.cell_class.arguments() | super().arguments()).items() if key != "cell"
        }

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.cell.output_size)


class GatedCellLayer(CellLayer):
    """Base of LSTM and GRU, which also accept Keras's use_cudnn."""

    def __init__(self, units: int, *arguments: Any, use_cudnn: bool | str = "auto", **options: Any):
        super().__init__(units, *arguments, **options)
        self.use_cudnn = use_cudnn


class SimpleRNN(CellLayer):
    """Keras's SimpleRNN [Elman 1990]: h_t = activation(x_t W + h_{t−1} U + b) over time.

    SimpleRNN(units, activation="tanh", use_bias=True, kernel_initializer="glorot_uniform",
    recurrent_initializer="orthogonal", bias_initializer="zeros", kernel_regularizer=None, recurrent_regularizer=None,
    bias_regularizer=None, activity_regularizer=None, dropout=0.0, recurrent_dropout=0.0, seed=None, and what RNN takes:
    return_sequences, return_state, go_backwards, stateful, unroll). implementation, by which Keras chooses separate or joint
    products, is accepted and ignored: products are always joint. Called as RNN: x (B, T, D) gives (B, H), with return_state
    (output, h). Raises ValueError for an unknown activation.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.layers.SimpleRNN(3, return_sequences=True)(np.ones((2, 4, 5))).shape
    (2, 4, 3)
    """

    cell_class = SimpleRNNCell

    if TYPE_CHECKING:

        def __init__(self, units: int, *arguments: Any, **options: Unpack[SimpleRNNOptions]) -> None: ...


class LSTM(GatedCellLayer):
    """Keras's LSTM: i, f, c, o = split(x W + h U + b); c' = σ(f) c + σ(i) φ(c); h' = σ(o) φ(c') [Gers et al. 2000].

    LSTM(units, activation="tanh", recurrent_activation="sigmoid", use_bias=True, unit_forget_bias=True, and the rest as
    SimpleRNN). Called as RNN: x (B, T, D) gives (B, H), with return_state (output, h, c); initial_state=[h, c].
    use_cudnn is accepted and ignored; rnn.explain shows how the layer is run.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> output, h, c = tg.layers.LSTM(3, return_state=True)(np.ones((2, 4, 5)))
    >>> output.shape, c.shape
    ((2, 3), (2, 3))
    """

    cell_class = LSTMCell

    if TYPE_CHECKING:

        def __init__(self, units: int, *arguments: Any, **options: Unpack[LSTMOptions]) -> None: ...


class GRU(GatedCellLayer):
    """Keras's GRU: z, r = σ(x W + h U + b); h' = z h + (1 − z) n [Cho et al. 2014], n as in GRUCell by reset_after.

    GRU(units, activation="tanh", recurrent_activation="sigmoid", use_bias=True, reset_after=True, and the rest as
    SimpleRNN). Called as RNN: x (B, T, D) gives (B, H), with return_state (output, h). With reset_after its bias is (2, 3H),
    that of x W above that of h U. use_cudnn is accepted and ignored.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.layers.GRU(3)(np.ones((2, 4, 5))).shape
    (2, 3)
    """

    cell_class = GRUCell

    if TYPE_CHECKING:

        def __init__(self, units: int, *arguments: Any, **options: Unpack[GRUOptions]) -> None: ...
