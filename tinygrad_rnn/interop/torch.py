"""PyTorch's recurrent weights to and from those of our cells, without importing torch.

PyTorch stores, for each layer and direction, weight_ih (G·H, D), weight_hh (G·H, H) and two biases (G·H), with gates in
the order i f g o (LSTM) or r z n (GRU). An LSTM with proj_size P also has weight_hr (P, H), and its weight_hh is (4H, P).
Our kernels are transposed, with gates i f g o and z r n; LSTMCell and BasicRNNCell have one bias, the sum of PyTorch's two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..ops.recurrent import TORCH_ORDER, in_primitives
from .gates import Arrays, blocks, cell_weights, check_shapes, gates_of, select

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
PROJECTION = "weight_hr"  # of an LSTM with proj_size
BEFORE = (
    "PyTorch's GRU resets after the product, n = tanh(x Wn + bn + r (h Un + b'n)), and the cell's form reset_after=False "
    "before it, n = tanh(x Wn + bn + (r h) Un): no weights make the two equal; use GRUCell(n, reset_after=True)"
)


def convert_weights(
    cell_type: str, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any, *, weight_hr: Any = None
) -> Arrays:
    """Our parameters from PyTorch's, without checks; recorded on tensors, so gradients flow back to all of them.

    A type of cell that PyTorch does not have keeps its order of gates.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import convert_weights
    >>> arrays = convert_weights("rnn", np.ones((2, 3)), np.ones((2, 2)), np.ones(2), np.ones(2))
    >>> {name: a.shape for name, a in arrays.items()}, arrays["bias"].tolist()
    ({'kernel': (3, 2), 'recurrent_kernel': (2, 2), 'bias': (2,)}, [2.0, 2.0])
    """
    weights = in_primitives(cell_type, (weight_ih, weight_hh, bias_ih, bias_hh), torch=True)
    names = ("kernel", "recurrent_kernel", "bias", "recurrent_bias")
    arrays = {name: weight for name, weight in zip(names, weights, strict=True) if weight is not None}
    return arrays if weight_hr is None else {**arrays, "projection_kernel": weight_hr.T}


def to_cell(cell_type: str, weights: Mapping[str, Any], *, reset_after: bool = True) -> Arrays:
    """Convert the weights of one PyTorch layer and direction to those of one of our cells.

    kernel = weight_ihᵀ (D, G·H), recurrent_kernel = weight_hhᵀ (H, G·H), gates reordered; bias = bias_ih + bias_hh, and
    for the GRU bias = bias_ih, recurrent_bias = bias_hh. cell_type: "rnn", "lstm" or "gru"; weights by the names weight_ih,
    weight_hh, bias_ih, bias_hh (those of torch.nn.LSTMCell). Without biases (bias=False) zeros are used.
    An LSTM's weight_hr (P, H) becomes projection_kernel (H, P) of rnn.LSTMCell(H, num_proj=P).
    The result loads into a cell with load_state_dict. Raises ValueError that names missing or unexpected weights and
    wrong shapes, and for a GRU with reset_after=False, which PyTorch does not have.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import to_cell
    >>> rng = np.random.default_rng(0)
    >>> w = {"weight_ih": rng.normal(size=(8, 3)), "weight_hh": rng.normal(size=(8, 2))}
    >>> {name: a.shape for name, a in to_cell("lstm", w).items()}
    {'kernel': (3, 8), 'recurrent_kernel': (2, 8), 'bias': (8,)}
    """
    owner = "interop.torch.to_cell"
    gates = gates_of(owner, cell_type)
    if cell_type == "gru" and not reset_after:
        raise ValueError(f"{owner}: {BEFORE}")
    biased = "bias_ih" in weights or "bias_hh" in weights
    projected = (PROJECTION,) if cell_type == "lstm" and PROJECTION in weights else ()
    arrays = select(owner, weights, (*(NAMES if biased else NAMES[:2]), *projected))
    outputs = arrays["weight_hh"].shape[-1] if arrays["weight_hh"].ndim else 0
    units = arrays[PROJECTION].shape[-1] if projected and arrays[PROJECTION].ndim else outputs
    rows = gates * units
    check_shapes(owner, arrays, {"weight_ih": (rows, "D"), "weight_hh": (rows, outputs)})
    if projected:
        check_shapes(owner, arrays, {PROJECTION: (outputs, units)})
    if biased:
        check_shapes(owner, arrays, {"bias_ih": (rows,), "bias_hh": (rows,)})
    zeros = np.zeros(rows, arrays["weight_ih"].dtype)
    stored = [np.ascontiguousarray(arrays.get(name, zeros)) for name in NAMES]
    return convert_weights(cell_type, *stored, weight_hr=arrays.get(PROJECTION))


def from_cell(cell_type: str, weights: Mapping[str, Any], *, bias: bool = True) -> Arrays:
    """The inverse of to_cell: the weights of one of our cells as PyTorch's weight_ih, weight_hh, bias_ih, bias_hh.

    An LSTM's projection_kernel becomes weight_hr. A single bias becomes bias_ih, with bias_hh = 0: the outputs are the
    same. bias=False omits both. Raises ValueError for wrong names or shapes, for a GRU with reset_after=False (which
    PyTorch does not have) and for bias=False if a bias is not 0.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import from_cell
    >>> cell = {"kernel": np.ones((3, 2)), "recurrent_kernel": np.ones((2, 2)), "bias": np.ones(2)}
    >>> {name: a.tolist() for name, a in from_cell("rnn", cell).items() if "bias" in name}
    {'bias_ih': [1.0, 1.0], 'bias_hh': [0.0, 0.0]}
    """
    owner = "interop.torch.from_cell"
    arrays = cell_weights(owner, cell_type, weights, extra=("projection_kernel",))
    if cell_type == "gru" and "recurrent_bias" not in arrays:
        raise ValueError(f"{owner}: {BEFORE}")
    order = TORCH_ORDER[cell_type]
    recurrent_bias = arrays.get("recurrent_bias", np.zeros_like(arrays["bias"]))
    values = (arrays["kernel"], arrays["recurrent_kernel"], arrays["bias"], recurrent_bias)
    converted = {name: np.ascontiguousarray(blocks(a, order).T) for name, a in zip(NAMES, values, strict=True)}
    projection = {}
    if "projection_kernel" in arrays:
        projection[PROJECTION] = np.ascontiguousarray(arrays["projection_kernel"].T)
    if bias:
        return converted | projection
    nonzero = [name for name in NAMES[2:] if np.any(converted[name])]
    if nonzero:
        raise ValueError(
            f"{owner}: bias=False leaves out {' and '.join(nonzero)}, which is not 0: the numbers would differ"
        )
    return {name: converted[name] for name in NAMES[:2]} | projection


def merge_biases(cell_type: str, weights: Mapping[str, Any]) -> Arrays:
    """Add bias_hh to bias_ih and set bias_hh to 0; the outputs are the same.

    For libraries with a single bias. In a GRU the bias_hh of n is multiplied by r and cannot be added to bias_ih: raises
    ValueError for a GRU unless that block of bias_hh is 0.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import merge_biases
    >>> w = {"weight_ih": np.ones((2, 3)), "weight_hh": np.ones((2, 2)), "bias_ih": np.ones(2), "bias_hh": np.ones(2)}
    >>> merge_biases("rnn", w)["bias_ih"].tolist()
    [2.0, 2.0]
    """
    owner = "interop.torch.merge_biases"
    gates_of(owner, cell_type)
    arrays = select(owner, weights, NAMES)
    if cell_type == "gru" and np.any(np.split(arrays["bias_hh"], 3)[2]):
        raise ValueError(
            f"{owner}: the n part of bias_hh is not 0, and it cannot join bias_ih: it stands inside r (h Un + b'n), so r "
            "scales it at every step"
        )
    return {**arrays, "bias_ih": arrays["bias_ih"] + arrays["bias_hh"], "bias_hh": np.zeros_like(arrays["bias_hh"])}


_NAME = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)_(l\d+(?:_reverse)?)")


def to_cells(
    cell_type: str, state: Mapping[str, Any], prefix: str = "", *, reset_after: bool = True
) -> dict[str, Arrays]:
    """Convert the state dict of a torch.nn.RNN, LSTM or GRU to weights of our cells: {"l0": {...}, "l0_reverse": {...}}.

    prefix: of the keys to convert, for example "encoder.lstm."; keys without it are ignored. Each layer and direction
    is converted as by to_cell. Raises ValueError for a key that is not a recurrent weight and for missing layers.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import to_cells
    >>> rng = np.random.default_rng(0)
    >>> state = {"weight_ih_l0": rng.normal(size=(6, 3)), "weight_hh_l0": rng.normal(size=(6, 2))}
    >>> list(to_cells("gru", state))
    ['l0']
    """
    owner = "interop.torch.to_cells"
    layers: dict[str, Arrays] = {}
    for key in (k for k in state if k.startswith(prefix)):
        match = _NAME.fullmatch(key[len(prefix) :])
        if match is None:
            raise ValueError(f"{owner}: {key!r} is no weight of a recurrent layer, expected names like weight_ih_l0")
        layers.setdefault(match[2], {})[match[1]] = state[key]
    bidirectional = any(suffix.endswith("_reverse") for suffix in layers)
    count = max(len({suffix.split("_")[0] for suffix in layers}), 1)
    expected = [f"l{i}{end}" for i in range(count) for end in ("", "_reverse")[: 2 if bidirectional else 1]]
    if set(expected) != set(layers):
        raise ValueError(f"{owner}: the state holds the layers {sorted(layers)}, expected {expected}")
    converted = {}
    for suffix in expected:
        try:
            converted[suffix] = to_cell(cell_type, layers[suffix], reset_after=reset_after)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error} (in {prefix}*_{suffix})") from None
    return converted


def from_cells(cell_type: str, cells: Mapping[str, Mapping[str, Any]], prefix: str = "") -> Arrays:
    """The inverse of to_cells: the weights of our cells, {"l0": {...}, ...}, as one PyTorch state dict.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.torch import from_cells
    >>> cell = {"kernel": np.ones((3, 2)), "recurrent_kernel": np.ones((2, 2)), "bias": np.ones(2)}
    >>> list(from_cells("rnn", {"l0": cell}))
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0']
    """
    return {
        f"{prefix}{name}_{suffix}": array
        for suffix, weights in cells.items()
        for name, array in from_cell(cell_type, weights).items()
    }
