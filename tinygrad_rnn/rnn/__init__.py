"""Cells and drivers, separated as in TensorFlow 1: a cell computes one step, a driver runs any cell over time."""

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
