"""`help` and editors show every argument of a layer, and every argument that they show is taken."""

from __future__ import annotations

import inspect
import pydoc
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn import layers
from tinygrad_rnn.layers import base, cells, recurrent

CLASSES = [
    c
    for c in vars(layers).values()
    if inspect.isclass(c) and issubclass(c, (layers.Layer, cells.KerasCell)) and c not in (layers.Layer,)
]
NEEDED = {"units": 3, "cell": layers.LSTMCell(3), "n": 2, "rate": 0.5, "activation": "tanh", "input_dim": 4}
NEEDED |= {"output_dim": 5, "layer": layers.LSTM(3)}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_a_signature_names_every_argument_with_its_default(cls: Any) -> None:
    parameters = inspect.signature(cls).parameters
    kinds = {p.kind for p in parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    needed = {n: NEEDED[n] for n, p in parameters.items() if p.default is p.empty}
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    defaults = {n: v for n, v in defaults.items() if not (n == "input_dim" and v is None)}
    made = cls(**needed, **defaults)  # all of them are taken
    assert list(made.get_config()) or isinstance(made, layers.Wrapper)


def test_keras_users_find_their_arguments() -> None:
    shown = str(inspect.signature(layers.LSTM))
    assert shown.startswith("(units, activation='tanh', recurrent_activation='sigmoid', use_bias=True, *, ")
    for argument in ("unit_forget_bias=True", "dropout=0.0", "return_sequences=False", "kernel_regularizer=None"):
        assert argument in shown
    assert "stateful=False" in pydoc.plain(pydoc.render_doc(layers.GRU)).split("GRU(", 1)[1].split("Keras", 1)[0]
    layer = layers.LSTM(3, "relu", "sigmoid", False)
    assert layer(np.ones((1, 2, 3), np.float32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (layers.LSTM, recurrent.LSTMOptions),
        (layers.GRU, recurrent.GRUOptions),
        (layers.SimpleRNN, recurrent.SimpleRNNOptions),
        (layers.Layer, base.LayerOptions),
    ],
    ids=lambda v: v.__name__,
)
def test_annotated_arguments_are_those_that_are_accepted(cls: Any, options: Any) -> None:
    assert set(options.__annotations__) | {"units"} == set(inspect.signature(cls).parameters) | {"units"}
