"""Helpers of the converters: reordering of gates, and checks of weight dicts by name and shape.

Conversions are written with ops, which compute on plain arrays and record on tensors. The same code converts a dict of
arrays and, at every call, the parameters of an `nn` layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import ops, rnn
from ..autodiff.tensor import Tensor

Arrays = dict[str, Any]

CELLS: dict[str, Any] = {
    "rnn": rnn.BasicRNNCell,
    "lstm": rnn.LSTMCell,
    "gru": rnn.GRUCell,
}
GATES: dict[str, int] = {cell_type: cell.gates for cell_type, cell in CELLS.items()}


PEEPHOLES = ("peephole_i", "peephole_f", "peephole_o")


def blocks(array: Any, order: tuple[int, ...], axis: int = -1) -> Any:
    """Cut an axis into equal blocks and join them in the given order.

    >>> blocks(np.array([1, 2, 3, 4, 5, 6]), (1, 0, 2))
    array([3, 4, 1, 2, 5, 6])
    """
    if order == tuple(range(len(order))):
        return array
    reorder = ops.reorder_blocks.forward if isinstance(array, np.ndarray) else ops.reorder_blocks
    return reorder(array, order=order, axis=axis)


def gates_of(owner: str, cell_type: Any) -> int:
    """Number of gates of a type of cell ("rnn", "lstm" or "gru"); ValueError for any other."""
    if cell_type not in GATES:
        raise ValueError(f"{owner}: cell_type is {cell_type!r}, expected one of {tuple(GATES)}")
    return GATES[cell_type]


def select(
    owner: str, weights: Mapping[str, Any], expected: tuple[str, ...], unconvertible: Mapping[str, str] | None = None
) -> Arrays:
    """The weights of these names as arrays. Raises ValueError that lists missing and unexpected names.

    unconvertible: names without a counterpart in our cells, each with the reason for its error message.
    """
    for name, reason in (unconvertible or {}).items():
        if name in weights:
            raise ValueError(f"{owner}: {name} has no counterpart here: {reason}")
    errors = [f"missing {name}" for name in expected if name not in weights]
    errors += [f"unexpected {name}" for name in weights if name not in expected]
    if errors:
        raise ValueError(f"{owner}: the weights do not fit: {'; '.join(errors)}; expected {', '.join(expected)}")
    return {name: as_array(owner, name, weights[name]) for name in expected}


def as_array(owner: str, name: str, value: Any) -> Any:
    """A tensor or array-like as a NumPy array; TypeError if its dtype is not floating."""
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    if array.dtype.kind != "f":
        raise TypeError(f"{owner}: {name} has dtype {array.dtype}, expected floats")
    return array


def check_shapes(owner: str, arrays: Arrays, shapes: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise ValueError that lists every array whose shape differs from `shapes`; a letter in a shape is any size."""
    errors = []
    for name, shape in shapes.items():
        actual = arrays[name].shape
        if len(actual) != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, actual, strict=True)):
            expected = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
            errors.append(f"{name} has shape {actual}, expected {expected}")
    if errors:
        raise ValueError(f"{owner}: {'; '.join(errors)}")


def check_cell_shapes(owner: str, cell_type: str, weights: Arrays) -> int:
    """Check the shapes of the weights of one of our cells; returns the number of units."""
    gates = gates_of(owner, cell_type)
    outputs = weights["recurrent_kernel"].shape[0] if weights["recurrent_kernel"].ndim else 0
    projection = weights.get("projection_kernel")
    units = projection.shape[0] if projection is not None and projection.ndim else outputs
    expected: dict[str, tuple[Any, ...]] = {
        "kernel": ("D", gates * units),
        "recurrent_kernel": (outputs, gates * units),
        "bias": (gates * units,),
        "recurrent_bias": (gates * units,),
        **dict.fromkeys(PEEPHOLES, (units,)),
        "projection_kernel": (units, outputs),
    }
    check_shapes(owner, weights, {name: shape for name, shape in expected.items() if name in weights})
    return int(units)


def split_biases(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """Split a bias (2, 3H), the layout of layers.GRUCell, into bias and recurrent_bias; other weights are unchanged."""
    if "bias" not in weights or np.ndim(weights["bias"]) != 2 or "recurrent_bias" in weights:
        return weights
    return {**weights, **dict(zip(("bias", "recurrent_bias"), weights["bias"], strict=False))}


def cell_weights(
    owner: str,
    cell_type: str,
    weights: Mapping[str, Any],
    no_recurrent_bias: str = "",
    extra: tuple[str, ...] = (),
) -> Arrays:
    """The weights of one of our cells as arrays, checked by name and shape.

    no_recurrent_bias: the reason why a GRU with reset_after=True cannot be converted; empty if it can. extra: optional
    weights of an LSTM besides its kernels and bias. A BasicRNNCell or LSTMCell without a bias (use_bias=False) gets zeros.
    A GRU with a recurrent_bias has reset_after=True.
    """
    gates_of(owner, cell_type)
    weights = split_biases(weights)
    if cell_type != "gru" and "bias" not in weights and "recurrent_kernel" in weights:
        u = as_array(owner, "recurrent_kernel", weights["recurrent_kernel"])
        weights = {**weights, "bias": np.zeros(u.shape[-1] if u.ndim else 0, u.dtype)}
    names: tuple[str, ...] = ("kernel", "recurrent_kernel", "bias")
    if cell_type == "gru" and "recurrent_bias" in weights and not no_recurrent_bias:
        names = (*names, "recurrent_bias")
    if cell_type == "lstm":
        names = (*names, *(name for name in extra if name in weights))
    optional = {"recurrent_bias": no_recurrent_bias} if no_recurrent_bias and cell_type == "gru" else {}
    arrays = select(owner, weights, names, optional)
    check_cell_shapes(owner, cell_type, arrays)
    return arrays


def with_weights(cell: rnn.RNNCell, arrays: Arrays) -> rnn.RNNCell:
    """Set a cell's weights, by our names and in our layout; they may be tensors computed from other tensors."""
    for name, weight in arrays.items():
        setattr(cell, name, weight)
    cell.input_size, cell.dtype = arrays["kernel"].shape[0], arrays["kernel"].dtype
    return cell
