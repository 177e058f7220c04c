"""ONNX: models to and from files, with the `onnx` package (pip install 'tinygrad_rnn[onnx]'), and weights as arrays."""

from . import keras_layers as keras_layers  # registers its writers
from .reader import Model, load
from .weights import from_cell, to_cell
from .writer import export

__all__ = ["Model", "export", "from_cell", "load", "to_cell"]
