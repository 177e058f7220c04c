"""PyTorch's RNN, LSTM and GRU, on the cells and the driver of `rnn`.

The parameters have PyTorch's names and layout, in which the kernels read them and write their gradients. For a cell without a
kernel differentiable ops convert them to its weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, ops, rnn
from ..autodiff.state import generator, scopes
from ..autodiff.tensor import Tensor
from ..initializers import RandomUniform
from ..interop.gates import with_weights
from ..interop.torch import NAMES, PROJECTION, convert_weights
from ..module import Module, Parameter, snake_case
from ..program.calls import checked_lengths
from ..rnn.cell import UNSCOPED, scopes_unread
from ..rnn.driver import Time, run_cell, run_kernel
from .basics import Dropout, checked_input, floating_dtype
from .utils.rnn import PackedSequence

IMPLS = ("auto", "fused", "unrolled")


def draw_weights(
    module: Module,
    gates: int,
    inputs: int,
    units: int,
    bias: bool,
    dtype: Any,
    draw: Any,
    end: str,
    projected: int = 0,
) -> None:
    """Create weight_ih, weight_hh and, with `bias`, bias_ih, bias_hh on a module, with this ending; and weight_hr if h is
    projected to `projected` elements."""
    rows = gates * units
    shapes = dict(zip(NAMES, ((rows, inputs), (rows, projected or units), (rows,), (rows,)), strict=True))
    if not bias:
        shapes = {name: shapes[name] for name in NAMES[:2]}
    if projected:
        shapes[PROJECTION] = (projected, units)
    for name, shape in shapes.items():
        setattr(module, name + end, Parameter(draw(shape, dtype), name=name + end))


def uniform_initializer(units: int, seed: Any) -> RandomUniform:
    """The initializer of PyTorch's recurrent weights and biases: uniform on ±1/√H."""
    limit = 1 / float(np.sqrt(units))
    return RandomUniform(-limit, limit, generator(seed))


KERNEL_CELLS = (rnn.BasicRNNCell, rnn.LSTMCell, rnn.GRUCell)
CELL_NAMES = {cell.cell_type: snake_case(cell.__name__) for cell in KERNEL_CELLS}  # of their scopes


class CellModule(Module):
    """Base of layers and cells: a cell of `rnn` with parameters in PyTorch's layout.

    The kernels read that layout; for a cell without a kernel, or step by step, its weights are computed from the parameters.
    A subclass for another cell sets `cell_class`, and `cell_options` for the cell's arguments.
    """

    cell_class: Any = rnn.BasicRNNCell
    hidden_size: int

    @property
    def cell_options(self) -> dict[str, Any]:
        """The cell's arguments besides the number of units."""
        return {}

    @property
    def cell_type(self) -> str:
        """The converters' name for the cell: "rnn", "lstm" or "gru"."""
        return str(self.cell_class.cell_type)

    def alike(self) -> rnn.RNNCell:
        """A cell of the same kind and size with weights of its own, for drawings."""
        cell: rnn.RNNCell = self.cell_class(self.hidden_size, seed=0, **self.cell_options)
        return cell

    @property
    def kernel_options(self) -> dict[str, Any] | None:
        """The options of the cell's kernel; None if it has none."""
        if self.cell_class not in KERNEL_CELLS:
            return None
        options = self.cell_options
        if options.pop("num_proj", None) is not None:
            return None
        options["torch"] = True
        return options

    def own_weights(self, end: str = "") -> tuple[Any, Any, Any, Any]:
        """The parameters with this ending that a kernel reads; None for a bias of 0."""
        own = vars(self)
        bias, recurrent_bias = own.get("bias_ih" + end), own.get("bias_hh" + end)
        return own["weight_ih" + end], own["weight_hh" + end], bias, recurrent_bias

    def cell(self, end: str = "") -> rnn.RNNCell:
        """The cell, with weights computed from the parameters with this ending."""
        weight_ih, weight_hh, *biases = self.own_weights(end)
        bias, recurrent_bias = (np.zeros(len(weight_ih), weight_ih.dtype) if b is None else b for b in biases)
        projection = vars(self).get(PROJECTION + end)
        arrays = convert_weights(self.cell_type, weight_ih, weight_hh, bias, recurrent_bias, weight_hr=projection)
        return with_weights(self.cell_class(self.hidden_size, **self.cell_options), arrays)


