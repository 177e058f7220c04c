"""Weights and models from and to other libraries: pure functions on dicts of arrays, which import none of them."""

from . import keras, torch

__all__ = ["keras", "torch"]
