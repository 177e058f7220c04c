"""TensorFlow 1's cell weights to and from those of our cells; no tensorflow is imported.

TF1 keeps one kernel (D+H, G·H), the rows of x above those of h, and one bias. BasicLSTMCell and LSTMCell: columns
i j f o (j is our g), forget_bias added to f at every step while the stored bias begins at 0. GRUCell: gates/kernel
(D+H, 2H) with columns r u (u is our z), candidate/kernel (D+H, H), the reset gate before the product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .gates import Arrays, blocks, demand, gates_of, our_weights, taken

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


def to_cell(kind: str, weights: Mapping[str, Any], *, forget_bias: float = 1.0, reset_after: bool = False) -> Arrays:
    """Weights of one TF1 cell as the arrays of one of ours: kernel, recurrent_kernel, bias.

    The kernel's rows are cut into x's and h's, its columns reordered; an LSTM's forget_bias (that of the TF1 cell, which
    no checkpoint holds) is added to the bias of f, once for all steps. kind: "rnn" (BasicRNNCell), "lstm" (BasicLSTMCell,
    LSTMCell) or "gru"; weights by TF1's names below the cell's scope: kernel and bias, or gates/kernel, gates/bias,
    candidate/kernel, candidate/bias; with an LSTM's use_peepholes w_i_diag, w_f_diag, w_o_diag as well, which become
    peephole_i, peephole_f, peephole_o, and with its num_proj projection/kernel, our projection_kernel.
    The result loads into a cell with load_state_dict. Raises ValueError that names what is missing, unexpected or of
    another shape, and for a GRU that is to have reset_after=True, which has no counterpart.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.tf1 import to_cell
    >>> w = {"kernel": np.zeros((5, 8)), "bias": np.zeros(8)}
    >>> cell = to_cell("lstm", w)
    >>> {name: a.shape for name, a in cell.items()}, cell["bias"].tolist()
    ({'kernel': (3, 8), 'recurrent_kernel': (2, 8), 'bias': (8,)}, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    """
    owner = "interop.tf1.to_cell"
    gates = gates_of(owner, kind)
    if kind == "gru":
        if reset_after:
            raise ValueError(f"{owner}: {AFTER}")
        found = taken(owner, weights, GRU_NAMES)
        units = found["candidate/bias"].size
        rows = found["candidate/kernel"].shape[:1]
        shapes: dict[str, tuple[Any, ...]] = {"gates/kernel": (*rows, 2 * units), "gates/bias": (2 * units,)}
        demand(owner, found, {**shapes, "candidate/kernel": ("D+H", units), "candidate/bias": (units,)})
        both = ((found[f"gates/{name}"], found[f"candidate/{name}"]) for name in ("kernel", "bias"))
        kernel, bias = (np.concatenate([blocks(g, ORDER["gru"]), c], axis=-1) for g, c in both)
    else:
        further = [name for name in FURTHER if kind == "lstm" and name in weights]
        found = taken(owner, weights, ("kernel", "bias", *further))
        units = outputs = found["bias"].size // gates
        shapes = {"kernel": ("D+H", gates * units), "bias": (gates * units,)}
        demand(owner, found, shapes | {name: (units, "P") if "/" in name else (units,) for name in further})
        if "projection/kernel" in found:
            outputs = found["projection/kernel"].shape[1]
        kernel, bias = (blocks(found[name], ORDER[kind]) for name in ("kernel", "bias"))
        bias = _forget(kind, bias, forget_bias)
        return {**_cut(owner, kernel, outputs), "bias": bias.copy(), **{FURTHER[n]: found[n].copy() for n in further}}
    return {**_cut(owner, kernel, units), "bias": bias.copy()}


def _cut(owner: str, kernel: Any, units: int) -> Arrays:
    """TF1's one kernel (D+H, …) as the two of ours: x's rows and h's."""
    rows = kernel.shape[0] - units
    if rows < 0:
        raise ValueError(
            f"{owner}: the kernel has {kernel.shape[0]} rows, expected D + {units} of them, x's and then h's"
        )
    return {"kernel": kernel[:rows].copy(), "recurrent_kernel": kernel[rows:].copy()}


def from_cell(kind: str, weights: Mapping[str, Any], *, forget_bias: float = 1.0) -> Arrays:
    """The inverse of to_cell: one of our cells' arrays by TF1's names.

    forget_bias is that of the TF1 cell which is to take them: it is subtracted from the bias of f, for that cell adds it
    at every step. Raises ValueError for weights that do not fit and for a GRU with reset_after=True (no counterpart).

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.tf1 import from_cell
    >>> cell = {"kernel": np.ones((3, 6)), "recurrent_kernel": np.ones((2, 6)), "bias": np.ones(6)}
    >>> {name: a.shape for name, a in from_cell("gru", cell).items()}
    {'gates/kernel': (5, 4), 'gates/bias': (4,), 'candidate/kernel': (5, 2), 'candidate/bias': (2,)}
    """
    owner = "interop.tf1.from_cell"
    found = our_weights(owner, kind, weights, no_recurrent_bias=AFTER, further=tuple(FURTHER.values()))
    kernel = np.concatenate([found["kernel"], found["recurrent_kernel"]])
    if kind == "gru":
        cut = found["bias"].size // 3 * 2
        values = (a for w in (kernel, found["bias"]) for a in (blocks(w[..., :cut], ORDER["gru"]), w[..., cut:]))
        gates_kernel, candidate_kernel, gates_bias, candidate_bias = values
        arrays = (gates_kernel, gates_bias, candidate_kernel, candidate_bias)
        return {name: np.ascontiguousarray(a) for name, a in zip(GRU_NAMES, arrays, strict=True)}
    bias = _forget(kind, found["bias"], -forget_bias)
    out = {"kernel": blocks(kernel, ORDER[kind]), "bias": blocks(bias, ORDER[kind])}
    out |= {theirs: found[ours] for theirs, ours in FURTHER.items() if ours in found}
    return {name: np.array(a) for name, a in out.items()}


def _forget(kind: str, bias: Any, amount: float) -> Any:
    """A bias in our order with an amount added to the part of f."""
    if kind != "lstm" or not amount:
        return bias
    return bias + np.repeat([0, amount, 0, 0], bias.size // 4).astype(bias.dtype)


NORMS = ("input", "forget", "transform", "output")  # i f g o


def to_layer_norm_cell(weights: Mapping[str, Any], *, forget_bias: float = 1.0) -> Arrays:
    """Weights of contrib's LayerNormBasicLSTMCell as those of rnn.LayerNormLSTMCell.

    kernel (D+H, 4H) with columns i j f o; gamma and beta (H) of input, transform, forget, output and state, as
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
    found = taken(
        owner, weights, names, {"bias": "it belongs to layer_norm=False, which is BasicLSTMCell: to_cell('lstm')"}
    )
    units = found["state/gamma"].size
    demand(owner, found, dict.fromkeys(names[1:], (units,)) | {"kernel": ("D+H", 4 * units)})
    gain, shift = (np.concatenate([found[f"{n}/{part}"] for n in NORMS]) for part in ("gamma", "beta"))
    return {
        **_cut(owner, blocks(found["kernel"], ORDER["lstm"]), units),
        "gain": gain,
        "shift": _forget("lstm", shift, forget_bias),
        "state_gain": found["state/gamma"],
        "state_shift": found["state/beta"],
    }


def from_layer_norm_cell(weights: Mapping[str, Any], *, forget_bias: float = 1.0) -> Arrays:
    """The inverse of to_layer_norm_cell.

    >>> import numpy as np
    >>> from tinygrad_rnn.interop.tf1 import from_layer_norm_cell
    >>> shapes = {"kernel": (3, 8), "recurrent_kernel": (2, 8), "gain": 8, "shift": 8, "state_gain": 2, "state_shift": 2}
    >>> found = from_layer_norm_cell({name: np.ones(shape) for name, shape in shapes.items()})
    >>> found["kernel"].shape, found["forget/beta"].tolist()
    ((5, 8), [0.0, 0.0])
    """
    owner = "interop.tf1.from_layer_norm_cell"
    names = ("kernel", "recurrent_kernel", "gain", "shift", "state_gain", "state_shift")
    found = taken(owner, weights, names)
    units = found["state_gain"].size
    wide: dict[str, tuple[Any, ...]] = {"kernel": ("D", 4 * units), "recurrent_kernel": (units, 4 * units)}
    demand(owner, found, {**wide, "gain": (4 * units,), "shift": (4 * units,), "state_shift": (units,)})
    out = {"kernel": blocks(np.concatenate([found["kernel"], found["recurrent_kernel"]]), ORDER["lstm"])}
    shift = _forget("lstm", found["shift"], -forget_bias)
    for n, gamma, beta in zip(NORMS, np.split(found["gain"], 4), np.split(shift, 4), strict=True):
        out |= {f"{n}/gamma": gamma.copy(), f"{n}/beta": beta.copy()}
    return {**out, "state/gamma": found["state_gain"], "state/beta": found["state_shift"]}
