"""Graphs of cells that were not run: a copy of the cell is, on an input of zeros."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextvars import Context
from typing import Any, TypeVar

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.autodiff.graph import Graph
from tinygrad_rnn.autodiff.state import Run, generator, step
from tinygrad_rnn.autodiff.tensor import Tensor
from tinygrad_rnn.rnn import RNNCell

from .unfused import take

SMALL_BATCH, SMALL_INPUT = 2, 3
Found = TypeVar("Found")


def trace(cell: RNNCell, length: int) -> Graph:
    """The graph of `length` steps of a copy of the cell: cell(x_t, state) in each of them, inputs named x_t."""
    return on_copy(cell, lambda copied, size: _steps(copied, size, length))


def on_copy(cell: RNNCell, run: Callable[[RNNCell, int], Found]) -> Found:
    """What `run` makes of a copy of the cell and its input's size; of a small one, or its output's, if it is not built."""
    known = input_size(cell)
    sizes = (known,) if known else (SMALL_INPUT, cell.output_size)  # a residual connection wants the latter
    for size in sizes:
        try:
            return Context().run(run, _copied(cell), size)
        except ValueError:
            if size == sizes[-1]:
                raise
    raise AssertionError("unreachable")


def _copied(cell: RNNCell) -> RNNCell:
    """A copy of a cell; what it holds of other graphs, an encoder's outputs say, becomes constant."""
    held = [value for module in cell.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    constants: dict[int, Any] = {}
    for value in held:
        if not value.is_leaf:
            constants[id(value)] = Tensor(value.data, name=value.name or "memory")
    return copy.deepcopy(cell, constants)


def batch_of(cell: RNNCell) -> int:
    """The batch to run a cell on: that of the memory it attends to, else a small one."""
    memories = (getattr(module, "memory", None) for module in cell.modules())
    return next((memory.shape[0] for memory in memories if isinstance(memory, Tensor)), SMALL_BATCH)


def _steps(cell: RNNCell, size: int, length: int) -> Graph:
    dtype, batch = dtype_of(cell), batch_of(cell)
    outputs: list[Any] = []
    random = generator().bit_generator.state
    try:
        cell.build(size, dtype)
        state, run = cell.zero_state(batch, dtype), Run()
        for t in range(length):
            x = Tensor(np.zeros((batch, size), dtype), name=f"x_{t}", requires_grad=True)
            with step(t, run):
                output, state = cell(x, state)
            outputs.append(output)
        return take((ops.stack(outputs), state))
    finally:
        generator().bit_generator.state = random


def dtype_of(cell: RNNCell) -> np.dtype[Any]:
    """The dtype that a cell, or one inside it, was built in; float32 if none was."""
    built = (m.dtype for m in cell.modules() if isinstance(m, RNNCell) and m.input_size is not None)
    return next(built, np.dtype(np.float32))


def input_size(cell: Any) -> int | None:
    """The input's size of a built stack or wrapper, which only the cell inside knows."""
    while cell is not None:
        if isinstance(getattr(cell, "input_size", None), int):
            return int(cell.input_size)
        inner = getattr(cell, "cells", None)
        cell = inner[0] if inner else getattr(cell, "cell", None)
    return None
