"""The one place that imports the `onnx` package."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def onnx(owner: str) -> Any:
    """The `onnx` package; ImportError that names the command to get it."""
    try:
        return import_module("onnx")
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise ImportError(f"{owner} needs the onnx package: pip install 'tinygrad_rnn[onnx]'") from None
