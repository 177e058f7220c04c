"""Attention over a memory: Luong's and Bahdanau's mechanisms, and the wrapper that adds them to a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import checks, initializers, ops
from ..autodiff.state import scope
from ..autodiff.steps import mask_tensor
from ..autodiff.tensor import Tensor
from ..module import Module, Parameter
from ..program.calls import checked_lengths
from .cell import RNNCell, called, described, gate, random_source


class AttentionWrapperState(NamedTuple):
    """State of an AttentionWrapper: the cell's state, the last attention output, and the weights of the memory's
    positions.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> mechanism = tg.rnn.LuongAttention(4, np.ones((2, 5, 3), np.float32))
    >>> state = tg.rnn.AttentionWrapper(tg.rnn.GRUCell(4), mechanism).zero_state(2)
    >>> state.cell_state.shape, state.attention.shape, state.alignments.shape
    ((2, 4), (2, 3), (2, 5))
    """

    cell_state: Any
    attention: Any
    alignments: Any


class AttentionMechanism(Module):
    """Base of the two mechanisms: a memory with its mask and keys. A subclass defines `score(query, keys)`."""

    built_from = "query_size"
    memory: Tensor | None = None
    mask: Any = None
    query_size: int | None = None  # known once built

    def __init__(
        self,
        num_units: int,
        memory: Any = None,
        memory_sequence_length: Any = None,
        *,
        seed: Any = None,
        name: Any = None,
    ):
        self.num_units, self.name = checks.integer(type(self).__name__, "num_units", num_units), name
        self.initializer = initializers.GlorotUniform(random_source(seed))
        if memory is not None:
            self.setup_memory(memory, memory_sequence_length)

    # -- the memory ------------------------------------------------------------------------------------------------

    def setup_memory(self, memory: Any, memory_sequence_length: Any = None) -> None:
        """Attend to another memory (B, S, M), of which the first memory_sequence_length[b] positions of each row (1 to S)
        are used. M must be the same as before; B and S may change. Gradients flow into it. Positions past a row's length
        have no effect.
        """
        owner = type(self).__name__
        memory = memory if isinstance(memory, Tensor) else Tensor(memory)
        if memory.ndim != 3 or not memory.shape[1]:
            raise ValueError(f"{owner}: memory has shape {memory.shape}, expected (B, S, M) with S at least 1")
        if memory.dtype not in (np.float32, np.float64):
            raise TypeError(f"{owner}: memory has dtype {memory.dtype}, expected floats; use .astype(np.float32)")
        if self.built and memory.shape[2] != self.memory_kernel.shape[0]:
            raise ValueError(
                f"{owner}: memory has shape {memory.shape}, expected the last axis to be {self.memory_kernel.shape[0]}, the "
                "size the mechanism was built for"
            )
        batch, places, _ = memory.shape
        lengths = checked_lengths(owner, memory_sequence_length, batch, places, "memory_sequence_length")
        if lengths is not None and not lengths.all():
            row = int(np.argmin(lengths))
            raise ValueError(
                f"{owner}: memory_sequence_length[{row}] is 0, expected 1 to {places}: with nothing to attend to the "
                "weights cannot sum to 1"
            )
        self.memory = memory
        self.mask = None if lengths is None else np.arange(places) < lengths[:, None]

    def the_memory(self) -> Tensor:
        """The memory; ValueError before one is set."""
        if self.memory is None:
            raise ValueError(f"{type(self).__name__}: there is no memory to attend to; call setup_memory(memory)")
        return self.memory

    def constants(self, batch: int, dtype: Any) -> tuple[Any, ...]:
        """Tensors that are the same at all steps: keys (B, S, U), values (B, S, M) and, where there are lengths, the mask
        (B, S)."""
        values, owner = self.the_memory(), type(self).__name__
        if values.shape[0] != batch:
            raise ValueError(
                f"{owner}: memory has shape {values.shape}, expected ({batch}, S, M): a row for each of the batch of x"
            )
        if values.dtype != dtype:
            raise TypeError(f"{owner}: memory has dtype {values.dtype}, x has {dtype}; use memory.astype(np.{dtype})")
        if self.mask is None:
            return values @ self.memory_kernel, values
        values = ops.where(self.mask[:, :, None], values, 0)
        return values @ self.memory_kernel, values, mask_tensor(self.mask)

    # -- the parameters --------------------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        return self.query_size is not None

    def build(self, query_size: int, dtype: Any = np.float32) -> Any:
        """Create the parameters for queries of this size; called by the wrapper. Returns the mechanism."""
        if not self.built:
            self.dtype = np.dtype(dtype)
            self.build_parameters(query_size, self.the_memory().shape[2])
            self.query_size = query_size
        return self

    def build_parameters(self, query_size: int, memory_size: int) -> None:
        """Create the parameters with `self.add(name, array)`."""
        self.add("memory_kernel", self.initializer((memory_size, self.num_units), self.dtype))

    def build_from(self, arrays: Mapping[str, Any]) -> None:
        """Nothing to do: the wrapper builds the mechanism."""

    def unbuild(self) -> None:
        for name in [k for k, v in vars(self).items() if isinstance(v, Parameter)]:
            delattr(self, name)
        self.query_size = self.dtype = None

    def add(self, name: str, data: Any) -> None:
        """Set a parameter."""
        setattr(self, name, Parameter(data, self.dtype, name))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}" + ("" if self.built else " yet")
        )

    # -- one step --------------------------------------------------------------------------------------------------

    def score(self, query: Any, keys: Any) -> Any:
        """The scores (B, S) of a query (B, Q) against the keys (B, S, U)."""
        raise TypeError(f"{type(self).__name__} defines no score(query, keys)")

    def attend(self, query: Any, keys: Any, values: Any, mask: Any = None) -> tuple[Any, Any]:
        """The context (B, M), the values' mean by the alignments, and the alignments (B, S), the softmax of the scores."""
        score = self.score(query, keys)
        if mask is not None:
            score = ops.where(mask, score, -np.inf)
        alignments = gate("alignments", ops.softmax(score, axis=-1))
        context = (ops.expand_dims(alignments, axis=1) @ values)[:, 0]
        return context, alignments

    def describe(self) -> str:
        return f"{self.num_units}"


