"""Keras's recurrent weights to and from those of our cells, without importing Keras.

Keras stores a list for each layer: kernel (D, G·H), recurrent_kernel (H, G·H) and, with use_bias, bias (G·H). The order
of gates is the same as ours: i f c o is i f g o, z r h is z r n. A GRU with reset_after=True has one bias (2, 3H) where
our cell has two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .gates import Arrays, cell_weights, check_cell_shapes, check_shapes, gates_of, select

NAMES = ("kernel", "recurrent_kernel", "bias")
CUDNN = (
    "a flat bias (6H,) is that of CuDNNGRU, whose kernels are arranged otherwise; load it into keras.layers.GRU and take "
    "the weights from there"
)


def to_cell(cell_type: str, weights: Sequence[Any] | Mapping[str, Any], *, reset_after: bool = True) -> Arrays:
    """Convert the weights of one Keras layer or cell to those of one of our cells.

    cell_type: "rnn" (SimpleRNN), "lstm" or "gru". weights: the list that `get_weights()` returns, [kernel, recurrent_kernel,
    bias] or without the bias (use_bias=False; zeros are used), or a dict of them. Only the part of a name after its last
    "/" is used, so {v.path: v.numpy() for v in layer.weights} works. A GRU's bias (2, 3H) becomes bias and
    recurrent_bias; a bias (3H) means reset_after=False. Without a bias the argument reset_after decides. The result loads
    into a cell with load_state_dict. Raises ValueError that names missing or unexpected weights and wrong shapes.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.keras import to_cell
    >>> w = [np.ones((3, 6)), np.ones((2, 6)), np.zeros((2, 6))]
    >>> {name: a.shape for name, a in to_cell("gru", w).items()}
    {'kernel': (3, 6), 'recurrent_kernel': (2, 6), 'bias': (6,), 'recurrent_bias': (6,)}
    """
    owner = "interop.keras.to_cell"
    gates = gates_of(owner, cell_type)
    named = _named(owner, weights)
    arrays = select(owner, named, NAMES if "bias" in named else NAMES[:2])
    units = check_cell_shapes(owner, cell_type, {name: arrays[name] for name in NAMES[:2]})
    zeros = np.zeros(gates * units, arrays["kernel"].dtype)
    if "bias" not in arrays:
        arrays["bias"] = np.stack([zeros, zeros]) if cell_type == "gru" and reset_after else zeros
    if cell_type != "gru" or arrays["bias"].ndim != 2:
        if arrays["bias"].shape == (2 * gates * units,) and cell_type == "gru":
            raise ValueError(f"{owner}: bias has shape {arrays['bias'].shape}: {CUDNN}")
        check_shapes(owner, arrays, {"bias": (gates * units,)})
        return arrays
    check_shapes(owner, arrays, {"bias": (2, gates * units)})
    return arrays | dict(zip(("bias", "recurrent_bias"), arrays["bias"], strict=True))


def from_cell(cell_type: str, weights: Mapping[str, Any], *, bias: bool = True) -> list[Any]:
    """The inverse of to_cell: the weights of one of our cells as the list that Keras's `set_weights` takes.

    A GRU with a recurrent_bias becomes one with reset_after=True and bias (2, 3H), otherwise reset_after=False.
    bias=False omits the bias. Raises ValueError for wrong names or shapes, and for bias=False if the bias is not 0.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.keras import from_cell
    >>> cell = {"kernel": np.ones((3, 2)), "recurrent_kernel": np.ones((2, 2)), "bias": np.ones(2)}
    >>> [a.shape for a in from_cell("rnn", cell)]
    [(3, 2), (2, 2), (2,)]
    """
    owner = "interop.keras.from_cell"
    arrays = cell_weights(owner, cell_type, weights)
    if "recurrent_bias" in arrays:
        arrays["bias"] = np.stack([arrays["bias"], arrays.pop("recurrent_bias")])
    if bias:
        return [arrays[name] for name in NAMES]
    if np.any(arrays["bias"]):
        raise ValueError(f"{owner}: bias=False leaves out the bias, which is not 0: the numbers would differ")
    return [arrays[name] for name in NAMES[:2]]


def _named(owner: str, weights: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Weights by Keras's names, from a list or from a dict by path."""
    if isinstance(weights, Mapping):
        return {str(path).rpartition("/")[2].removesuffix(":0"): a for path, a in weights.items()}
    if not isinstance(weights, (list, tuple)) or len(weights) not in (2, 3):
        actual = f"{type(weights).__name__}{f' of {len(weights)}' if isinstance(weights, (list, tuple)) else ''}"
        raise ValueError(
            f"{owner}: weights is a {actual}, expected [kernel, recurrent_kernel, bias] or without the bias"
        )
    return dict(zip(NAMES, weights, strict=False))
