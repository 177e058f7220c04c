"""Cells and drivers against Keras: every keras_ file's outputs, states and gradients.

Keras takes a mask and repeats the last output where it is off; dynamic_rnn takes lengths and gives zeros there. A row's real
steps are moved to its front, run with their number as the length, and its outputs are picked from there: once each where
Keras computes, again where it repeats. Picking is differentiable, so cotangents of repeats add up as they do in Keras.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference import Golden, load, names

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

from . import golden as g
from .golden import IMPLS

FILES = names("keras_")
BIDIRECTIONAL = [name for name in FILES if "bidirectional" in name]
PLAIN = [name for name in FILES if name not in BIDIRECTIONAL]
ROWS = np.arange(4)[:, None]


def make(golden: Golden, side: str = "") -> rnn.RNNCell:
    options = golden.meta["options"]
    units = options["units"]
    cell: rnn.RNNCell
    if options["layer"] == "SimpleRNN":
        cell = rnn.BasicRNNCell(units)
    elif options["layer"] == "LSTM":
        cell = rnn.LSTMCell(units)
    else:
        cell = rnn.GRUCell(units, reset_after=options["reset_after"])
    cell.load_state_dict(g.from_keras(g.under(golden.under("weight"), side)))
    return cell


def initial_state(golden: Golden, tensors: dict[str, tg.Tensor], side: str = "") -> Any:
    return g.state_of(golden.meta["options"]["layer"].lower(), g.under(tensors, f"initial/{side}"))


def weight_gradients(cell: rnn.RNNCell, side: str = "") -> dict[str, np.ndarray]:
    return {side + name: a for name, a in g.to_keras(g.gradients_of(cell)).items()}


def repeated(output: tg.Tensor, mask: np.ndarray) -> tg.Tensor:
    """Keras's outputs from those of the real steps: at a masked step the previous one, zeros before the first."""
    count = np.cumsum(mask, axis=1)
    return tg.where((count > 0)[:, :, None], output[ROWS, np.maximum(count - 1, 0)], 0)


def test_every_file_is_used():
    assert FILES
    assert sorted(PLAIN + BIDIRECTIONAL) == FILES
    assert all(load(name).meta["options"]["bidirectional"] == (name in BIDIRECTIONAL) for name in FILES)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", PLAIN)
def test_dynamic_rnn(name, impl):
    golden = load(name)
    options = golden.meta["options"]
    cell, tensors = make(golden), g.leaves(golden)
    x, mask, lengths = tensors["x"], golden.get("mask"), None
    if options["go_backwards"]:
        x, mask = tg.flip(x, 1), None if mask is None else mask[:, ::-1]
    if mask is not None:
        lengths = mask.sum(axis=1)
        x = x[ROWS, np.argsort(~mask, axis=1, kind="stable")]
    output, state = rnn.dynamic_rnn(cell, x, lengths, initial_state(golden, tensors), impl=impl)
    if mask is not None:
        output = repeated(output, mask)
    if not options["return_sequences"]:
        output = output[:, -1]
    g.backward(golden, {"output": output, **g.parts_of(state)})
    g.compare_gradients(golden, tensors, weight_gradients(cell))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("name", BIDIRECTIONAL)
def test_bidirectional_dynamic_rnn(name, impl):
    """Masked steps give zeros inside Bidirectional, as past a length here; its last outputs are at a row's ends."""
    golden = load(name)
    tensors, lengths = g.leaves(golden), golden.get("sequence_length")
    cells = {side: make(golden, side + "/") for side in ("fw", "bw")}
    states = {f"initial_state_{side}": initial_state(golden, tensors, side + "/") for side in cells}
    (fw, bw), finals = rnn.bidirectional_dynamic_rnn(
        cells["fw"], cells["bw"], tensors["x"], lengths, **states, impl=impl
    )
    if not golden.meta["options"]["return_sequences"]:
        last = np.full(4, 5) if lengths is None else lengths - 1  # -1 of a row without steps: zeros
        fw, bw = fw[np.arange(4), last], bw[:, 0]
    results: dict[str, Any] = {"output": tg.concatenate([fw, bw], axis=-1)}
    for side, final in zip(cells, finals, strict=True):
        results |= g.parts_of(final, f"state/{side}/")
    g.backward(golden, results)
    weights = {}
    for side, cell in cells.items():
        weights |= weight_gradients(cell, side + "/")
    g.compare_gradients(golden, tensors, weights)


def test_biases_begin_as_in_keras():
    """Forget biases of 1, everything else 0; a GRU with reset_after has two biases of zeros."""
    for name, cell in (
        ("keras_lstm_sequences_f64", rnn.LSTMCell(4)),
        ("keras_gru_after_sequences_f64", rnn.GRUCell(4, reset_after=True)),
        ("keras_gru_before_sequences_f64", rnn.GRUCell(4, gate_bias=0.0)),
        ("keras_simplernn_sequences_f64", rnn.BasicRNNCell(4)),
    ):
        cell.build(3, np.float64)
        fresh = g.from_keras(load(name).under("fresh/weight"))
        for key, array in fresh.items():
            np.testing.assert_array_equal(getattr(cell, key).data, array)
