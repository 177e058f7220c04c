"""Conversion of weights and models from and to other libraries.

`torch`, `keras` and `tf1` are pure functions on arrays and import none of these libraries. `onnx` reads and writes
files with the onnx package, which is imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import keras, tf1, torch

if TYPE_CHECKING:
    from . import onnx

__all__ = ["keras", "onnx", "tf1", "torch"]


def __getattr__(name: str) -> object:
    """Import `interop.onnx` on first use: it imports `nn`, which imports the other converters."""
    if name != "onnx":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("tinygrad_rnn.interop.onnx")
