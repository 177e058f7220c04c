"""TensorFlow 1's cell weights to and from those of our cells, without importing TensorFlow.

TF1 stores one kernel (D+H, G·H), the rows of x above those of h, and one bias. BasicLSTMCell and LSTMCell: gates
i j f o (j is our g); forget_bias is added to f at every step and is not part of the stored bias. GRUCell: gates/kernel
(D+H, 2H) with gates r u (u is our z) and candidate/kernel (D+H, H); r multiplies h before the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .gates import Arrays, blocks, cell_weights, check_shapes, gates_of, select

ORDER = {"rnn": (0,), "lstm": (0, 2, 1, 3), "gru": (1, 0)}  # each is its own inverse; a GRU's are the two gates
GRU_NAMES = ("gates/kernel", "gates/bias", "candidate/kernel", "candidate/bias")
FURTHER = {  # an LSTMCell's with use_peepholes and num_proj
    "w_i_diag": "peephole_i",
    "w_f_diag": "peephole_f",
    "w_o_diag": "peephole_o",
    "projection/kernel": "projection_kernel",
}
AFTER = (
    "TF1's GRUCell resets before the product, n = tanh(x Wn + bn + (r h) Un), and the cell's form reset_after=True after it, "
    "n = tanh(x Wn + bn + r (h Un + b'n)): no weights make the two equal; use GRUCell(n, reset_after=False)"
)


def to_cell(
    cell_type: str, weights: Mapping[str, Any], *, forget_bias: float = 1.0, reset_after: bool = False
) -> Arrays:
    """Convert the weights of one TF1 cell to those of one of our cells: kernel, recurrent_kernel, bias.

    The kernel is split into the rows of x and of h, and its gates are reordered. An LSTM's forget_bias (an argument of
    the TF1 cell that no checkpoint stores) is added to the bias of f. cell_type: "rnn" (BasicRNNCell), "lstm" (BasicLSTMCell,
    LSTMCell) or "gru". weights by TF1's names inside the cell's scope: kernel and bias, or for a GRU gates/kernel,
    gates/bias, candidate/kernel, candidate/bias. An LSTM's w_i_diag, w_f_diag, w_o_diag (use_peepholes) become
    peephole_i, peephole_f, peephole_o, and its projection/kernel (num_proj) becomes projection_kernel.
    The result loads into a cell with load_state_dict. Raises ValueError that names missing or unexpected weights and
    wrong shapes, and for a GRU with reset_after=True, which TF1 does not have.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.tf1 import to_cell
    >>> w = {"kernel": np.zeros((5, 8)), "bias": np.zeros(8)}
    >>> cell = to_cell("lstm", w)
    >>> {name: a.shape for name, a in cell.items()}, cell["bias"].tolist()
    ({'kernel': (3, 8), 'recurrent_kernel': (2, 8), 'bias': (8,)}, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    """
    owner = "interop.tf1.to_cell"
    gates = gates_of(owner, cell_type)
    if cell_type == "gru":
        if reset_after:
            raise ValueError(f"{owner}: {AFTER}")
        arrays = select(owner, weights, GRU_NAMES)
        units = arrays["candidate/bias"].size
        rows = arrays["candidate/kernel"].shape[:1]
        shapes: dict[str, tuple[Any, ...]] = {"gates/kernel": (*rows, 2 * units), "gates/bias": (2 * units,)}
        check_shapes(owner, arrays, {**shapes, "candidate/kernel": ("D+H", units), "candidate/bias": (units,)})
        both = ((arrays[f"gates/{name}"], arrays[f"candidate/{name}"]) for name in ("kernel", "bias"))
        kernel, bias = (np.concatenate([blocks(g, ORDER["gru"]), c], axis=-1) for g, c in both)
    else:
        extra = [name for name in FURTHER if cell_type == "lstm" and name in weights]
        arrays = select(owner, weights, ("kernel", "bias", *extra))
        units = outputs = arrays["bias"].size // gates
        shapes = {"kernel": ("D+H", gates * units), "bias": (gates * units,)}
        check_shapes(owner, arrays, shapes | {name: (units, "P") if "/" in name else (units,) for name in extra})
        if "projection/kernel" in arrays:
            outputs = arrays["projection/kernel"].shape[1]
        kernel, bias = (blocks(arrays[name], ORDER[cell_type]) for name in ("kernel", "bias"))
        bias = _forget(cell_type, bias, forget_bias)
        return {**_cut(owner, kernel, outputs), "bias": bias.copy(), **{FURTHER[n]: arrays[n].copy() for n in extra}}
    return {**_cut(owner, kernel, units), "bias": bias.copy()}


def _cut(owner: str, kernel: Any, units: int) -> Arrays:
    """TF1's kernel (D+H, …) as our two: the rows of x and those of h."""
    rows = kernel.shape[0] - units
    if rows < 0:
        raise ValueError(
            f"{owner}: the kernel has {kernel.shape[0]} rows, expected D + {units} of them, x's and then h's"
        )
    return {"kernel": kernel[:rows].copy(), "recurrent_kernel": kernel[rows:].copy()}


def from_cell(cell_type: str, weights: Mapping[str, Any], *, forget_bias: float = 1.0) -> Arrays:
    """The inverse of to_cell: the weights of one of our cells by TF1's names.

    forget_bias: that of the TF1 cell that will load the weights; it is subtracted from the bias of f, since that cell
    adds it at every step. Raises ValueError for wrong names or shapes and for a GRU with reset_after=True, which TF1 does
    not have.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.tf1 import from_cell
    >>> cell = {"kernel": np.ones((3, 6)), "recurrent_kernel": np.ones((2, 6)), "bias": np.ones(6)}
    >>> {name: a.shape for name, a in from_cell("gru", cell).items()}
    {'gates/kernel': (5, 4), 'gates/bias': (4,), 'candidate/kernel': (5, 2), 'candidate/bias': (2,)}
    """
    owner = "interop.tf1.from_cell"
    arrays = cell_weights(owner, cell_type, weights, no_recurrent_bias=AFTER, extra=tuple(FURTHER.values()))
    kernel = np.concatenate([arrays["kernel"], arrays["recurrent_kernel"]])
    if cell_type == "gru":
        split = arrays["bias"].size // 3 * 2
        values = (a for w in (kernel, arrays["bias"]) for a in (blocks(w[..., :split], ORDER["gru"]), w[..., split:]))
        gates_kernel, candidate_kernel, gates_bias, candidate_bias = values
        gru_arrays = (gates_kernel, gates_bias, candidate_kernel, candidate_bias)
        return {name: np.ascontiguousarray(a) for name, a in zip(GRU_NAMES, gru_arrays, strict=True)}
    bias = _forget(cell_type, arrays["bias"], -forget_bias)
    converted = {"kernel": blocks(kernel, ORDER[cell_type]), "bias": blocks(bias, ORDER[cell_type])}
    converted |= {theirs: arrays[ours] for theirs, ours in FURTHER.items() if ours in arrays}
    return {name: np.array(a) for name, a in converted.items()}


def _forget(cell_type: str, bias: Any, amount: float) -> Any:
    """A bias in our order of gates, with an amount added to that of an LSTM's f."""
    if cell_type != "lstm" or not amount:
        return bias
    return bias + np.repeat([0, amount, 0, 0], bias.size // 4).astype(bias.dtype)


NORMS = ("input", "forget", "transform", "output")  # i f g o


def to_layer_norm_cell(weights: Mapping[str, Any], *, forget_bias: float = 1.0) -> Arrays:
    """Convert the weights of contrib's LayerNormBasicLSTMCell to those of rnn.LayerNormLSTMCell.

    kernel (D+H, 4H) with gates i j f o; gamma and beta (H) of input, transform, forget, output and state, named
    "input/gamma" and so on. forget_bias (of the TF1 cell) is added to the shift of f. Raises ValueError as to_cell does.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.tf1 import to_layer_norm_cell
    >>> norms = ("input", "forget", "transform", "output", "state")
    >>> w = {"kernel": np.zeros((5, 8))} | {f"{n}/{part}": np.ones(2) for n in norms for part in ("gamma", "beta")}
    >>> cell = to_layer_norm_cell(w)
    >>> sorted(cell), cell["shift"].tolist()
    (['gain', 'kernel', 'recurrent_kernel', 'shift', 'state_gain', 'state_shift'], [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0])
    """
    owner = "interop.tf1.to_layer_norm_cell"
    names = ("kernel", *(f"{n}/{part}" for part in ("gamma", "beta") for n in (*NORMS, "state")))
    arrays = select(
        owner, weights, names, {"bias": "it belongs to layer_norm=False, which is BasicLSTMCell: to_cell('lstm')"}
    )
    units = arrays["state/gamma"].size
    check_shapes(owner, arrays, dict.fromkeys(names[1:], (units,)) | {"kernel": ("D+H", 4 * units)})
    gain, shift = (np.concatenate([arrays[f"{n}/{part}"] for n in NORMS]) for part in ("gamma", "beta"))
    return {
        **_cut(owner, blocks(arrays["kernel"], ORDER["lstm"]), units),
        "gain": gain,
        "shift": _forget("lstm", shift, forget_bias),
        "state_gain": arrays["state/gamma"],
        "state_shift": arrays["state/beta"],
    }


def from_layer_norm_cell(weights: Mapping[str, Any], *, forget_bias: float = 1.0) -> Arrays:
    """The inverse of to_layer_norm_cell.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.tf1 import from_layer_norm_cell
    >>> shapes = {"kernel": (3, 8), "recurrent_kernel": (2, 8), "gain": 8, "shift": 8, "state_gain": 2, "state_shift": 2}
    >>> arrays = from_layer_norm_cell({name: np.ones(shape) for name, shape in shapes.items()})
    >>> arrays["kernel"].shape, arrays["forget/beta"].tolist()
    ((5, 8), [0.0, 0.0])
    """
    owner = "interop.tf1.from_layer_norm_cell"
    names = ("kernel", "recurrent_kernel", "gain", "shift", "state_gain", "state_shift")
    arrays = select(owner, weights, names)
    units = arrays["state_gain"].size
    shapes: dict[str, tuple[Any, ...]] = {"kernel": ("D", 4 * units), "recurrent_kernel": (units, 4 * units)}
    check_shapes(owner, arrays, {**shapes, "gain": (4 * units,), "shift": (4 * units,), "state_shift": (units,)})
    converted = {"kernel": blocks(np.concatenate([arrays["kernel"], arrays["recurrent_kernel"]]), ORDER["lstm"])}
    shift = _forget("lstm", arrays["shift"], -forget_bias)
    for n, gamma, beta in zip(NORMS, np.split(arrays["gain"], 4), np.split(shift, 4), strict=True):
        converted |= {f"{n}/gamma": gamma.copy(), f"{n}/beta": beta.copy()}
    return {**converted, "state/gamma": arrays["state_gain"], "state/beta": arrays["state_shift"]}