class Recurrent(CellModule):
    """Base of RNN, LSTM and GRU."""

    nonlinearity = "tanh"
    projects = False  # whether proj_size may be set
    weight_ih_l0: Parameter

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        owner = type(self).__name__
        self.input_size = checks.integer(owner, "input_size", input_size)
        self.hidden_size = checks.integer(owner, "hidden_size", hidden_size)
        self.proj_size = self._projection(owner, proj_size)
        self.num_layers = checks.integer(owner, "num_layers", num_layers)
        self.bias, self.batch_first, self.bidirectional = bool(bias), bool(batch_first), bool(bidirectional)
        rng = None if seed is None else generator(seed)
        self.between = Dropout(dropout, seed=rng)
        self.dropout = self.between.p
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                f"{owner}: dropout is {dropout!r} with num_layers=1, expected 0: it acts between layers, and there is only "
                "one; nn.Dropout can follow it"
            )
        draw = uniform_initializer(self.hidden_size, rng)
        for layer in range(self.num_layers):
            inputs = self.output_size * self.directions if layer else self.input_size
            for end in self.endings(layer):
                gates, units = self.cell_class.gates, self.hidden_size
                draw_weights(
                    self, gates, inputs, units, self.bias, floating_dtype(owner, dtype), draw, end, self.proj_size
                )

    def _projection(self, owner: str, proj_size: Any) -> int:
        """Check proj_size."""
        if proj_size and not self.projects:
            raise ValueError(f"{owner}: proj_size is {proj_size!r}, expected 0: only nn.LSTM projects its h")
        if not checks.is_integer(proj_size):
            raise ValueError(f"{owner}: proj_size is {proj_size!r}, expected an integer")
        if not 0 <= proj_size < self.hidden_size:
            raise ValueError(
                f"{owner}: proj_size is {proj_size}, expected 0 (no projection) or a size below hidden_size={self.hidden_size}"
            )
        return int(proj_size)

    @property
    def output_size(self) -> int:
        """The size of h."""
        return self.proj_size or self.hidden_size

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    def endings(self, layer: int) -> tuple[str, ...]:
        """The endings of the names of a layer's parameters, one for each direction."""
        return (f"_l{layer}", f"_l{layer}_reverse")[: self.directions]

    def forward(self, x: Any, hx: Any = None, *, lengths: Any = None, impl: str = "auto") -> Any:
        owner = type(self).__name__
        if isinstance(x, PackedSequence):
            padded = x.padded if x.batch_first == self.batch_first else ops.swapaxes(x.padded, axis1=0, axis2=1)
            output, final = self.forward(padded, hx, lengths=x.lengths, impl=impl)
            return PackedSequence(output, x.lengths, self.batch_first), final
        if impl not in IMPLS:
            raise ValueError(f"{owner}: impl is {impl!r}, expected one of {IMPLS}")
        x, batched = self._checked(x, lengths)
        time = 1 if self.batch_first else 0
        batch = x.shape[1 - time]
        counts = checked_lengths(owner, lengths, batch, x.shape[time], "lengths")
        states = self._states(hx, batch, batched, x.dtype)
        finals: list[Any] = []
        for layer in range(self.num_layers):
            outputs = []
            for backward in (False, True)[: self.directions]:
                state = None if states is None else states[len(finals)]
                how = Time(counts, backward, not self.batch_first, impl=impl)
                output, final = self._over_time(layer, x, state, batch, how)
                outputs.append(output)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else ops.concatenate(outputs, axis=-1)
            if layer < self.num_layers - 1:
                x = self.between(x)
        return (x if batched else x.squeeze(1 - time)), self._joined(finals, batched)

    def _over_time(self, layer: int, x: Tensor, state: Any, batch: int, how: Time) -> tuple[Tensor, Any]:
        """One layer in one direction, in its scopes; a state of None is zeros. The final state of a net's only layer has an
        axis for the layer if a kernel computes it."""
        end = f"_l{layer}_reverse" if how.reverse else f"_l{layer}"
        options = None if how.impl == "unrolled" else self.kernel_options
        if options is None:
            with scopes(*self._place(layer, how.reverse)):
                cell = self.cell(end)
                state = cell.zero_state(batch, x.dtype) if state is None else state
                return run_cell(type(self).__name__, cell, x, state, how)
        cell_type, weights = self.cell_type, self.own_weights(end)
        options["layer_axis"] = self.num_layers == 1 and not self.bidirectional
        with UNSCOPED if scopes_unread() else scopes(*self._place(layer, how.reverse), (CELL_NAMES[cell_type],)):
            return run_kernel(cell_type, weights, options, x, state, how)

    def _place(self, layer: int, backward: bool) -> list[tuple[Any, ...]]:
        """The scopes of a layer in one direction."""
        place: list[tuple[Any, ...]] = [(f"cell_{layer}", "layer", layer)]
        if self.bidirectional:
            place.append(("bw" if backward else "fw", "direction", int(backward)))
        return place

    def _checked(self, value: Any, lengths: Any) -> tuple[Tensor, bool]:
        """The input with a batch axis, and whether it had one."""
        owner = type(self).__name__
        if not isinstance(value, Tensor) and hasattr(value, "batch_sizes"):
            raise TypeError(f"{owner}: x is a packed sequence, expected a padded array; give its lengths as lengths=")
        x = checked_input(owner, value, self.weight_ih_l0.dtype)
        shape = x.shape
        if len(shape) not in (2, 3) or shape[-1] != self.input_size:
            letters = "B, T" if self.batch_first else "T, B"
            raise ValueError(
                f"{owner}: x has shape {shape}, expected ({letters}, {self.input_size}) or, without a batch, "
                f"(T, {self.input_size}) for input_size={self.input_size}, batch_first={self.batch_first}"
            )
        if len(shape) == 3:
            return x, True
        if lengths is not None:
            raise ValueError(f"{owner}: lengths were given for an x of shape {x.shape} without a batch; cut x instead")
        return ops.expand_dims(x, axis=0 if self.batch_first else 1), False

    def _states(self, hx: Any, batch: int, batched: bool, dtype: Any) -> list[Any] | None:
        """The initial state of every layer and direction, in PyTorch's order; None for zeros."""
        return None if hx is None else self._parts("hx", hx, batch, batched, dtype)

    def _parts(
        self, argument: str, value: Any, batch: int, batched: bool, dtype: Any, size: str = "hidden_size"
    ) -> list[Tensor]:
        """Split a state (layers x directions, B, H) into states (B, H); `size`: the attribute that holds H."""
        owner, count = type(self).__name__, self.num_layers * self.directions
        if argument == "hx" and isinstance(value, (tuple, list)) and not hasattr(value, "dtype"):
            raise TypeError(f"{owner}: {argument} is a {type(value).__name__}, expected one tensor h_0")
        h = value if isinstance(value, Tensor) else Tensor(value, None if hasattr(value, "dtype") else dtype)
        units = getattr(self, size)
        expected = (count, batch, units) if batched else (count, units)
        if h.shape != expected:
            raise ValueError(
                f"{owner}: {argument} has shape {h.shape}, expected {expected}: (num_layers * directions"
                f"{', batch' * batched}, {size}), whatever batch_first says"
            )
        if h.dtype != dtype:
            raise TypeError(f"{owner}: {argument} has dtype {h.dtype}, x has {dtype}; use .astype(np.{dtype}) on it")
        return list(ops.unstack(h if batched else ops.expand_dims(h, axis=1)))

    def _joined(self, finals: list[Any], batched: bool) -> Any:
        """Final states as (layers x directions, B, H)."""
        if len(finals) > 1:
            h = ops.stack(finals)
        else:
            h = finals[0] if finals[0].ndim == 3 else ops.expand_dims(finals[0], axis=0)
        return h if batched else h.squeeze(1)

    def streamed(self) -> list[rnn.RNNCell]:
        """For `rnn.stepper`: the cells of all layers."""
        if self.bidirectional:
            raise ValueError(f"stepper: {type(self).__name__} is bidirectional, so it needs the whole sequence")
        return [self.cell(end) for layer in range(self.num_layers) for end in self.endings(layer)]

    def stepper(self, batch: int = 1) -> Any:
        """This net for streaming; see rnn.stepper."""
        return rnn.stepper(self, batch=batch)

    def describe(self) -> str:
        out = f"{self.input_size}, {self.hidden_size}"
        usually = {"num_layers": 1, "nonlinearity": "tanh", "bias": True, "batch_first": False, "proj_size": 0}
        for name, usual in usually.items():
            value = getattr(self, name)
            out += "" if value == usual else f", {name}={value!r}"
        return out + (f", dropout={self.dropout}" * bool(self.dropout)) + ", bidirectional=True" * self.bidirectional

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"


