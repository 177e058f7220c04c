"""Weights and models from and to other libraries. `torch`, `keras` and `tf1` are pure functions on arrays and import
none of these libraries; `onnx` reads and writes files with the onnx package, imported when first used."""

from importlib import import_module
from typing import TYPE_CHECKING

from . import keras, tf1, torch

if TYPE_CHECKING:
    from . import onnx

__all__ = ["keras", "onnx", "tf1", "torch"]


def __getattr__(name: str) -> object:
    """`interop.onnx` stands above `nn`, which stands above the others: it is imported when first asked for."""
    if name != "onnx":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("tinygrad_rnn.interop.onnx")
