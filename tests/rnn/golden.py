"""Shared by the golden tests: conversion of other libraries' weights to our layout and back, and the comparison.

Every conversion here is a permutation of column blocks, at times with a transpose, so a gradient is converted by the
inverse. Where one of our parameters corresponds to two of theirs (PyTorch's biases), both have its gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from reference import Golden

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

IMPLS = ["auto", "unrolled"]
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
Arrays = dict[str, np.ndarray]


def blocks(array: np.ndarray, *order: int) -> np.ndarray:
    """The blocks of the last axis in another order."""
    parts = np.split(array, len(order), axis=-1)
    return np.concatenate([parts[i] for i in order], axis=-1)


def under(arrays: Arrays, prefix: str) -> Arrays:
    return {key[len(prefix) :]: array for key, array in arrays.items() if key.startswith(prefix)}


# -- TensorFlow 1: one kernel of x's rows and h's, LSTM i j f o, GRU r u and the candidate apart ------------------------

TF1_FURTHER = {f"w_{gate}_diag": f"peephole_{gate}" for gate in "ifo"} | {"projection/kernel": "projection_kernel"}


def from_tf1(cell_type: str, weights: Arrays, inputs: int, forget_bias: float = 0.0) -> Arrays:
    """Parameters of our cell from a TF1 cell's weights; gradients too, which know no forget_bias."""
    if cell_type == "gru":
        kernel, bias = (
            np.concatenate([blocks(weights[f"gates/{name}"], 1, 0), weights[f"candidate/{name}"]], axis=-1)
            for name in ("kernel", "bias")
        )
    elif cell_type == "lstm":
        kernel, bias = (blocks(weights[name], 0, 2, 1, 3) for name in ("kernel", "bias"))
        bias = bias + np.repeat([0, forget_bias, 0, 0], len(bias) // 4).astype(bias.dtype)
    else:
        kernel, bias = weights["kernel"], weights["bias"]
    further = {ours: weights[theirs] for theirs, ours in TF1_FURTHER.items() if theirs in weights}
    return {"kernel": kernel[:inputs], "recurrent_kernel": kernel[inputs:], "bias": bias, **further}


def to_tf1(cell_type: str, ours: Arrays) -> Arrays:
    arrays = {"kernel": np.concatenate([ours["kernel"], ours["recurrent_kernel"]]), "bias": ours["bias"]}
    if cell_type == "lstm":
        further = {theirs: ours[name] for theirs, name in TF1_FURTHER.items() if name in ours}
        return {name: blocks(a, 0, 2, 1, 3) for name, a in arrays.items()} | further
    if cell_type != "gru":
        return arrays
    cut = arrays["bias"].size // 3 * 2
    gates = {f"gates/{name}": blocks(a[..., :cut], 1, 0) for name, a in arrays.items()}
    return gates | {f"candidate/{name}": a[..., cut:] for name, a in arrays.items()}


# -- Keras: our layout, but the two biases of a GRU in one array ---------------------------------------------------------


def from_keras(weights: Arrays) -> Arrays:
    if weights["bias"].ndim == 1:
        return dict(weights)
    return dict(weights) | dict(zip(("bias", "recurrent_bias"), weights["bias"], strict=True))


def to_keras(ours: Arrays) -> Arrays:
    arrays = dict(ours)
    if "recurrent_bias" in arrays:
        arrays["bias"] = np.stack([arrays["bias"], arrays.pop("recurrent_bias")])
    return arrays


# -- PyTorch: transposed, two biases, GRU r z n --------------------------------------------------------------------------

_TORCH_ORDER = {"RNN": (0,), "LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2)}


def from_torch(module: str, weights: Arrays, suffix: str) -> Arrays:
    """Parameters of our cell from those of a PyTorch layer and direction ("l0", "l1_reverse")."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w, u, b, c = (blocks(weights[f"{name}_{suffix}"].T, *_TORCH_ORDER[module]) for name in names)
    further = {"bias": b, "recurrent_bias": c} if module == "GRU" else {"bias": b + c}
    if f"weight_hr_{suffix}" in weights:
        further["projection_kernel"] = weights[f"weight_hr_{suffix}"].T
    return {"kernel": w, "recurrent_kernel": u, **further}


def to_torch(module: str, gradients: Arrays, suffix: str) -> Arrays:
    """PyTorch's gradients from ours: of a merged bias both parts have the same."""
    g = gradients
    arrays = (g["kernel"], g["recurrent_kernel"], g["bias"], g.get("recurrent_bias", g["bias"]))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    result = {f"{name}_{suffix}": blocks(a, *_TORCH_ORDER[module]).T for name, a in zip(names, arrays, strict=True)}
    if "projection_kernel" in g:
        result[f"weight_hr_{suffix}"] = g["projection_kernel"].T
    return result


# -- running and comparing -----------------------------------------------------------------------------------------------


def leaves(golden: Golden) -> dict[str, tg.Tensor]:
    """x and the initial states as tensors that require grad, by key."""
    keys = ["x", *(f"initial/{part}" for part in golden.under("initial"))]
    return {key: tg.tensor(golden[key], requires_grad=True, name=key) for key in keys}


def state_of(cell_type: str, parts: dict[str, Any]) -> Any:
    """Our state from its parts by name; None where there are none, which means zeros."""
    if not parts:
        return None
    return rnn.LSTMState(parts["c"], parts["h"]) if cell_type == "lstm" else parts["h"]


def parts_of(state: Any, prefix: str = "state/") -> dict[str, Any]:
    """The parts of a state by their golden keys."""
    if isinstance(state, rnn.LSTMState):
        return {f"{prefix}c": state.c, f"{prefix}h": state.h}
    if isinstance(state, tuple):
        return {key: part for i, s in enumerate(state) for key, part in parts_of(s, f"{prefix}{i}/").items()}
    return {f"{prefix}h": state}


def gradients_of(cell: rnn.RNNCell, prefix: str = "") -> Arrays:
    """The gradients that backward left in a cell, by parameter path below a prefix."""
    return under({path: p.grad for path, p in cell.named_parameters()}, prefix)


def backward(golden: Golden, results: dict[str, tg.Tensor]) -> None:
    """Compare outputs, states and the loss with the file's, and send the loss backward."""
    wanted = {key for key in golden.arrays if key.split("/")[0] in ("output", "state")}
    assert set(results) == wanted
    for key, result in results.items():
        compare(golden, key, result.data)
    loss = sum((result * golden[f"R/{key}"]).sum() for key, result in results.items())
    compare(golden, "loss", loss.data)
    loss.backward()


def compare_gradients(golden: Golden, tensors: dict[str, tg.Tensor], weights: Arrays) -> None:
    """Every gradient in the file against those of x and the initial states, and of the weights in the library's layout."""
    gradients = {key: t.grad for key, t in tensors.items()} | {f"weight/{name}": a for name, a in weights.items()}
    assert set(gradients) == set(golden.under("grad"))
    for key, gradient in gradients.items():
        compare(golden, f"grad/{key}", gradient)


def compare(golden: Golden, key: str, actual: np.ndarray) -> None:
    """Equal to the file's array in shape and dtype and, by the array's largest number or 1, to the tolerance."""
    wanted = golden[key]
    assert actual.shape == wanted.shape, key
    assert actual.dtype == wanted.dtype == golden.meta["dtype"], key
    tolerance = TOLERANCE[golden.meta["dtype"]] * max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance, err_msg=f"{golden.name}: {key}")


def torch_cell(options: dict[str, Any]) -> Any:
    """A cell of `rnn` for the options of a file made with PyTorch."""
    units = options["hidden_size"]
    if options["module"] == "RNN":
        return rnn.BasicRNNCell(units, activation=options["nonlinearity"])
    if options["module"] == "LSTM":
        return rnn.LSTMCell(units, num_proj=options.get("proj_size"))
    return rnn.GRUCell(units, reset_after=True)
