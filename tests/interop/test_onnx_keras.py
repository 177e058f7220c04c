"""Keras layers and models as ONNX files: ONNX Runtime and the file loaded again give their numbers, by 1e-5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import layers, models, rnn
from tinygrad_rnn.interop import onnx as convert

from .test_onnx import array, defined, exported, matches_runtime, same, written

B, T, D, H = 4, 6, 3, 2
X = array(B, T, D)
LENGTHS = np.array([3, 6, 0, 4], np.int32)
MASK = np.arange(T) < LENGTHS[:, None]

CELL_TYPES: dict[str, Any] = {
    "rnn": lambda **o: layers.SimpleRNN(H, bias_initializer="normal", **o),
    "rnn sigmoid": lambda **o: layers.SimpleRNN(H, activation="sigmoid", use_bias=False, **o),
    "lstm": lambda **o: layers.LSTM(H, bias_initializer="normal", **o),
    "lstm relu": lambda **o: layers.LSTM(H, activation="relu", recurrent_activation="tanh", **o),
    "gru": lambda **o: layers.GRU(H, bias_initializer="normal", **o),
    "gru before": lambda **o: layers.GRU(H, reset_after=False, activation="relu", **o),
    "dropout": lambda **o: layers.LSTM(H, dropout=0.5, recurrent_dropout=0.5, **o),
    "cells": lambda **o: layers.RNN([layers.LSTMCell(4), layers.GRUCell(H)], **o),
}
FLAGS: dict[str, Any] = {
    "last": {},
    "sequences": {"return_sequences": True},
    "states": {"return_state": True},
    "backwards": {"go_backwards": True},
    "sequences backwards": {"return_sequences": True, "go_backwards": True},
    "zero": {"return_sequences": True, "zero_output_for_mask": True},
}


def numbers(results: Any) -> list[np.ndarray]:
    if isinstance(results, (list, tuple)):
        return [a for one in results for a in numbers(one)]
    return [results.data]


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_recurrent_layers(cell_type: str, flags: str, tmp_path: Path) -> None:
    layer = CELL_TYPES[cell_type](**FLAGS[flags])
    wanted = numbers(layer(X, mask=MASK))
    path = exported(layer, tmp_path, initial_state=False)
    same(path, {"input": X, "lengths": LENGTHS}, wanted)
    path = exported(layer, tmp_path, initial_state=False, lengths=False)
    same(path, {"input": X[:2, :4]}, numbers(layer(X[:2, :4])))


@pytest.mark.parametrize("sequences", [False, True])
def test_initial_states(sequences: bool, tmp_path: Path) -> None:
    layer = layers.LSTM(H, return_state=True, return_sequences=sequences)
    h, c = array(B, H, seed=1), array(B, H, seed=2)
    wanted = numbers(layer(X, mask=MASK, initial_state=[h, c]))
    path = exported(layer, tmp_path)
    same(path, {"input": X, "lengths": LENGTHS, "h_0": h, "c_0": c}, wanted)
    assert convert.load(path).outputs == ("output", "h_n", "c_n")


@pytest.mark.parametrize("merge", ["concat", "sum", "ave", "mul"])
@pytest.mark.parametrize("sequences", [False, True])
def test_bidirectional(sequences: bool, merge: str, tmp_path: Path) -> None:
    inner = layers.LSTM(H, return_sequences=sequences, return_state=True)
    back = layers.GRU(H, return_sequences=sequences, return_state=True, go_backwards=True)
    layer = layers.Bidirectional(inner, merge_mode=merge, backward_layer=back)
    wanted = numbers(layer(X, mask=MASK))
    path = exported(layer, tmp_path, initial_state=False)
    same(path, {"input": X, "lengths": LENGTHS}, wanted)
    assert convert.load(path).outputs == ("output", "fw.h_n", "fw.c_n", "bw.h_n")


def test_a_classifier_of_sentences(tmp_path: Path) -> None:
    ids = np.where(MASK, np.random.default_rng(0).integers(1, 9, size=(B, T)), 0)
    model = models.Sequential(
        [
            layers.Embedding(9, 4, mask_zero=True),
            layers.Dropout(0.5),
            layers.Bidirectional(layers.LSTM(H, return_sequences=True)),
            models.Sequential([layers.TimeDistributed(layers.Dense(5, "relu")), layers.GRU(H)]),
            layers.Dense(3, "softmax"),
        ]
    )
    wanted = model(ids)
    path = exported(model, tmp_path, initial_state=False)
    same(path, {"input": ids, "lengths": LENGTHS}, [wanted.data])
    longer = np.pad(ids[:1], ((0, 0), (0, 3)))
    same(path, {"input": longer, "lengths": LENGTHS[:1]}, [wanted.data[:1]])
    assert convert.load(exported(model, tmp_path)).inputs == (
        *("input", "lengths", "2.fw.h_0", "2.fw.c_0", "2.bw.h_0", "2.bw.c_0", "3.h_0"),
    )


def test_a_mask_in_the_data_and_layers_of_one_step(tmp_path: Path) -> None:
    x = np.where(MASK[..., None], X, 0)
    model = models.Sequential([layers.Masking(), layers.GRU(H, return_sequences=True), layers.Dense(2, "tanh")])
    wanted = model(x).data
    same(exported(model, tmp_path, initial_state=False), {"input": x, "lengths": LENGTHS}, [wanted])
    flat = models.Sequential([layers.Dense(4, "log_softmax"), layers.Dense(1, use_bias=False)])
    wanted = flat(X[:, 0]).data
    same(exported(flat, tmp_path), {"input": X[:, 0]}, [wanted])


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (
        lambda: layers.LSTM(2, activation="elu"),
        {},
        r"lstm_cell cannot be written as ONNX: its function elu is none of tanh",
    ),
    (lambda: layers.GRU(2, stateful=True), {}, r"gru cannot be written as ONNX: it is stateful"),
    (lambda: layers.Dense(2, activation="softsign"), {}, r"dense cannot be written as ONNX: its activation softsign"),
    (lambda: layers.Masking(), {"lengths": False}, r"masking cannot be written as ONNX: it makes a mask"),
    (
        lambda: layers.TimeDistributed(layers.TimeDistributed(layers.Dense(2))),
        {},
        r"only Dense and Dropout are, not Time",
    ),
    (
        lambda: layers.Bidirectional(layers.LSTM(2), merge_mode=None),
        {},
        r"bidirectional cannot be written as ONNX: merge_mode=None gives two outputs",
    ),
    (lambda: layers.RNN(rnn.ZoneoutWrapper(rnn.LSTMCell(2), 0.1)), {}, r"ONNX has no operator for ZoneoutWrapper"),
]


@pytest.mark.parametrize(("make", "options", "text"), BAD)
def test_what_cannot_be_exported(make: Any, options: Any, text: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    layer = make()
    layer(X[:, None] if "Time" in text else X)
    with pytest.raises(TypeError, match=text):
        convert.export(layer, tmp_path / "model.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_an_embedding_with_mask_zero_is_exported_only_with_lengths(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    model = models.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.GRU(H)])
    with pytest.raises(TypeError, match=r"embedding cannot be written .*mask_zero=True makes a mask, .*lengths=True"):
        convert.export(model, tmp_path / "model.onnx", lengths=False)


@pytest.mark.parametrize(
    ("op", "names"),
    [
        ("RNN", ["Sigmoid"]),
        ("GRU", ["Tanh", "Relu"]),
        ("LSTM", ["Relu", "Sigmoid", "Sigmoid"]),
        ("LSTM", ["sigmoid", "relu", "relu"]),
    ],
)
def test_functions_of_the_operators(op: str, names: list[str], tmp_path: Path) -> None:
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[op]
    arrays = {"W": 0.5 * array(2, gates * H, D), "R": 0.5 * array(2, gates * H, H), "B": array(2, 2 * gates * H)}
    other = {"RNN": ["Relu"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}[op]
    options = {"activations": [*names, *other], "hidden_size": H, "direction": "bidirectional"}
    node = (op, ["x", *arrays], ["y", "h"], options)
    path = written(tmp_path, [node], {"x": np.float32}, ["y", "h"], arrays)
    matches_runtime(path, {"x": X}, by=defined(node, arrays))


def test_functions_that_differ_where_ours_are_one(tmp_path: Path) -> None:
    arrays = {"W": array(1, 8, D), "R": array(1, 8, H)}
    node = ("LSTM", ["x", "W", "R"], ["y"], {"activations": ["Sigmoid", "Tanh", "Relu"], "hidden_size": H})
    path = written(tmp_path, [node], {"x": np.float32}, ["y"], arrays)
    with pytest.raises(ValueError, match=r"activations=\['Sigmoid', 'Tanh', 'Relu'\].*, g and h alike"):
        convert.load(path)


def test_training_goes_on_after_an_export(tmp_path: Path) -> None:
    layer = layers.LSTM(H, dropout=0.5, recurrent_dropout=0.5, seed=0)
    before = layer(X).data
    exported(layer, tmp_path)
    assert tg.autodiff.state.ambient.get().training
    assert not np.array_equal(layer(X, training=True).data, before)
