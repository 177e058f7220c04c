"""Layers by PyTorch's conventions: its names, its arguments, its layouts."""

from .basics import Dropout, Embedding, LayerNorm, Linear, Sequential

__all__ = ["Dropout", "Embedding", "LayerNorm", "Linear", "Sequential"]
