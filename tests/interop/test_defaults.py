"""Defaults are those of the libraries' own cells and layers, and of a file that needs its input alone."""

from __future__ import annotations

from typing import Any

import pytest
from reference.signatures import differing

from tinygrad_rnn.interop import keras, onnx, tf1, torch

DOCUMENTED: dict[Any, dict[str, Any]] = {
    tf1.to_cell: {"forget_bias": 1.0, "reset_after": False},
    tf1.from_cell: {"forget_bias": 1.0},
    tf1.to_layer_norm_cell: {"forget_bias": 1.0},
    tf1.from_layer_norm_cell: {"forget_bias": 1.0},
    torch.to_cell: {"reset_after": True},
    torch.to_cells: {"reset_after": True, "prefix": ""},
    torch.from_cell: {"bias": True},
    keras.to_cell: {"reset_after": True},
    keras.from_cell: {"bias": True},
    onnx.to_cell: {"linear_before_reset": False},
    onnx.export: {"lengths": False, "initial_state": False},
}


@pytest.mark.parametrize("ours", DOCUMENTED, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_defaults(ours: Any) -> None:
    assert differing(ours, DOCUMENTED[ours]) == {}
