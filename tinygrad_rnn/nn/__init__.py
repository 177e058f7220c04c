"""Layers by PyTorch's conventions: its names, its arguments, its layouts."""

from .basics import Dropout, Embedding, LayerNorm, Linear, Sequential
from .recurrent import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN", "Dropout", "Embedding", "LayerNorm", "Linear", "Sequential"]
