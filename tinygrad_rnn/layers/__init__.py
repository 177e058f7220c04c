"""Layers with Keras's names, arguments, defaults and return values."""

from .base import Input, Layer
from .cells import GRUCell, LSTMCell, SimpleRNNCell, StackedRNNCells
from .core import Dense, Dropout, Embedding, Masking
from .recurrent import GRU, LSTM, RNN, SimpleRNN
from .shaping import Activation, Flatten, GlobalAveragePooling1D, GlobalMaxPooling1D, RepeatVector
from .wrappers import Bidirectional, TimeDistributed, Wrapper

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Bidirectional",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "Input",
    "LSTMCell",
    "Layer",
    "Masking",
    "RepeatVector",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
    "TimeDistributed",
    "Wrapper",
]
