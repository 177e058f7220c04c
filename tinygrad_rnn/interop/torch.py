"""PyTorch's recurrent weights to and from those of our cells; no torch is imported.

PyTorch keeps, for each layer and direction, weight_ih (G·H, D), weight_hh (G·H, H) and two biases (G·H), blocks in the
order i f g o (LSTM) or r z n (GRU); an LSTM with proj_size P also weight_hr (P, H), and weight_hh is then (4H, P). Ours
are transposed, with gates i f g o and z r n; the two biases of an LSTM or a plain cell are one here, their sum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from .gates import Arrays, blocks, demand, gates_of, our_weights, taken

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
PROJECTION = "weight_hr"  # of an LSTM with proj_size
ORDER = {"rnn": (0,), "lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}  # each is its own inverse
BEFORE = (
    "PyTorch's GRU resets after the product, n = tanh(x Wn + bn + r (h Un + b'n)), and the cell's form reset_after=False "
    "before it, n = tanh(x Wn + bn + (r h) Un): no weights make the two equal; use GRUCell(n, reset_after=True)"
)


def arranged(kind: str, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, *, weight_hr: Any = None) -> Arrays:
    """Our parameters from PyTorch's, unchecked; on tensors it is recorded, so gradients reach all of them.

    A kind of cell that PyTorch does not have keeps its own order of gates.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import arranged
    >>> found = arranged("rnn", np.ones((2, 3)), np.ones((2, 2)), np.ones(2), np.ones(2))
    >>> {name: a.shape for name, a in found.items()}, found["bias"].tolist()
    ({'kernel': (3, 2), 'recurrent_kernel': (2, 2), 'bias': (2,)}, [2.0, 2.0])
    """
    order = ORDER.get(kind, (0,))
    found = {"kernel": blocks(weight_ih.T, order), "recurrent_kernel": blocks(weight_hh.T, order)}
    if kind == "gru":
        return {**found, "bias": blocks(bias_ih, order), "recurrent_bias": blocks(bias_hh, order)}
    if weight_hr is not None:
        found["projection_kernel"] = weight_hr.T
    return {**found, "bias": bias_ih + bias_hh}


def to_cell(kind: str, weights: Mapping[str, Any], *, reset_after: bool = True) -> Arrays:
    """Weights of one PyTorch layer and direction as the arrays of one of our cells.

    kernel = weight_ihᵀ (D, G·H), recurrent_kernel = weight_hhᵀ (H, G·H), gates reordered; bias = bias_ih + bias_hh, and
    for the GRU bias = bias_ih, recurrent_bias = bias_hh. kind: "rnn", "lstm" or "gru"; weights by the names weight_ih,
    weight_hh, bias_ih, bias_hh (those of torch.nn.LSTMCell); both biases may be absent (bias=False): they are zeros.
    An LSTM's weight_hr (P, H) becomes projection_kernel (H, P) of rnn.LSTMCell(H, num_proj=P).
    The result loads into a cell with load_state_dict. Raises ValueError that names what is missing, unexpected or of
    another shape, and for a GRU that is to have reset_after=False, which has no counterpart.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import to_cell
    >>> rng = np.random.default_rng(0)
    >>> w = {"weight_ih": rng.normal(size=(8, 3)), "weight_hh": rng.normal(size=(8, 2))}
    >>> {name: a.shape for name, a in to_cell("lstm", w).items()}
    {'kernel': (3, 8), 'recurrent_kernel': (2, 8), 'bias': (8,)}
    """
    owner = "interop.torch.to_cell"
    gates = gates_of(owner, kind)
    if kind == "gru" and not reset_after:
        raise ValueError(f"{owner}: {BEFORE}")
    biased = "bias_ih" in weights or "bias_hh" in weights
    projected = (PROJECTION,) if kind == "lstm" and PROJECTION in weights else ()
    found = taken(owner, weights, (*(NAMES if biased else NAMES[:2]), *projected))
    outputs = found["weight_hh"].shape[-1] if found["weight_hh"].ndim else 0
    units = found[PROJECTION].shape[-1] if projected and found[PROJECTION].ndim else outputs
    rows = gates * units
    demand(owner, found, {"weight_ih": (rows, "D"), "weight_hh": (rows, outputs)})
    if projected:
        demand(owner, found, {PROJECTION: (outputs, units)})
    if biased:
        demand(owner, found, {"bias_ih": (rows,), "bias_hh": (rows,)})
    zeros = np.zeros(rows, found["weight_ih"].dtype)
    arrays = [np.ascontiguousarray(found.get(name, zeros)) for name in NAMES]
    return arranged(kind, *arrays, weight_hr=found.get(PROJECTION))


def from_cell(kind: str, weights: Mapping[str, Any], *, bias: bool = True) -> Arrays:
    """The inverse of to_cell: one of our cells' arrays as PyTorch's weight_ih, weight_hh, bias_ih, bias_hh.

    An LSTM's projection_kernel becomes weight_hr.
    One bias of ours goes into bias_ih; bias_hh is then 0, which gives the same numbers. bias=False leaves both out.
    Raises ValueError for weights that do not fit, for a GRU with reset_after=False (no counterpart) and for bias=False
    where a bias is not 0.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import from_cell
    >>> cell = {"kernel": np.ones((3, 2)), "recurrent_kernel": np.ones((2, 2)), "bias": np.ones(2)}
    >>> {name: a.tolist() for name, a in from_cell("rnn", cell).items() if "bias" in name}
    {'bias_ih': [1.0, 1.0], 'bias_hh': [0.0, 0.0]}
    """
    owner = "interop.torch.from_cell"
    found = our_weights(owner, kind, weights, further=("projection_kernel",))
    if kind == "gru" and "recurrent_bias" not in found:
        raise ValueError(f"{owner}: {BEFORE}")
    order = ORDER[kind]
    second = found.get("recurrent_bias", np.zeros_like(found["bias"]))
    values = (found["kernel"], found["recurrent_kernel"], found["bias"], second)
    out = {name: np.ascontiguousarray(blocks(a, order).T) for name, a in zip(NAMES, values, strict=True)}
    further = {}
    if "projection_kernel" in found:
        further[PROJECTION] = np.ascontiguousarray(found["projection_kernel"].T)
    if bias:
        return out | further
    full = [name for name in NAMES[2:] if np.any(out[name])]
    if full:
        raise ValueError(
            f"{owner}: bias=False leaves out {' and '.join(full)}, which is not 0: the numbers would differ"
        )
    return {name: out[name] for name in NAMES[:2]} | further


def merged(kind: str, weights: Mapping[str, Any]) -> Arrays:
    """PyTorch's weights with one bias: bias_ih + bias_hh in bias_ih, 0 in bias_hh, the same numbers.

    For libraries that have one bias only. A GRU's two biases of n cannot become one: bias_hh stands inside the product
    with r. Raises ValueError for a GRU unless that part of bias_hh is 0.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import merged
    >>> w = {"weight_ih": np.ones((2, 3)), "weight_hh": np.ones((2, 2)), "bias_ih": np.ones(2), "bias_hh": np.ones(2)}
    >>> merged("rnn", w)["bias_ih"].tolist()
    [2.0, 2.0]
    """
    owner = "interop.torch.merged"
    gates_of(owner, kind)
    found = taken(owner, weights, NAMES)
    if kind == "gru" and np.any(np.split(found["bias_hh"], 3)[2]):
        raise ValueError(
            f"{owner}: the n part of bias_hh is not 0, and it cannot join bias_ih: it stands inside r (h Un + b'n), so r "
            "scales it at every step"
        )
    return {**found, "bias_ih": found["bias_ih"] + found["bias_hh"], "bias_hh": np.zeros_like(found["bias_hh"])}


_NAME = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_(l\d+(?:_reverse)?)")


def to_cells(kind: str, state: Mapping[str, Any], prefix: str = "", *, reset_after: bool = True) -> dict[str, Arrays]:
    """The state dict of a torch.nn.RNN, LSTM or GRU as arrays of our cells: {"l0": {...}, "l0_reverse": {...}, ...}.

    prefix: what stands before the names, "encoder.lstm." say; keys that do not begin so are left alone. The rest as
    to_cell. Raises ValueError for a key that is no recurrent weight, for layers that do not begin at 0 or leave one out.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import to_cells
    >>> rng = np.random.default_rng(0)
    >>> state = {"weight_ih_l0": rng.normal(size=(6, 3)), "weight_hh_l0": rng.normal(size=(6, 2))}
    >>> list(to_cells("gru", state))
    ['l0']
    """
    owner = "interop.torch.to_cells"
    parts: dict[str, Arrays] = {}
    for key in (k for k in state if k.startswith(prefix)):
        found = _NAME.fullmatch(key[len(prefix) :])
        if found is None:
            raise ValueError(f"{owner}: {key!r} is no weight of a recurrent layer, expected names like weight_ih_l0")
        parts.setdefault(found[2], {})[found[1]] = state[key]
    both = any(suffix.endswith("_reverse") for suffix in parts)
    layers = max(len({suffix.split("_")[0] for suffix in parts}), 1)
    wanted = [f"l{i}{end}" for i in range(layers) for end in ("", "_reverse")[: 2 if both else 1]]
    if set(wanted) != set(parts):
        raise ValueError(f"{owner}: the state holds the layers {sorted(parts)}, expected {wanted}")
    out = {}
    for suffix in wanted:
        try:
            out[suffix] = to_cell(kind, parts[suffix], reset_after=reset_after)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error} (in {prefix}*_{suffix})") from None
    return out


def from_cells(kind: str, cells: Mapping[str, Mapping[str, Any]], prefix: str = "") -> Arrays:
    """The inverse of to_cells: {"l0": our arrays, ...} as one PyTorch state dict.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import from_cells
    >>> cell = {"kernel": np.ones((3, 2)), "recurrent_kernel": np.ones((2, 2)), "bias": np.ones(2)}
    >>> list(from_cells("rnn", {"l0": cell}))
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    """
    return {
        f"{prefix}{name}_{suffix}": array
        for suffix, weights in cells.items()
        for name, array in from_cell(kind, weights).items()
    }
