"""Layers with PyTorch's names, arguments and layouts."""

from ..module import Module, Parameter
from . import functional, utils
from .activations import LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .basics import Dropout, Embedding, LayerNorm, Linear, ModuleList, Sequential
from .cells import GRUCell, LSTMCell, RNNCell
from .losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, NLLLoss
from .recurrent import GRU, LSTM, RNN
from .torch_names import Identity, L1Loss, ModuleDict

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "GRUCell",
    "Identity",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "RNNCell",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "functional",
    "utils",
]