class LuongAttention(AttentionMechanism):
    """Multiplicative attention [Luong, Pham & Manning 2015]: score_s = q · k_s, times g with scale=True.

    Keys k = memory K with memory_kernel K (M, U); the query q (B, U), the cell's output, must have size num_units.
    alignments = softmax(score) over the positions s below memory_sequence_length[b]; context = Σ_s alignments_s memory_s.
    memory (B, S, M) may carry a gradient; `setup_memory(memory, memory_sequence_length)` replaces it, for example for
    each batch. scale: a parameter attention_g (), initially 1. Named after TensorFlow 1's contrib.seq2seq and TensorFlow
    Addons' tfa.seq2seq, whose equations it has. Raises ValueError for wrong shapes, lengths outside 1 … S and a query of
    another size, TypeError for a memory that is not floating-point or has another dtype than x.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> mechanism = tg.rnn.LuongAttention(4, np.ones((2, 5, 3), np.float32), memory_sequence_length=[5, 2])
    >>> cell = tg.rnn.AttentionWrapper(tg.rnn.GRUCell(4), mechanism)
    >>> outputs, state = tg.rnn.dynamic_rnn(cell, np.ones((2, 6, 3), np.float32))
    >>> outputs.shape, state.alignments[1].data.round(3).tolist()
    ((2, 6, 3), [0.5, 0.5, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        num_units: int,
        memory: Any = None,
        memory_sequence_length: Any = None,
        scale: bool = False,
        **options: Any,
    ):
        super().__init__(num_units, memory, memory_sequence_length, **options)
        self.scale = bool(scale)

    def build_parameters(self, query_size: int, memory_size: int) -> None:
        if query_size != self.num_units:
            raise ValueError(
                f"LuongAttention: num_units is {self.num_units}, but the cell's output has {query_size} numbers; the two are "
                "multiplied, so they must be equal (BahdanauAttention takes any)"
            )
        super().build_parameters(query_size, memory_size)
        if self.scale:
            self.add("attention_g", np.ones(()))

    def score(self, query: Any, keys: Any) -> Any:
        score = (keys @ ops.expand_dims(query, axis=-1))[:, :, 0]
        return self.attention_g * score if self.scale else score


class BahdanauAttention(AttentionMechanism):
    """Additive attention [Bahdanau, Cho & Bengio 2015]: score_s = Σ_u v_u tanh(k_s + q Q)_u.

    Keys k = memory K with memory_kernel K (M, U); q (B, ·), the cell's output, by query_kernel Q (·, U); attention_v (U).
    normalize=True: weight normalization [Salimans & Kingma 2016] of v and a bias, score_s = Σ_u (g v / ‖v‖)_u tanh(k_s +
    q Q + b)_u, attention_g () is initially √(1/U), attention_b (U) 0. Otherwise as LuongAttention.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> mechanism = tg.rnn.BahdanauAttention(7, np.ones((2, 5, 3), np.float32), normalize=True)
    >>> cell = tg.rnn.AttentionWrapper(tg.rnn.LSTMCell(4), mechanism, attention_layer_size=6)
    >>> tg.rnn.dynamic_rnn(cell, np.ones((2, 8, 3), np.float32))[0].shape
    (2, 8, 6)
    """

    def __init__(
        self,
        num_units: int,
        memory: Any = None,
        memory_sequence_length: Any = None,
        normalize: bool = False,
        **options: Any,
    ):
        super().__init__(num_units, memory, memory_sequence_length, **options)
        self.normalize = bool(normalize)

    def build_parameters(self, query_size: int, memory_size: int) -> None:
        super().build_parameters(query_size, memory_size)
        self.add("query_kernel", self.initializer((query_size, self.num_units), self.dtype))
        self.add("attention_v", np.diag(self.initializer((self.num_units, self.num_units), self.dtype)).copy())
        if self.normalize:
            self.add("attention_g", np.sqrt(1 / self.num_units))
            self.add("attention_b", np.zeros(self.num_units))

    def score(self, query: Any, keys: Any) -> Any:
        q, v = query @ self.query_kernel, self.attention_v
        if self.normalize:
            q = q + self.attention_b
            v = self.attention_g * v / ops.sqrt(ops.sum(v * v))
        return (ops.tanh(keys + ops.expand_dims(q, axis=1)) * v).sum(axis=-1)


class AttentionWrapper(RNNCell):
    """A cell with attention to a memory at every step; the result is an input of the next step [Luong et al. 2015].

    y, s' = cell([x, a], s); context, alignments = attention_mechanism(y); a' = [y, context] A with attention_kernel A
    (output_size + M, attention_layer_size), or the context itself without an attention_layer_size. The output is a', with
    output_attention=False y. x (B, D), state AttentionWrapperState(cell_state, attention (B, ·), alignments (B, S)).
    cell_input_fn(x, a): the input of the cell in place of [x, a]. dynamic_rnn(…, return_trace=True) also returns the
    "alignments" of every step, (B, T, S), which TensorFlow 1 calls alignment_history. Keys, values and mask are computed
    once per sequence. After TensorFlow 1's tf.contrib.seq2seq.AttentionWrapper (equations of tfa.seq2seq), with one
    mechanism. Raises TypeError for an invalid cell or mechanism, ValueError for wrong sizes and if the batch sizes of
    memory and x differ.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> memory = tg.tensor(np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32), requires_grad=True)
    >>> cell = tg.rnn.AttentionWrapper(tg.rnn.LSTMCell(4), tg.rnn.LuongAttention(4, memory), attention_layer_size=6)
    >>> outputs, state, trace = tg.rnn.dynamic_rnn(cell, np.ones((2, 8, 3), np.float32), return_trace=True)
    >>> outputs.shape, state.cell_state.h.shape, trace["alignments"].shape
    ((2, 8, 6), (2, 4), (2, 8, 5))
    >>> outputs.sum().backward()
    >>> memory.grad.shape
    (2, 5, 3)
    """

    def __init__(
        self,
        cell: RNNCell,
        attention_mechanism: AttentionMechanism,
        attention_layer_size: int | None = None,
        *,
        cell_input_fn: Callable[[Any, Any], Any] | None = None,
        output_attention: bool = True,
        seed: Any = None,
        name: str | None = None,
    ):
        if not isinstance(cell, RNNCell):
            raise TypeError(
                f"AttentionWrapper: cell is {described(cell)}, expected an rnn.RNNCell such as rnn.LSTMCell(64)"
            )
        if not isinstance(attention_mechanism, AttentionMechanism):
            raise TypeError(
                f"AttentionWrapper: attention_mechanism is {described(attention_mechanism)}, expected one "
                "rnn.LuongAttention(num_units, memory) or rnn.BahdanauAttention(num_units, memory)"
            )
        size = attention_layer_size
        if size is not None:
            size = checks.integer("AttentionWrapper", "attention_layer_size", size, wanted="a positive integer or None")
        self.cell, self.attention_mechanism = cell, attention_mechanism
        self.attention_layer_size = size
        self.cell_input_fn, self.output_attention, self.name = cell_input_fn, bool(output_attention), name
        self.initializer = initializers.GlorotUniform(random_source(seed))

    # -- sizes and parameters --------------------------------------------------------------------------------------

    @property
    def attention_size(self) -> int:
        """The size of the attention output."""
        return self.attention_layer_size or self.attention_mechanism.the_memory().shape[2]

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """The size of the attention, or of the cell's output."""
        return self.attention_size if self.output_attention else self.cell.output_size

    @property
    def state_size(self) -> Any:
        """The cell's, the size of the attention, and the number of the memory's positions."""
        places = self.attention_mechanism.the_memory().shape[1]
        return AttentionWrapperState(self.cell.state_size, self.attention_size, places)

    def build_parameters(self, input_size: int) -> None:
        seen = self._seen(np.zeros((1, input_size), self.dtype), np.zeros((1, self.attention_size), self.dtype))
        self.cell.build(seen.shape[-1], self.dtype)
        self.attention_mechanism.build(self.cell.output_size, self.dtype)
        if self.attention_layer_size is not None:
            wide = self.cell.output_size + self.attention_mechanism.the_memory().shape[2]
            self.add("attention_kernel", (wide, self.attention_layer_size), self.initializer)

    def build_from(self, arrays: Mapping[str, Any]) -> None:
        raise ValueError(
            f"load_state_dict: {self.scope_name} is not built yet, and the size of x cannot be inferred from the state; call "
            "build(input_size, dtype) first"
        )

    # -- running ---------------------------------------------------------------------------------------------------

    def draw(self, shape: tuple[int, int, int], dtype: Any) -> Any:
        """Keys, values and mask of the memory, for all steps; then the arrays drawn by the cell."""
        seen = (*shape[:2], shape[2] + self.attention_size if self.cell.input_size is None else self.cell.input_size)
        with scope(self.attention_mechanism.scope_name):
            constants = self.attention_mechanism.constants(shape[0], dtype)
        return constants, self.cell.draw(seen, dtype)

    def _seen(self, x: Any, attention: Any) -> Any:
        """The input of the cell."""
        if self.cell_input_fn is not None:
            return self.cell_input_fn(x, attention)
        return ops.concatenate([x, attention], axis=-1)

    def call(self, x: Any, state: Any, drawn: Any = None) -> tuple[Any, Any]:
        memory, inside = self.draw((x.shape[0], 1, x.shape[1]), x.dtype) if drawn is None else drawn
        with scope(self.cell.scope_name):
            y, cell_state = called(self.cell, self._seen(x, state.attention), state.cell_state, inside)
        with scope(self.attention_mechanism.scope_name):
            attention, alignments = self.attention_mechanism.attend(y, *memory)
        if self.attention_layer_size is not None:
            attention = ops.concatenate([y, attention], axis=-1) @ self.attention_kernel
        attention = gate("attention", attention)
        return attention if self.output_attention else y, AttentionWrapperState(cell_state, attention, alignments)

    def describe(self) -> str:
        size = self.attention_layer_size
        return "" if size is None else f"attention_layer_size={size}"
