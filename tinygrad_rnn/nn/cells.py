"""RNNCell, LSTMCell, GRUCell by PyTorch's conventions: one step, with the state as PyTorch orders it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, ops, rnn
from ..autodiff.tensor import Tensor
from ..module import Parameter
from .basics import _float, _input
from .recurrent import CellModule, beginning, draw_weights, lstm_pair


class Cell(CellModule):
    """What single steps share."""

    nonlinearity = "tanh"
    weight_ih: Parameter

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, *, dtype: Any = np.float32, seed: Any = None
    ):
        owner = type(self).__name__
        self.input_size = checks.integer(owner, "input_size", input_size)
        self.hidden_size = checks.integer(owner, "hidden_size", hidden_size)
        self.bias = bool(bias)
        draw = beginning(self.hidden_size, seed)
        wide = self.cell_class.gates
        draw_weights(self, wide, self.input_size, self.hidden_size, self.bias, _float(owner, dtype), draw, "")

    def as_cell(self) -> rnn.RNNCell:
        """The cell of `rnn` that drivers run: it computes with these parameters as they are now."""
        return self.cell()

    def stepper(self, batch: int = 1) -> Any:
        """This cell for streaming; see rnn.stepper."""
        return rnn.stepper(self, batch=batch)

    def forward(self, x: Any, hx: Any = None) -> Any:
        owner = type(self).__name__
        x = _input(owner, x, self.weight_ih.dtype)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{owner}: x has shape {x.shape}, expected (B, {self.input_size}) or ({self.input_size},) for "
                f"input_size={self.input_size}"
            )
        batched = x.ndim == 2
        rows = x if batched else ops.expand_dims(x, axis=0)
        cell = self.cell()
        paired = isinstance(cell.state_size, rnn.LSTMState)
        if hx is None:
            state = cell.zero_state(rows.shape[0], rows.dtype)
        else:
            if not paired and isinstance(hx, (tuple, list)):
                raise TypeError(f"{owner}: hx is a {type(hx).__name__}, expected one tensor h")
            found = [self._part(part, rows, batched) for part in (lstm_pair(owner, hx) if paired else (hx,))]
            state = rnn.LSTMState(h=found[0], c=found[1]) if paired else found[0]
        _, new = cell(rows, state)
        results = (new.h, new.c) if paired else (new,)
        results = results if batched else tuple(part.squeeze(0) for part in results)
        return results if paired else results[0]

    def _part(self, given: Any, rows: Tensor, batched: bool) -> Tensor:
        """One part of the state as (B, H)."""
        owner = type(self).__name__
        h = given if isinstance(given, Tensor) else Tensor(given, None if hasattr(given, "dtype") else rows.dtype)
        wanted = (rows.shape[0], self.hidden_size) if batched else (self.hidden_size,)
        if h.shape != wanted:
            raise ValueError(
                f"{owner}: hx has shape {h.shape}, expected {wanted} for an x of {'' if batched else 'no '}batch"
            )
        if h.dtype != rows.dtype:
            raise TypeError(f"{owner}: hx has dtype {h.dtype}, x has {rows.dtype}; use .astype(np.{rows.dtype}) on it")
        return h if batched else ops.expand_dims(h, axis=0)

    def describe(self) -> str:
        out = f"{self.input_size}, {self.hidden_size}" + ", bias=False" * (not self.bias)
        return out + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity!r}")


class RNNCell(Cell):
    """One plain recurrent step [Elman 1990]: h' = φ(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh).

    cell(x, h=None) -> h'. x (B, D) or (D), h and h' (B, H) or (H); no h is zeros. nonlinearity: "tanh" or "relu".
    Parameters weight_ih (H, D), weight_hh (H, H), bias_ih, bias_hh (H), beginning uniform on ±1/√H. Raises ValueError
    for other shapes, TypeError for another dtype. Named and laid out after torch.nn.RNNCell; rnn.BasicRNNCell is the
    cell for drivers.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.nn.RNNCell(3, 4)
    >>> cell(np.ones((2, 3), np.float32)).shape, list(cell.state_dict())
    ((2, 4), ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'])
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh", **kwargs: Any):
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity is {nonlinearity!r}, expected 'tanh' or 'relu'")
        super().__init__(input_size, hidden_size, bias, **kwargs)
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


class GRUCell(Cell):
    """One GRU step [Cho et al. 2014], the reset gate after the product.

    r, z = σ(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh) in their blocks; n = tanh(x W_inᵀ + b_in + r (h W_hnᵀ + b_hn));
    h' = z h + (1 − z) n. cell(x, h) -> h'. Parameters (3H, ·) in blocks r z n; the rest as in RNNCell.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.nn.GRUCell(3, 4)(np.ones(3, np.float32)).shape
    (4,)
    """

    cell_class = rnn.GRUCell

    @property
    def cell_options(self) -> dict[str, Any]:
        return {"reset_after": True}
