"""Layer normalization, and the LSTM cell that normalizes its gates and its memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import checks, ops
from ..autodiff.state import generator
from ..initializers import Constant
from .cell import LSTMState, gate, random_source
from .cells import GatedCell


def normalized(x: Any, axes: int | tuple[int, ...] = -1, eps: float = 1e-12) -> Any:
    """(x − mean) / √(var + eps) over some axes, with the biased variance [Ba, Kiros & Hinton 2016].

    >>> import numpy as np
    >>> normalized(np.array([[1.0, 3.0]])).round(6)
    array([[-1.,  1.]])
    """
    centred = x - ops.mean(x, axis=axes, keepdims=True)
    return centred / ops.sqrt(ops.mean(ops.square(centred), axis=axes, keepdims=True) + eps)


class LayerNormLSTMCell(GatedCell):
    """An LSTM step with layer normalization of each gate and of the memory [Ba, Kiros & Hinton 2016].

    i, f, g, o = split(x W + h U), each normalized over its units, times gain plus shift in its columns; c' = LN(σ(f) c +
    σ(i) tanh(g)), normalized too, with state_gain and state_shift; h' = σ(o) tanh(c'). x (B, D), state LSTMState(c, h),
    each (B, H), output h'. kernel (D, 4H), recurrent_kernel (H, 4H), no bias; gain and shift (4H), initially norm_gain
    and norm_shift, with forget_bias added to the shift of f; state_gain, state_shift (H). dropout_keep_prob: in training
    mode each element of tanh(g) is kept with this probability and divided by it [Semeniuta et al. 2016]. The formula is
    that of TensorFlow 1's LayerNormBasicLSTMCell. Raises ValueError for a dropout_keep_prob outside (0, 1]; otherwise as
    LSTMCell.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.LayerNormLSTMCell(2)
    >>> output, state = cell(np.ones((3, 4), np.float32), cell.zero_state(3))
    >>> output.shape, cell.shift.tolist()
    ((3, 2), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    """

    gates = 4
    cell_type = "lstm"

    def __init__(
        self,
        num_units: int,
        forget_bias: float = 1.0,
        norm_gain: float = 1.0,
        norm_shift: float = 0.0,
        dropout_keep_prob: float = 1.0,
        dropout_prob_seed: Any = None,
        **options: Any,
    ):
        for name in ("bias_initializer", "use_bias"):
            if name in options:
                raise TypeError(f"LayerNormLSTMCell: it has no bias, so no {name}; norm_shift takes its place")
        super().__init__(num_units, **options)
        checks.probability("LayerNormLSTMCell", "dropout_keep_prob", dropout_keep_prob, "(0, 1]")
        self.state_size = LSTMState(self.num_units, self.num_units)
        self.forget_bias, self.norm_gain, self.norm_shift = forget_bias, norm_gain, norm_shift
        self.dropout_keep_prob, self.rng = dropout_keep_prob, random_source(dropout_prob_seed)

    def build_parameters(self, input_size: int) -> None:
        wide = self.gates * self.num_units
        self.add("kernel", (input_size, wide), self.initializers["kernel"])
        self.add("recurrent_kernel", (self.num_units, wide), self.initializers["recurrent_kernel"])
        shift = np.repeat([0, self.forget_bias, 0, 0], self.num_units) + self.norm_shift
        self.add("gain", (wide,), Constant(self.norm_gain))
        self.add("shift", (wide,), lambda shape, dtype: shift)
        self.add("state_gain", (self.num_units,), Constant(self.norm_gain))
        self.add("state_shift", (self.num_units,), Constant(self.norm_shift))

    def fused(self) -> str | None:
        return None

    def draw(self, shape: tuple[int, int, int], dtype: Any) -> Any:
        p = self.dropout_keep_prob
        if p == 1 or not self.training:
            return ()
        return ((generator(self.rng).random((*shape[:2], self.num_units)) < p) / p).astype(dtype)

    def call(self, x: Any, state: Any, drawn: Any = ()) -> tuple[Any, Any]:
        blocks = (4, self.num_units)
        z = normalized((x @ self.kernel + state.h @ self.recurrent_kernel).reshape((-1, *blocks)))
        z = z * self.gain.reshape(blocks) + self.shift.reshape(blocks)
        i, f, g, o = ops.unstack(z, axis=1)
        i, f, o = gate("i", ops.sigmoid(i)), gate("f", ops.sigmoid(f)), gate("o", ops.sigmoid(o))
        g = gate("g", ops.tanh(g))
        if not isinstance(drawn, tuple):
            g = g * drawn
        c = gate("c", normalized(f * state.c + i * g) * self.state_gain + self.state_shift)
        h = gate("h", o * ops.tanh(c))
        return h, LSTMState(c, h)

    def describe(self) -> str:
        p = self.dropout_keep_prob
        return super().describe() + ("" if p == 1 else f", dropout_keep_prob={p}")
