"""Keras's recurrent weights to and from those of our cells; no Keras is imported.

Keras keeps a list for each layer: kernel (D, G·H), recurrent_kernel (H, G·H) and, with use_bias, bias (G·H). The order of
gates is ours: i f c o is i f g o, z r h is z r n. A GRU with reset_after has one bias (2, 3H) where ours has two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .gates import Arrays, demand, gates_of, our_shapes, our_weights, taken

NAMES = ("kernel", "recurrent_kernel", "bias")
CUDNN = (
    "a flat bias (6H,) is that of CuDNNGRU, whose kernels are arranged otherwise; load it into keras.layers.GRU and take "
    "the weights from there"
)


def to_cell(kind: str, weights: Sequence[Any] | Mapping[str, Any], *, reset_after: bool = True) -> Arrays:
    """Weights of one Keras layer or cell as the arrays of one of our cells.

    kind: "rnn" (SimpleRNN), "lstm" or "gru". weights: what `get_weights()` gives, [kernel, recurrent_kernel, bias] or
    without the bias (use_bias=False: it is zeros here), or a dict of them; of a name only what follows the last "/"
    counts, so {v.path: v.numpy() for v in layer.weights} will do. A GRU's bias (2, 3H) becomes bias and recurrent_bias;
    one of (3H) is that of reset_after=False, and so is none at all if reset_after says so. The result loads into a cell
    with load_state_dict. Raises ValueError that names what is missing, unexpected or of another shape.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.keras import to_cell
    >>> w = [np.ones((3, 6)), np.ones((2, 6)), np.zeros((2, 6))]
    >>> {name: a.shape for name, a in to_cell("gru", w).items()}
    {'kernel': (3, 6), 'recurrent_kernel': (2, 6), 'bias': (6,), 'recurrent_bias': (6,)}
    """
    owner = "interop.keras.to_cell"
    wide = gates_of(owner, kind)
    named = _named(owner, weights)
    found = taken(owner, named, NAMES if "bias" in named else NAMES[:2])
    units = our_shapes(owner, kind, {name: found[name] for name in NAMES[:2]})
    zeros = np.zeros(wide * units, found["kernel"].dtype)
    if "bias" not in found:
        found["bias"] = np.stack([zeros, zeros]) if kind == "gru" and reset_after else zeros
    if kind != "gru" or found["bias"].ndim != 2:
        if found["bias"].shape == (2 * wide * units,) and kind == "gru":
            raise ValueError(f"{owner}: bias has shape {found['bias'].shape}: {CUDNN}")
        demand(owner, found, {"bias": (wide * units,)})
        return found
    demand(owner, found, {"bias": (2, wide * units)})
    return found | dict(zip(("bias", "recurrent_bias"), found["bias"], strict=True))


def from_cell(kind: str, weights: Mapping[str, Any], *, bias: bool = True) -> list[Any]:
    """The inverse of to_cell: one of our cells' arrays as the list that Keras's `set_weights` takes.

    A GRU that has a recurrent_bias becomes one with reset_after=True, bias (2, 3H); one without, reset_after=False.
    bias=False leaves the bias out. Raises ValueError for weights that do not fit, and for bias=False where one is not 0.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.keras import from_cell
    >>> cell = {"kernel": np.ones((3, 2)), "recurrent_kernel": np.ones((2, 2)), "bias": np.ones(2)}
    >>> [a.shape for a in from_cell("rnn", cell)]
    [(3, 2), (2, 2), (2,)]
    """
    owner = "interop.keras.from_cell"
    found = our_weights(owner, kind, weights)
    if "recurrent_bias" in found:
        found["bias"] = np.stack([found["bias"], found.pop("recurrent_bias")])
    if bias:
        return [found[name] for name in NAMES]
    if np.any(found["bias"]):
        raise ValueError(f"{owner}: bias=False leaves out the bias, which is not 0: the numbers would differ")
    return [found[name] for name in NAMES[:2]]


def _named(owner: str, weights: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """A list of weights, or a dict of them by path, by Keras's names."""
    if isinstance(weights, Mapping):
        return {str(path).rpartition("/")[2].removesuffix(":0"): a for path, a in weights.items()}
    if not isinstance(weights, (list, tuple)) or len(weights) not in (2, 3):
        came = f"{type(weights).__name__}{f' of {len(weights)}' if isinstance(weights, (list, tuple)) else ''}"
        raise ValueError(f"{owner}: weights is a {came}, expected [kernel, recurrent_kernel, bias] or without the bias")
    return dict(zip(NAMES, weights, strict=False))
