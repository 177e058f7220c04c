"""The unrolled view: time from left to right, layers from bottom to top, each step in a box of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextvars import Context
from typing import Any

import numpy as np

from tinygrad_rnn import ops
from tinygrad_rnn.autodiff.graph import Graph
from tinygrad_rnn.autodiff.state import generator, scope
from tinygrad_rnn.autodiff.tensor import Tensor
from tinygrad_rnn.rnn import RNNCell

from .drawing import Drawing
from .floors import House
from .flow import Sweep, norm, states_of
from .grid import Grid
from .opened import fused_length, open_all, running, take
from .steps import read

DEFAULT_STEPS = 3
MOST_STEPS = 8  # drawn without being asked for
SMALL_BATCH, SMALL_INPUT = 2, 3


def unrolled(
    target: Any,
    steps: int | tuple[int, int] | None = None,
    *,
    shapes: bool = True,
    length: int | None = None,
    color: str | None = None,
) -> Drawing:
    """Draw a recurrent net unrolled in time: x_t below, layers upwards, h_t above, states along the arrows.

    target: a cell (it is left as it is: a copy runs on a small input), or what a driver or loop computed: outputs, the
    pair (outputs, state), a loss, or a Graph. steps: how many steps to draw, or (first, last): the first and last few,
    with one node for those between. Default: all, if not many. length: for a cell, how many steps there are; where it is
    not given the last ones are called T−1, T−2 … color="grad_norm", for a loss: cells and states are shaded by the logarithm
    of the norm of the loss's gradient there (see `grad_flow`). Weights are drawn once, and named in the cells that share
    them. Raises ValueError where the graph has no time steps, TypeError where nothing was recorded.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> viz.unrolled(tg.rnn.GRUCell(4), steps=(2, 1), length=100)
    Drawing(13 nodes, 12 edges)
    """
    _check_steps(steps, length)
    if color is not None:
        return _coloured(target, steps, shapes, color)
    if isinstance(target, RNNCell):
        return _of_cell(target, steps, shapes, length)
    house, shown, skipped = _read(target, steps)
    grid = Grid(house.found, shown, shapes, False, house)
    grid.skipped, grid.rows = skipped, running(target)
    return Drawing(grid.picture())


def _of_cell(cell: RNNCell, steps: Any, shapes: bool, length: int | None) -> Drawing:
    """The picture of a cell, run on made-up inputs."""
    first, last = (DEFAULT_STEPS, 0) if steps is None else steps if isinstance(steps, tuple) else (steps, 0)
    open_end = length is None and last > 0
    total = length or first + last + open_end
    few = min(total, first + last + 1) if steps is not None else total
    house = House(read(trace(cell, few)))
    grid = Grid(house.found, _shown(few, steps), shapes, open_end, house)
    grid.skipped = total - few
    return Drawing(grid.picture())


def _read(target: Any, steps: Any) -> tuple[House, list[int | None], int]:
    """The net, the columns to show, and how many steps of the gap were not even opened: what is not drawn need not be."""
    total = fused_length(target)
    if total is not None and None in _shown(total, steps):
        few = len(_shown(total, steps)) + 1
        house = House(read(open_all(target, "recurrent", few)))
        if house.total == few:
            return house, [c if c is None or c < few else c - (total - few) for c in _shown(total, steps)], total - few
    house = House(read(open_all(target, "recurrent")))
    return house, _shown(house.total, steps), 0


def _coloured(target: Any, steps: Any, shapes: bool, color: str) -> Drawing:
    """The picture with cells and states shaded by the norm of the gradient there."""
    if color != "grad_norm":
        raise ValueError(f"unrolled: color is {color!r}, expected 'grad_norm' or None")
    if not isinstance(target, Tensor):
        raise TypeError(
            f"unrolled: color='grad_norm' needs a loss to take the gradient of, not {type(target).__name__}"
        )
    edge, seed = target._seed(None, "unrolled: color='grad_norm'")
    sweep = Sweep(target)
    cotangents, house = sweep(edge, seed), House(sweep.found)
    grid = Grid(sweep.found, _shown(house.total, steps), shapes, False, house)
    grid.rows = running(target)
    for number, layer in enumerate(sweep.found.layers):
        for name, sources in states_of(sweep.found, number).items() if layer.kind == "cell" else ():
            for t, source in zip(layer.steps, sources, strict=True):
                grid.norms[(number, t), name] = norm(cotangents, source)
    return Drawing(grid.picture())


def trace(cell: RNNCell, length: int, batch: int = SMALL_BATCH) -> Graph:
    """The graph of `length` steps of a copy of the cell: cell(x_t, state) under the scope "t=…", inputs named x_t."""
    return on_copy(cell, lambda copied, size: _steps(copied, size, length, batch))


def on_copy(cell: RNNCell, run: Callable[[RNNCell, int], Graph]) -> Graph:
    """What `run` makes of a copy of the cell and its input's size; of a small one, or its output's, if it is not built."""
    known = input_size(cell)
    sizes = (known,) if known else (SMALL_INPUT, cell.output_size)  # a residual connection wants the latter
    for size in sizes:
        try:
            return Context().run(run, copy.deepcopy(cell), size)
        except ValueError:
            if size == sizes[-1]:
                raise
    raise AssertionError("unreachable")


def _steps(cell: RNNCell, size: int, length: int, batch: int) -> Graph:
    dtype = cell.dtype or np.dtype(np.float32)
    outputs: list[Any] = []
    random = generator().bit_generator.state
    try:
        cell.build(size, dtype)
        state = cell.zero_state(batch, dtype)
        for t in range(length):
            x = Tensor(np.zeros((batch, size), dtype), name=f"x_{t}", requires_grad=not cell.parameters())
            with scope(f"t={t}"):
                output, state = cell(x, state)
            outputs.append(output)
        return take((ops.stack(outputs), state))
    finally:
        generator().bit_generator.state = random


def input_size(cell: Any) -> int | None:
    """The input's size of a built stack or wrapper, which only the cell inside knows."""
    while cell is not None:
        if isinstance(getattr(cell, "input_size", None), int):
            return int(cell.input_size)
        inner = getattr(cell, "cells", None)
        cell = inner[0] if inner else getattr(cell, "cell", None)
    return None


def _check_steps(steps: Any, length: Any) -> None:
    def whole(n: Any, least: int) -> bool:
        return isinstance(n, int) and not isinstance(n, bool) and n >= least

    pair = isinstance(steps, tuple) and len(steps) == 2 and all(whole(n, 0) for n in steps) and sum(steps) > 0
    if steps is not None and not pair and not whole(steps, 1):
        raise ValueError(f"unrolled: steps is {steps!r}, expected a positive integer or a pair such as (2, 1)")
    if length is not None and not whole(length, 1):
        raise ValueError(f"unrolled: length is {length!r}, expected a positive integer")


def _shown(columns: int, steps: int | tuple[int, int] | None) -> list[int | None]:
    """The columns to draw, with None for the gap."""
    if steps is None:
        steps = columns if columns <= MOST_STEPS else (2, 1)
    first, last = steps if isinstance(steps, tuple) else (steps, 0) if steps >= columns else (max(steps - 1, 1), 1)
    if first + last >= columns:
        return list(range(columns))
    if isinstance(steps, int) and steps == 1:
        return [0, None]
    return [*range(first), None, *range(columns - last, columns)]
