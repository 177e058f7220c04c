"""Defaults are those that Keras's documentation gives."""

from __future__ import annotations

from typing import Any

import pytest
from reference.signatures import differing

from tinygrad_rnn import layers
from tinygrad_rnn.layers import activations

WEIGHTS = {"kernel_initializer": "glorot_uniform", "bias_initializer": "zeros", "use_bias": True}
CELL = {
    **WEIGHTS, "activation": "tanh", "recurrent_initializer": "orthogonal", "dropout": 0.0, "recurrent_dropout": 0.0,
    "seed": None, "kernel_regularizer": None, "recurrent_regularizer": None, "bias_regularizer": None,
}  # fmt: skip
OVER_TIME = dict.fromkeys(
    ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask"), False
)
KERASS: dict[Any, dict[str, Any]] = {
    layers.Dense: {**WEIGHTS, "activation": None, "kernel_regularizer": None, "bias_regularizer": None},
    layers.Embedding: {"embeddings_initializer": "uniform", "mask_zero": False, "embeddings_regularizer": None},
    layers.Dropout: {"seed": None},
    layers.Masking: {"mask_value": 0.0},
    layers.Layer: {"dtype": "float32", "activity_regularizer": None},
    layers.RNN: OVER_TIME,
    **{key: {**OVER_TIME, "implementation": 2} for key in (layers.SimpleRNN, layers.LSTM, layers.GRU)},
    layers.SimpleRNNCell: CELL,
    layers.LSTMCell: {**CELL, "recurrent_activation": "sigmoid", "unit_forget_bias": True},
    layers.GRUCell: {**CELL, "recurrent_activation": "sigmoid", "reset_after": True},
    layers.Bidirectional: {"merge_mode": "concat", "backward_layer": None},
    layers.GlobalMaxPooling1D: {"keepdims": False},
    layers.GlobalAveragePooling1D: {"keepdims": False},
    activations.gelu: {"approximate": False},
}


@pytest.mark.parametrize("ours", KERASS, ids=lambda f: f.__qualname__)
def test_defaults(ours: Any) -> None:
    assert differing(ours, KERASS[ours]) == {}
