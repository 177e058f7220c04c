"""The examples in the docstrings of interop, and that each public function has one."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from tinygrad_rnn import interop

NAMES = [m.name for m in pkgutil.walk_packages(interop.__path__, interop.__name__ + ".")]
PUBLIC = {
    "torch": ("to_cell", "from_cell", "to_cells", "from_cells", "merged"),
    "tf1": ("to_cell", "from_cell", "to_layer_norm_cell", "from_layer_norm_cell"),
    "onnx": ("export", "load", "to_cell", "from_cell"),
}


@pytest.mark.parametrize("name", NAMES)
def test_docstrings(name: str) -> None:
    if name.endswith((".onnx.writer", ".onnx.reader")):
        pytest.importorskip("onnx")
    assert not doctest.testmod(importlib.import_module(name)).failed


@pytest.mark.parametrize("face", PUBLIC)
def test_every_public_function_has_an_example(face: str) -> None:
    module = importlib.import_module(f"{interop.__name__}.{face}")
    for name in PUBLIC[face]:
        assert ">>>" in (getattr(module, name).__doc__ or ""), name
