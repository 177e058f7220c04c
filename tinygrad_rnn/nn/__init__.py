"""Layers by PyTorch's conventions: its names, its arguments, its layouts."""

from .activations import ReLU, Sigmoid, Tanh
from .basics import Dropout, Embedding, LayerNorm, Linear, Sequential
from .cells import GRUCell, LSTMCell, RNNCell
from .losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, NLLLoss
from .recurrent import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "NLLLoss",
    "RNNCell",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Tanh",
]
