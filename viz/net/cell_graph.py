"""Graphs of cells that were not run: a copy of the cell is, on an input of zeros."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextvars import Context
from itertools import count
from typing import Any, NamedTuple, TypeVar

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.autodiff.graph import STEP, Graph, Source, flat_tensors
from tinygrad_rnn.autodiff.state import Run, generator, step
from tinygrad_rnn.autodiff.steps import fields_of
from tinygrad_rnn.autodiff.tensor import Tensor
from tinygrad_rnn.rnn import RNNCell
from tinygrad_rnn.rnn.cell import map_state

from .measure import Measured
from .steps import state_name
from .unfused import opened_maps, take

SMALL_BATCH, SMALL_INPUT = 2, 3
T = TypeVar("T")


def trace(cell: RNNCell, length: int) -> Graph:
    """The graph of `length` steps of a copy of the cell: cell(x_t, state) in each of them, inputs named x_t."""
    return on_copy(cell, lambda copied, size: _steps(copied, size, length))


def on_copy(cell: RNNCell, run: Callable[[RNNCell, int], T]) -> T:
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
                output, state = RNNCell.__call__(cell, x, state)
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


class Result(NamedTuple):
    """A result of a step: a state, or the output y where that is no state."""

    name: str
    source: Source
    role: str  # of the arrow to it: "memory" for c, "state" for another state, "data" for y


class StepGraph(NamedTuple):
    """The graph of one step, its results, and the value of each node where the step ran on values from outside."""

    graph: Graph
    results: list[Result]
    values: dict[int, Any]


def step_graph(cell: RNNCell, values: tuple[Any, Any] | None = None) -> StepGraph:
    """One step of a copy of a cell on inputs named x and the state's parts by their names.

    The output is called y where it is no state. values: x and the state to run it on.
    """
    return on_copy(cell, lambda copied, size: _step(copied, size, values))


def _step(run: RNNCell, size: int, values: tuple[Any, Any] | None) -> StepGraph:
    dtype = dtype_of(run)
    random = generator().bit_generator.state
    try:
        run.build(values[0].shape[-1] if values else size, dtype)
        x = Tensor(values[0].data if values else np.zeros((batch_of(run), size), dtype), name="x", requires_grad=True)
        state = run.zero_state(x.shape[0], dtype)
        state = state if values is None else run.check_state(values[1], x.shape[0], x.dtype, "state")
        own = isinstance(state, tuple) and not hasattr(state, "_fields") and not is_stacked(run)
        numbers = count(1)
        state = map_state(lambda part: _leaf(part, f"s{next(numbers)}"), state) if own else _named(state, "h")
        names = [str(part.name) for part in flat_tensors(state)]
        memories = {name for name, field in zip(names, fields_of(state), strict=True) if field == "c"}
        output, after = RNNCell.__call__(run, x, state)  # as a driver calls it: Keras's own takes lists
        made = [(name, part) for name, part in zip(names, flat_tensors(after), strict=False) if part._node is not None]
        tensors = [output, *(part for _, part in made)]
        known: dict[int, Any] = {}
        if values is None:
            graph = opened_maps(tensors)
        else:
            measured = Measured(tensors, "cell", (STEP,), [x, *flat_tensors(state), *run.parameters()])
            graph = measured.graph
            known = {node.id: measured.value(Source(node.id, 0)) for node in graph.nodes}
    finally:
        generator().bit_generator.state = random
    states = list(zip((name for name, _ in made), graph.outputs[-len(made) :] if made else (), strict=True))
    gates = {name: state_name(graph, source) for name, source in states if own}  # else as drivers call them: s1, s2 …
    shown = {name: gates.get(name) or name for name in names}
    leaves = (n._replace(name=shown.get(n.name or "", n.name)) if n.kind == "input" else n for n in graph.nodes)
    memories |= {name for name in names if shown[name] == "c"}
    results = [Result(shown[n], source, "memory" if n in memories else "state") for n, source in states]
    if len(graph.outputs) > len(made) and graph.outputs[0] not in [source for _, source in states]:
        results.append(Result("y", graph.outputs[0], "data"))
    return StepGraph(Graph(tuple(leaves), graph.outputs), results, known)


def is_stacked(cell: Any) -> bool:
    """Whether a state is one of several cells."""
    while getattr(cell, "cell", None) is not None:
        cell = cell.cell
    return hasattr(cell, "cells")


def _named(state: Any, name: str) -> Any:
    """The parts of a state with names: c and h, or h; in a stack with the number of the layer."""
    if not isinstance(state, tuple):
        return _leaf(state, name)
    fields = ["h" if field == "cell_state" else field for field in getattr(state, "_fields", ())]  # of a wrapped cell
    names = fields or [f"{name}{i}" for i in range(len(state))]
    parts = [_named(s, n if name == "h" else f"{n}{name[1:]}") for s, n in zip(state, names, strict=True)]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def _leaf(value: Tensor, name: str) -> Tensor:
    return Tensor(value.data, name=name, requires_grad=True)
