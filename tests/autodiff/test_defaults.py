"""Defaults of functions are NumPy's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff.op import Op
from tinygrad_rnn.autodiff.tensor import numpy_functions

UNSAID = {
    "keepdims": False,
    "where": True,
}  # arguments whose defaults NumPy's signatures leave to the method of the array


def options(ours: Any) -> dict[str, Any]:
    if isinstance(ours, Op):
        return dict(ours.defaults)
    parameters = inspect.signature(ours).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize(
    "theirs", [f for f in numpy_functions if not isinstance(f, np.ufunc)], ids=lambda f: f.__name__
)
def test_defaults_are_numpys(theirs: Callable[..., Any]) -> None:
    try:
        known = inspect.signature(theirs).parameters
    except ValueError:  # where, concatenate: written in C, without a signature
        return
    for name, value in options(numpy_functions[theirs]).items():
        default = known[name].default if name in known else inspect.Parameter.empty
        if default is not inspect.Parameter.empty and (theirs, name) != (np.einsum, "optimize"):
            default = UNSAID.get(name) if repr(default) == "<no value>" else default
            assert value == default, name
            assert type(value) is type(default) or isinstance(value, float), name


@pytest.mark.parametrize("op", [tg.ops.rnn_sequence, tg.ops.lstm_sequence, tg.ops.gru_sequence])
def test_defaults_of_sequences(op: Any) -> None:
    """Defaults: forward in time, batch-major, without recomputation in the backward pass."""
    assert {name: op.defaults[name] for name in ("reverse", "time_major", "recompute")} == {
        "reverse": False,
        "time_major": False,
        "recompute": False,
    }
