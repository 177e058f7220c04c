"""ONNX's recurrent weights to and from those of our cells.

One direction of an ONNX RNN, GRU or LSTM has W (G·H, D), R (G·H, H) and B (2·G·H), the biases of x and of h one after the
other; gates i o f c (LSTM, c is our g) and z r h (GRU, h is our n).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import ops
from ..gates import Arrays, blocks, cell_weights, check_shapes, gates_of, select

FROM_ONNX = {"rnn": (0,), "lstm": (0, 2, 3, 1), "gru": (0, 1, 2)}  # ONNX's gates in our order
TO_ONNX = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}  # our gates in ONNX's order


def convert_weights(cell_type: str, w: Any, r: Any, b: Any, reset_after: bool) -> Arrays:
    """Our parameters from W, R, B of one direction, without checks; recorded on tensors."""
    order = FROM_ONNX[cell_type]
    arrays = {"kernel": blocks(w.T, order), "recurrent_kernel": blocks(r.T, order)}
    bias, recurrent_bias = (blocks(half, order) for half in ops.split(b, 2, axis=-1))
    return (
        {**arrays, "bias": bias, "recurrent_bias": recurrent_bias}
        if reset_after
        else {**arrays, "bias": bias + recurrent_bias}
    )


def to_cell(cell_type: str, weights: Mapping[str, Any], *, linear_before_reset: bool = False) -> Arrays:
    """Convert W, R, B of one direction to the weights of one of our cells; without B zeros are used.

    cell_type: "rnn", "lstm" or "gru". linear_before_reset: the GRU operator's attribute; if set, the cell has
    reset_after=True and a recurrent_bias, otherwise the two biases are added. Raises ValueError that names missing or
    unexpected weights and wrong shapes.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.onnx import to_cell
    >>> {name: a.shape for name, a in to_cell("lstm", {"W": np.ones((8, 3)), "R": np.ones((8, 2))}).items()}
    {'kernel': (3, 8), 'recurrent_kernel': (2, 8), 'bias': (8,)}
    """
    owner = "interop.onnx.to_cell"
    gates = gates_of(owner, cell_type)
    peepholes = {"P": "peepholes, by which gates see c, are not converted from ONNX"}
    arrays = select(owner, weights, ("W", "R", "B") if "B" in weights else ("W", "R"), peepholes)
    units = arrays["R"].shape[-1] if arrays["R"].ndim else 0
    check_shapes(owner, arrays, {"W": (gates * units, "D"), "R": (gates * units, units)})
    arrays.setdefault("B", np.zeros(2 * gates * units, arrays["W"].dtype))
    check_shapes(owner, arrays, {"B": (2 * gates * units,)})
    return convert_weights(cell_type, arrays["W"], arrays["R"], arrays["B"], cell_type == "gru" and linear_before_reset)


def from_cell(cell_type: str, weights: Mapping[str, Any]) -> Arrays:
    """The inverse of to_cell: W, R, B of one direction. A GRU with a recurrent_bias needs linear_before_reset=1.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.onnx import from_cell
    >>> cell = {"kernel": np.ones((3, 6)), "recurrent_kernel": np.ones((2, 6)), "bias": np.ones(6)}
    >>> {name: a.shape for name, a in from_cell("gru", cell).items()}
    {'W': (6, 3), 'R': (6, 2), 'B': (12,)}
    """
    arrays = cell_weights("interop.onnx.from_cell", cell_type, weights)
    recurrent_bias = arrays.get("recurrent_bias", np.zeros_like(arrays["bias"]))
    w, r, input_bias, hidden_bias = (
        blocks(a, TO_ONNX[cell_type]).T
        for a in (arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"], recurrent_bias)
    )
    return {"W": np.ascontiguousarray(w), "R": np.ascontiguousarray(r), "B": np.concatenate([input_bias, hidden_bias])}
