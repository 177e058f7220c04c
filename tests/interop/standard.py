"""ONNX's recurrent operators as the standard's equations say, in NumPy, step by step and row by row."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
FUNCTIONS: dict[str, Any] = {
    "Tanh": np.tanh,
    "Sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "Relu": lambda z: np.maximum(z, 0),
}
USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
DIRECTIONS = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}


def recurrent(
    op: str, x: Array, W: Array, R: Array, B: Any = None, lengths: Any = None, h0: Any = None, c0: Any = None, *,
    direction: str = "forward", activations: Any = None, linear_before_reset: int = 0, hidden_size: int = 0,
) -> list[Array]:  # fmt: skip
    """Y (T, directions, B, H), Y_h and for an LSTM Y_c (directions, B, H), of x (T, B, D) and rows of at least one step."""
    steps, rows, units = x.shape[0], x.shape[1], R.shape[2]
    sides, gates = DIRECTIONS[direction], {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    names = [name.capitalize() for name in activations or USUAL[op] * len(sides)]
    biases = np.zeros((len(sides), 2 * gates * units), x.dtype) if B is None else B
    y, finals = np.zeros((steps, len(sides), rows, units), x.dtype), []
    for d, backward in enumerate(sides):
        f = [FUNCTIONS[name] for name in names[d * len(USUAL[op]) :]]
        wb, rb = np.split(biases[d], 2)
        for row in range(rows):
            h, c = (np.zeros(units, x.dtype) if s is None else s[d, row] for s in (h0, c0))
            count = steps if lengths is None else lengths[row]
            for t in range(count)[:: -1 if backward else 1]:
                of_x, of_h = W[d] @ x[t, row] + wb, R[d] @ h + rb
                if op == "RNN":
                    h = f[0](of_x + of_h)
                elif op == "LSTM":
                    i, o, forget, new = np.split(of_x + of_h, 4)
                    c = f[0](forget) * c + f[0](i) * f[1](new)
                    h = f[0](o) * f[2](c)
                else:
                    z, r = (f[0](a + b) for a, b in list(zip(np.split(of_x, 3), np.split(of_h, 3), strict=True))[:2])
                    if linear_before_reset:
                        new = f[1](of_x[2 * units :] + r * of_h[2 * units :])
                    else:
                        new = f[1](of_x[2 * units :] + R[d, 2 * units :] @ (r * h) + rb[2 * units :])
                    h = (1 - z) * new + z * h
                y[t, d, row] = h
            finals.append((h, c))
    shape = (len(sides), rows, units)
    return [y, *(np.reshape([pair[k] for pair in finals], shape) for k in range(2 if op == "LSTM" else 1))]