class RNN(Recurrent):
    """A stack of simple recurrent layers [Elman 1990]: h_t = φ(x_t W_ihᵀ + b_ih + h_{t−1} W_hhᵀ + b_hh).

    layer(x, h_0=None, lengths=None, impl="auto") -> output, h_n. x (T, B, D), or (B, T, D) with batch_first, or (T, D);
    output (T, B, H·directions) in the same layout: h_t of the last layer, both directions concatenated; h_0 and h_n
    (num_layers·directions, B, H), without a batch (…, H), in the order layer 0 forward, layer 0 backward, layer 1 …
    nonlinearity: "tanh" or "relu". dropout applies between layers in training. lengths (B): integers in any order, 0
    allowed; past its length a row's output is 0, and h_n is the state at its length (PyTorch uses packed sequences).
    impl as in rnn.dynamic_rnn. Parameters weight_ih_l0 (H, D), weight_hh_l0 (H, H), bias_ih_l0 and bias_hh_l0 (H), …,
    with _reverse for the backward direction, all initially uniform on ±1/√H; bias=False omits the biases.
    Raises ValueError for wrong shapes, lengths out of range and dropout with a single layer, TypeError for another
    dtype. Names and layouts are those of torch.nn.RNN.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> output, h_n = tg.nn.RNN(3, 4, num_layers=2, bidirectional=True)(np.ones((5, 2, 3), np.float32))
    >>> output.shape, h_n.shape
    ((5, 2, 8), (4, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            dtype=dtype,
            seed=seed,
        )
        self.nonlinearity = nonlinearity

    @property
    def cell_options(self) -> dict[str, Any]:
        return {"activation": self.nonlinearity}


class LSTM(Recurrent):
    """A stack of long short-term memory layers [Hochreiter & Schmidhuber 1997; Gers et al. 2000].

    i, f, g, o = split(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c').
    layer(x, (h_0, c_0)) -> output, (h_n, c_n), all in the order of torch.nn.LSTM; an rnn.LSTMState is read by name. No
    forget bias is added. Parameters (4H, ·) in blocks i f g o; shapes, options and errors as in RNN.
    proj_size P, below hidden_size: h' = (σ(o) tanh(c')) W_hrᵀ with weight_hr_l0 (P, H), …, so h_0, h_n and the outputs have
    size P instead of H, and weight_hh_l0 is (4H, P) [Sak et al. 2014]. Raises ValueError for a proj_size outside
    0 … hidden_size − 1.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> output, (h_n, c_n) = tg.nn.LSTM(3, 4, batch_first=True)(np.ones((2, 5, 3), np.float32), lengths=[5, 0])
    >>> output.shape, h_n.shape, c_n[0, 1].tolist()
    ((2, 5, 4), (1, 2, 4), [0.0, 0.0, 0.0, 0.0])
    >>> output, (h_n, c_n) = tg.nn.LSTM(3, 4, proj_size=2)(np.ones((5, 2, 3), np.float32))
    >>> output.shape, h_n.shape, c_n.shape
    ((5, 2, 2), (1, 2, 2), (1, 2, 4))
    """

    cell_class = rnn.LSTMCell
    projects = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            dtype=dtype,
            seed=seed,
        )

    @property
    def cell_options(self) -> dict[str, Any]:
        return {"num_proj": self.proj_size or None}

    def _states(self, hx: Any, batch: int, batched: bool, dtype: Any) -> list[Any] | None:
        if hx is None:
            return None
        h, c = lstm_pair("LSTM", hx)
        of_h = "proj_size" if self.proj_size else "hidden_size"
        wanted = (("c_0", c, "hidden_size"), ("h_0", h, of_h))
        both = (self._parts(name, part, batch, batched, dtype, size) for name, part, size in wanted)
        return [rnn.LSTMState(*parts) for parts in zip(*both, strict=True)]

    def _joined(self, finals: list[Any], batched: bool) -> Any:
        joined = super()._joined
        return joined([s.h for s in finals], batched), joined([s.c for s in finals], batched)


class GRU(Recurrent):
    """Gated recurrent units [Cho et al. 2014], the reset gate after the product as in cuDNN, layer on layer.

    r, z = σ(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh) in their blocks; n = tanh(x W_inᵀ + b_in + r (h W_hnᵀ + b_hn));
    h' = z h + (1 − z) n. layer(x, h_0) -> output, h_n. Parameters (3H, ·) in blocks r z n; shapes, options and errors as
    in RNN. For the reset gate before the product use rnn.GRUCell.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> output, h_n = tg.nn.GRU(3, 4)(np.ones((5, 3), np.float32))
    >>> output.shape, h_n.shape
    ((5, 4), (1, 4))
    """

    cell_class = rnn.GRUCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            dtype=dtype,
            seed=seed,
        )

    @property
    def cell_options(self) -> dict[str, Any]:
        return {"reset_after": True}


def lstm_pair(owner: str, hx: Any) -> tuple[Any, Any]:
    """(h, c) of a pair in that order, or of an LSTMState by name."""
    if isinstance(hx, rnn.LSTMState):
        return hx.h, hx.c
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        came = f"{type(hx).__name__}{f' of {len(hx)}' if isinstance(hx, (tuple, list)) else ''}"
        raise TypeError(f"{owner}: hx is {came}, expected the pair (h_0, c_0)")
    return hx[0], hx[1]
