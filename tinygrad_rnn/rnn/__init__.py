"""Cells and drivers, separated as in TensorFlow 1: a cell computes one step, a driver runs any cell over time.

In reading order:

- cell: RNNCell, the base of all cells, and states as trees of tensors.
- cells: the plain cell, LSTM and GRU. layer_norm: an LSTM with layer normalization.
- driver: dynamic_rnn and the other drivers, which run a cell by a kernel or by `scan`. explain: reports which, and why.
- wrappers, attention: cells that contain cells. stepper: streaming. steps: time steps of loops written by hand.
"""

from ..program.naming import gate
from .attention import AttentionWrapper, AttentionWrapperState, BahdanauAttention, LuongAttention
from .cell import LSTMState, RNNCell, detach
from .cells import BasicLSTMCell, BasicRNNCell, GRUCell, LSTMCell
from .driver import bidirectional_dynamic_rnn, dynamic_rnn, static_rnn
from .explain import Explanation, explain
from .layer_norm import LayerNormLSTMCell
from .stepper import stepper
from .steps import steps
from .wrappers import DropoutWrapper, MultiRNNCell, ResidualWrapper, ZoneoutWrapper

LSTMStateTuple = LSTMState

__all__ = [
    "AttentionWrapper",
    "AttentionWrapperState",
    "BahdanauAttention",
    "BasicLSTMCell",
    "BasicRNNCell",
    "DropoutWrapper",
    "Explanation",
    "GRUCell",
    "LSTMCell",
    "LSTMState",
    "LSTMStateTuple",
    "LayerNormLSTMCell",
    "LuongAttention",
    "MultiRNNCell",
    "RNNCell",
    "ResidualWrapper",
    "ZoneoutWrapper",
    "bidirectional_dynamic_rnn",
    "detach",
    "dynamic_rnn",
    "explain",
    "gate",
    "static_rnn",
    "stepper",
    "steps",
]
