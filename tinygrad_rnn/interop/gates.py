"""What converters share: the order of gates, and dicts of arrays checked by name and shape.

Conversions are written with ops, which compute on plain arrays and record on tensors: the same lines turn a dict of
arrays and, call by call, the parameters of the PyTorch face.
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
}  # what other libraries have too
GATES: dict[str, int] = {kind: cell.gates for kind, cell in CELLS.items()}


PEEPHOLES = ("peephole_i", "peephole_f", "peephole_o")


def blocks(array: Any, order: tuple[int, ...], axis: int = -1) -> Any:
    """The equal blocks of an axis in another order.

    >>> blocks(np.array([1, 2, 3, 4, 5, 6]), (1, 0, 2))
    array([3, 4, 1, 2, 5, 6])
    """
    return array if order == tuple(range(len(order))) else ops.reorder_blocks(array, order=order, axis=axis)


def gates_of(owner: str, kind: Any) -> int:
    """How many gates a kind of cell has; ValueError for a kind that is none."""
    if kind not in GATES:
        raise ValueError(f"{owner}: kind is {kind!r}, expected one of {tuple(GATES)}")
    return GATES[kind]


def taken(
    owner: str, weights: Mapping[str, Any], wanted: tuple[str, ...], optional: Mapping[str, str] | None = None
) -> Arrays:
    """The arrays of these names, as arrays; ValueError names what is missing, and what is there beside them.

    optional: names that may be there but have no counterpart, with the reason that is then told.
    """
    for name, why in (optional or {}).items():
        if name in weights:
            raise ValueError(f"{owner}: {name} has no counterpart here: {why}")
    faults = [f"missing {name}" for name in wanted if name not in weights]
    faults += [f"unexpected {name}" for name in weights if name not in wanted]
    if faults:
        raise ValueError(f"{owner}: the weights do not fit: {'; '.join(faults)}; expected {', '.join(wanted)}")
    return {name: as_array(owner, name, weights[name]) for name in wanted}


def as_array(owner: str, name: str, value: Any) -> Any:
    """A floating NumPy array of a tensor or of anything array-like."""
    array = np.asarray(value.data if isinstance(value, Tensor) else value)
    if array.dtype.kind != "f":
        raise TypeError(f"{owner}: {name} has dtype {array.dtype}, expected floats")
    return array


def demand(owner: str, arrays: Arrays, shapes: Mapping[str, tuple[Any, ...]]) -> None:
    """ValueError for every array whose shape is not the one given; a letter in a shape stands for any size."""
    faults = []
    for name, shape in shapes.items():
        came = arrays[name].shape
        if len(came) != len(shape) or any(isinstance(n, int) and n != m for n, m in zip(shape, came, strict=True)):
            wanted = f"({', '.join(map(str, shape))}{',' * (len(shape) == 1)})"
            faults.append(f"{name} has shape {came}, expected {wanted}")
    if faults:
        raise ValueError(f"{owner}: {'; '.join(faults)}")


def our_shapes(owner: str, kind: str, weights: Arrays) -> int:
    """Check the shapes of one of our cells' weights; returns the number of units."""
    gates = gates_of(owner, kind)
    outputs = weights["recurrent_kernel"].shape[0] if weights["recurrent_kernel"].ndim else 0
    projection = weights.get("projection_kernel")
    units = projection.shape[0] if projection is not None and projection.ndim else outputs
    shapes: dict[str, tuple[Any, ...]] = {
        "kernel": ("D", gates * units),
        "recurrent_kernel": (outputs, gates * units),
        "bias": (gates * units,),
        "recurrent_bias": (gates * units,),
        **dict.fromkeys(PEEPHOLES, (units,)),
        "projection_kernel": (units, outputs),
    }
    demand(owner, weights, {name: shape for name, shape in shapes.items() if name in weights})
    return int(units)


def separate(weights: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights with a bias (2, 3H), as layers.GRUCell keeps it, as bias and recurrent_bias."""
    if "bias" not in weights or np.ndim(weights["bias"]) != 2 or "recurrent_bias" in weights:
        return weights
    return {**weights, **dict(zip(("bias", "recurrent_bias"), weights["bias"], strict=False))}


def our_weights(
    owner: str,
    kind: str,
    weights: Mapping[str, Any],
    no_recurrent_bias: str = "",
    further: tuple[str, ...] = (),
) -> Arrays:
    """The arrays of one of our cells, checked. no_recurrent_bias: why a GRU of the form reset_after has no counterpart;
    further: what an LSTM may have beside kernels and bias.

    A plain cell or an LSTM may have no bias (use_bias=False): it is zeros here. A GRU's biases tell its form.
    """
    gates_of(owner, kind)
    weights = separate(weights)
    if kind != "gru" and "bias" not in weights and "recurrent_kernel" in weights:
        u = as_array(owner, "recurrent_kernel", weights["recurrent_kernel"])
        weights = {**weights, "bias": np.zeros(u.shape[-1] if u.ndim else 0, u.dtype)}
    names: tuple[str, ...] = ("kernel", "recurrent_kernel", "bias")
    if kind == "gru" and "recurrent_bias" in weights and not no_recurrent_bias:
        names = (*names, "recurrent_bias")
    if kind == "lstm":
        names = (*names, *(name for name in further if name in weights))
    optional = {"recurrent_bias": no_recurrent_bias} if no_recurrent_bias and kind == "gru" else {}
    found = taken(owner, weights, names, optional)
    our_shapes(owner, kind, found)
    return found


def lent(cell: rnn.RNNCell, arrays: Arrays) -> rnn.RNNCell:
    """The cell over these weights, in our names and layout, which may be tensors computed from something else."""
    for name, weight in arrays.items():
        setattr(cell, name, weight)
    cell.input_size, cell.dtype = arrays["kernel"].shape[0], arrays["kernel"].dtype
    return cell
