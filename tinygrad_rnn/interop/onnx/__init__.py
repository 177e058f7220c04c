"""Models to and from ONNX files, by the `onnx` package (pip install 'tinygrad_rnn[onnx]'), and weights by arrays alone."""

from . import keras_layers as keras_layers  # its writers join those of writer.py
from .reader import Model, load
from .weights import from_cell, to_cell
from .writer import export

__all__ = ["Model", "export", "from_cell", "load", "to_cell"]
