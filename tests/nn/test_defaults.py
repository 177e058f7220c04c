"""Defaults are those that PyTorch's documentation gives."""

from __future__ import annotations

from typing import Any

import pytest
from reference.signatures import differing

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn import functional
from tinygrad_rnn.nn.utils import rnn as packing

LAYERS = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
PYTORCHS: dict[Any, dict[str, Any]] = {
    nn.RNN: {**LAYERS, "nonlinearity": "tanh"},
    nn.LSTM: {**LAYERS, "proj_size": 0},
    nn.GRU: LAYERS,
    nn.RNNCell: {"bias": True, "nonlinearity": "tanh"},
    nn.LSTMCell: {"bias": True},
    nn.GRUCell: {"bias": True},
    nn.Linear: {"bias": True},
    nn.Embedding: {"padding_idx": None},
    nn.LayerNorm: {"eps": 1e-5},
    nn.Dropout: {"p": 0.5},
    nn.L1Loss: {"reduction": "mean"},
    nn.MSELoss: {"reduction": "mean"},
    nn.BCELoss: {"weight": None, "reduction": "mean"},
    nn.BCEWithLogitsLoss: {"weight": None, "reduction": "mean", "pos_weight": None},
    nn.NLLLoss: {"weight": None, "ignore_index": -100, "reduction": "mean"},
    nn.CrossEntropyLoss: {"weight": None, "ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0},
    functional.dropout: {"p": 0.5, "training": True},
    functional.leaky_relu: {"negative_slope": 0.01},
    nn.Softmax: {"dim": -1},
    nn.LogSoftmax: {"dim": -1},
    functional.softmax: {"dim": -1},
    functional.log_softmax: {"dim": -1},
    functional.one_hot: {"num_classes": -1},
    packing.pack_padded_sequence: {"batch_first": False, "enforce_sorted": True},
    packing.pad_packed_sequence: {"batch_first": False, "padding_value": 0.0, "total_length": None},
    packing.pad_sequence: {"batch_first": False, "padding_value": 0.0},
    packing.pack_sequence: {"enforce_sorted": True},
    tg.cat: {"dim": 0},
    **{key: {"dtype": None, "requires_grad": False} for key in (tg.zeros, tg.ones, tg.randn, tg.rand)},
    tg.Tensor.chunk: {"dim": 0},
    tg.Tensor.unbind: {"dim": 0},
    tg.Tensor.add: {"alpha": 1},
    tg.Tensor.softmax: {"dim": -1},
    tg.Tensor.log_softmax: {"dim": -1},
    tg.Tensor.requires_grad_: {"requires_grad": True},
    tg.Tensor.backward: {"retain_graph": False},
    tg.Module.register_buffer: {"persistent": True},
    tg.Module.load_state_dict: {"strict": True},
    tg.optim.SGD.zero_grad: {"set_to_none": True},
}


@pytest.mark.parametrize("ours", PYTORCHS, ids=lambda f: f.__qualname__)
def test_defaults(ours: Any) -> None:
    assert differing(ours, PYTORCHS[ours]) == {}
