"""Defaults are those that TensorFlow 1's documentation gives, and where it has no such argument, our own."""

from __future__ import annotations

from typing import Any

import pytest
from reference.signatures import differing

from tinygrad_rnn import rnn

KEEP = {"input_keep_prob": 1.0, "output_keep_prob": 1.0, "state_keep_prob": 1.0, "variational_recurrent": False}
NORM = {"forget_bias": 1.0, "norm_gain": 1.0, "norm_shift": 0.0, "dropout_keep_prob": 1.0}
LSTM = {"forget_bias": 1.0, "state_is_tuple": True, "use_peepholes": False, "cell_clip": None, "num_proj": None}
DRIVER = {"sequence_length": None, "dtype": None, "time_major": False}
OURS = {"impl": "auto", "recompute": False}
TENSORFLOWS: dict[Any, dict[str, Any]] = {
    rnn.BasicRNNCell: {"activation": "tanh", "use_bias": True},
    rnn.LSTMCell: LSTM,
    rnn.GRUCell: {"reset_after": False, "use_bias": True},
    rnn.LayerNormLSTMCell: NORM,
    rnn.DropoutWrapper: {**KEEP, "seed": None},
    rnn.ResidualWrapper: {"residual_fn": None},
    rnn.ZoneoutWrapper: {"zoneout_prob": 0.1},
    rnn.MultiRNNCell: {"state_is_tuple": True, "share": False},
    rnn.LuongAttention: {"memory_sequence_length": None, "scale": False},
    rnn.BahdanauAttention: {"memory_sequence_length": None, "normalize": False},
    rnn.AttentionWrapper: {"attention_layer_size": None, "cell_input_fn": None, "output_attention": True},
    rnn.dynamic_rnn: {**DRIVER, **OURS, "initial_state": None, "return_trace": False},
    rnn.bidirectional_dynamic_rnn: {**DRIVER, **OURS, "initial_state_fw": None, "initial_state_bw": None},
    rnn.static_rnn: {"initial_state": None, "sequence_length": None, "impl": "auto"},
    rnn.stepper: {"batch": 1},
    rnn.LSTMCell.stepper: {"batch": 1},
}


@pytest.mark.parametrize("ours", TENSORFLOWS, ids=lambda f: f.__qualname__)
def test_defaults(ours: Any) -> None:
    assert differing(ours, TENSORFLOWS[ours]) == {}
