"""ONNX's recurrent weights to and from those of our cells.

One direction of an ONNX RNN, GRU or LSTM has W (G·H, D), R (G·H, H) and B (2·G·H), the biases of x and of h one after the
other; gates i o f c (LSTM, c is our g) and z r h (GRU, h is our n).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ... import ops
from ..gates import Arrays, blocks, demand, gates_of, our_weights, taken

OURS = {"rnn": (0,), "lstm": (0, 2, 3, 1), "gru": (0, 1, 2)}  # their blocks in our order
THEIRS = {"rnn": (0,), "lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}  # and ours in theirs


def arranged(kind: str, w: Any, r: Any, b: Any, reset_after: bool) -> Arrays:
    """Our parameters from one direction's W, R, B, unchecked; on tensors it is recorded."""
    order = OURS[kind]
    found = {"kernel": blocks(w.T, order), "recurrent_kernel": blocks(r.T, order)}
    of_x, of_h = (blocks(part, order) for part in ops.split(b, 2, axis=-1))
    return {**found, "bias": of_x, "recurrent_bias": of_h} if reset_after else {**found, "bias": of_x + of_h}


def to_cell(kind: str, weights: Mapping[str, Any], *, linear_before_reset: bool = False) -> Arrays:
    """W, R, B of one direction as the arrays of one of our cells; B may be absent: it is zeros.

    kind: "rnn", "lstm" or "gru". linear_before_reset is the GRU operator's attribute: with it our form is
    reset_after=True, with a recurrent_bias; without it the two biases become one, their sum. Raises ValueError that
    names what is missing, unexpected or of another shape.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.onnx import to_cell
    >>> {name: a.shape for name, a in to_cell("lstm", {"W": np.ones((8, 3)), "R": np.ones((8, 2))}).items()}
    {'kernel': (3, 8), 'recurrent_kernel': (2, 8), 'bias': (8,)}
    """
    owner = "interop.onnx.to_cell"
    gates = gates_of(owner, kind)
    peepholes = {"P": "peepholes, by which gates see c, are not converted from ONNX"}
    found = taken(owner, weights, ("W", "R", "B") if "B" in weights else ("W", "R"), peepholes)
    units = found["R"].shape[-1] if found["R"].ndim else 0
    demand(owner, found, {"W": (gates * units, "D"), "R": (gates * units, units)})
    found.setdefault("B", np.zeros(2 * gates * units, found["W"].dtype))
    demand(owner, found, {"B": (2 * gates * units,)})
    return arranged(kind, found["W"], found["R"], found["B"], kind == "gru" and linear_before_reset)


def from_cell(kind: str, weights: Mapping[str, Any]) -> Arrays:
    """The inverse of to_cell: W, R, B of one direction. A GRU with recurrent_bias is for linear_before_reset=1.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.onnx import from_cell
    >>> cell = {"kernel": np.ones((3, 6)), "recurrent_kernel": np.ones((2, 6)), "bias": np.ones(6)}
    >>> {name: a.shape for name, a in from_cell("gru", cell).items()}
    {'W': (6, 3), 'R': (6, 2), 'B': (12,)}
    """
    found = our_weights("interop.onnx.from_cell", kind, weights)
    second = found.get("recurrent_bias", np.zeros_like(found["bias"]))
    w, r, x, h = (
        blocks(a, THEIRS[kind]).T for a in (found["kernel"], found["recurrent_kernel"], found["bias"], second)
    )
    return {"W": np.ascontiguousarray(w), "R": np.ascontiguousarray(r), "B": np.concatenate([x, h])}
