"""PyTorch's RNNCell, LSTMCell and GRUCell: one step, with the state in PyTorch's order."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, ops, rnn
from ..autodiff.state import scope
from ..autodiff.steps import current_step, fields_of, name_states
from ..autodiff.tensor import Tensor
from ..module import Parameter
from ..rnn.cell import UNSCOPED, leaves, scopes_unread, zeros
from ..rnn.cells import kernel_step
from .basics import checked_input, floating_dtype
from .recurrent import CELL_NAMES, CellModule, draw_weights, lstm_pair, uniform_initializer


class Cell(CellModule):
    """Base of the cells."""

    nonlinearity = "tanh"
    weight_ih: Parameter

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = np.float32, seed: Any = None
    ):
        owner = type(self).__name__
        self.input_size = checks.integer(owner, "input_size", input_size)
        self.hidden_size = checks.integer(owner, "hidden_size", hidden_size)
        self.bias = bool(bias)
        draw = uniform_initializer(self.hidden_size, seed)
        gates = self.cell_class.gates
        draw_weights(self, gates, self.input_size, self.hidden_size, self.bias, floating_dtype(owner, dtype), draw, "")

    def as_cell(self) -> rnn.RNNCell:
        """The cell of `rnn` that the driver runs, with weights computed from the current parameters."""
        return self.cell()

    def stepper(self, batch: int = 1) -> Any:
        """This cell for streaming; see rnn.stepper."""
        return rnn.stepper(self, batch=batch)

    def forward(self, x: Any, hx: Any = None) -> Any:
        owner = type(self).__name__
        x = checked_input(owner, x, self.weight_ih.dtype)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{owner}: x has shape {x.shape}, expected (B, {self.input_size}) or ({self.input_size},) for "
                f"input_size={self.input_size}"
            )
        batched = x.ndim == 2
        rows = x if batched else ops.expand_dims(x, axis=0)
        options, cell = self.kernel_options, None
        sizes: Any = self.hidden_size
        if options is None:
            cell = self.cell()
            sizes = cell.state_size
        elif self.cell_type == "lstm":
            sizes = rnn.LSTMState(sizes, sizes)
        paired = isinstance(sizes, rnn.LSTMState)
        if hx is not None:
            if not paired and isinstance(hx, (tuple, list)):
                raise TypeError(f"{owner}: hx is a {type(hx).__name__}, expected one tensor h")
            parts = [self._part(part, rows, batched) for part in (lstm_pair(owner, hx) if paired else (hx,))]
            state = rnn.LSTMState(h=parts[0], c=parts[1]) if paired else parts[0]
        else:
            state = zeros(sizes, rows.shape[0], rows.dtype)
        if cell is not None:
            new = cell(rows, state)[1]
        else:
            with UNSCOPED if scopes_unread() else scope(CELL_NAMES[self.cell_type]):
                new = kernel_step(self.cell_type, options or {}, self.own_weights(), rows, state)
            if current_step() is not None:
                name_states(leaves(new), tuple(fields_of(new)), leaves(state))
        results = (new.h, new.c) if paired else (new,)
        results = results if batched else tuple(part.squeeze(0) for part in results)
        return results if paired else results[0]

    def _part(self, value: Any, rows: Tensor, batched: bool) -> Tensor:
        """Check h or c; returns it as (B, H)."""
        owner = type(self).__name__
        h = value if isinstance(value, Tensor) else Tensor(value, None if hasattr(value, "dtype") else rows.dtype)
        expected = (rows.shape[0], self.hidden_size) if batched else (self.hidden_size,)
        if h.shape != expected:
            raise ValueError(
                f"{owner}: hx has shape {h.shape}, expected {expected} for an x of {'' if batched else 'no '}batch"
            )
        if h.dtype != rows.dtype:
            raise TypeError(f"{owner}: hx has dtype {h.dtype}, x has {rows.dtype}; use .astype(np.{rows.dtype}) on it")
        return h if batched else ops.expand_dims(h, axis=0)

    def describe(self) -> str:
        out = f"{self.input_size}, {self.hidden_size}" + ", bias=False" * (not self.bias)
        return out + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity!r}")


class RNNCell(Cell):
    """One step of a simple recurrent net [Elman 1990]: h' = φ(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh).

    cell(x, h=None) -> h'. x (B, D) or (D), h and h' (B, H) or (H); h defaults to zeros. nonlinearity: "tanh" or "relu".
    Parameters weight_ih (H, D), weight_hh (H, H), bias_ih, bias_hh (H), initially uniform on ±1/√H. Raises ValueError
    for wrong shapes, TypeError for another dtype. Names and layouts are those of torch.nn.RNNCell; rnn.BasicRNNCell is
    the cell for dynamic_rnn.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(3, 4)
    >>> cell(np.ones((2, 3), np.float32)).shape, list(cell.state_dict())
    ((2, 4), ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        *,
        dtype: Any = np.float32,
        seed: Any = None,
    ):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        super().__init__(input_size, hidden_size, bias, dtype=dtype, seed=seed)
        self.nonlinearity = nonlinearity

    @property
    def cell_options(self) -> dict[str, Any]:
        return {"activation": self.nonlinearity}


class LSTMCell(Cell):
    """One LSTM step [Hochreiter & Schmidhuber 1997; Gers et al. 2000].

    i, f, g, o = split(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c').
    cell(x, (h, c)) -> (h', c'), in the order of torch.nn.LSTMCell; an rnn.LSTMState is read by name. Parameters (4H, ·)
    in blocks i f g o; the rest as in RNNCell.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> h, c = tg.nn.LSTMCell(3, 4)(np.ones((2, 3), np.float32))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    cell_class = rnn.LSTMCell

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = np.float32, seed: Any = None
    ):
        super().__init__(input_size, hidden_size, bias, dtype=dtype, seed=seed)


class GRUCell(Cell):
    """One GRU step [Cho et al. 2014], with the reset gate applied after the product.

    r, z = σ(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh), in the blocks r, z; n = tanh(x W_inᵀ + b_in + r (h W_hnᵀ + b_hn));
    h' = z h + (1 − z) n. cell(x, h) -> h'. Parameters (3H, ·) in blocks r z n; the rest as in RNNCell.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.nn.GRUCell(3, 4)(np.ones(3, np.float32)).shape
    (4,)
    """

    cell_class = rnn.GRUCell

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = np.float32, seed: Any = None
    ):
        super().__init__(input_size, hidden_size, bias, dtype=dtype, seed=seed)

    @property
    def cell_options(self) -> dict[str, Any]:
        return {"reset_after": True}
