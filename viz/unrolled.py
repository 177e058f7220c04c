"""The unrolled view: time from left to right, layers from bottom to top, each step in a box of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tinygrad_rnn.rnn import RNNCell

from .flow import norm
from .net.cell_graph import trace
from .net.elide import all_steps, few_steps, length_of
from .net.layers import Step
from .net.measure import Lengths, Measured, lengths_of
from .net.ranks import RankedNet
from .net.states import states_of
from .net.steps import read
from .net.unfused import opened_maps
from .ops import refuse_unrecorded
from .scene import style
from .scene.color_scale import ColorScale
from .scene.grid import Grid, Shading
from .scene.unrolled import UnrolledScene
from .write.drawing import Drawing

DEFAULT_STEPS = 3
MOST_STEPS = 8  # drawn without being asked for


def unrolled(
    target: Any,
    steps: int | tuple[int, int] | None = None,
    *,
    shapes: bool = True,
    dtypes: bool = False,
    length: int | None = None,
    color: str | None = None,
    of: str | None = None,
    legend: bool = False,
) -> Drawing:
    """Draw a recurrent net unrolled in time: x_t below, layers upwards, h_t above, states along the arrows.

    target: a cell (it is left as it is: a copy runs on a small input), or what a driver or loop computed: outputs, the
    pair (outputs, state), a loss, or a Graph. steps: how many steps to draw, or (first, last): the first and last few,
    with one node for those between. Default: all, if not many. length: for a cell, how many steps there are; where it is
    not given the last ones are called T−1, T−2 … Weights are drawn once, and named in the cells that share them.

    color="grad_norm", for a loss: cells and states are shaded by the logarithm of the norm of the loss's gradient there (see
    `grad_flow`). color="activation": by the mean size of a state or gate, which `of` names: "h", "c", a gate's letter ("i",
    "f", "g", "o"; "z", "r", "n"); else h, or the first state where there is no h. shapes, dtypes: what labels tell.
    legend: besides the colours, what shapes and arrows mean.

    Raises ValueError where the graph has no time steps and for a length of what is no cell, TypeError where nothing was
    recorded, GraphError for colours of a graph that a backward pass has freed.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn import viz
    >>> viz.unrolled(tg.rnn.GRUCell(4), steps=(2, 1), length=100)
    Drawing(13 nodes, 12 edges)
    >>> x = tg.tensor([[[1.0], [2.0], [3.0]]])
    >>> outputs, state = tg.rnn.dynamic_rnn(tg.rnn.LSTMCell(4, seed=0), x)
    >>> viz.unrolled(outputs.sum(), color="grad_norm")
    Drawing(14 nodes, 13 edges)
    >>> picture = viz.unrolled(outputs, color="activation", of="f").picture
    >>> [node.lines[0] for node in picture.nodes if node.id.startswith("legend")]
    ['mean |f|', '0', '0.25', '0.5', '0.75', '1']
    """
    _check_steps(steps, length)
    labels = style.Labels(shapes, dtypes, legend)
    if color == "grad_norm":
        return _coloured(target, steps, labels, _by_gradient, "unrolled: color='grad_norm'")
    if color == "activation":
        return _coloured(target, steps, labels, partial(_by_activation, of=of), "unrolled: color='activation'")
    if color is not None:
        raise ValueError(f"unrolled: color is {color!r}, expected 'grad_norm', 'activation' or None")
    if isinstance(target, RNNCell):
        return _of_cell(target, steps, labels, length)
    if length is not None:
        raise ValueError(
            f"unrolled: length={length} was given with {type(target).__name__}, expected a cell: what was run has its own "
            "length; steps=(first, last) says which of its steps to draw"
        )
    ranked, shown, lengths = _read(target, steps)
    return Drawing(UnrolledScene(Grid(ranked, shown, labels, lengths)).picture())


def _of_cell(cell: RNNCell, steps: Any, labels: style.Labels, length: int | None) -> Drawing:
    """The picture of a cell, run on made-up inputs."""
    first, last = (DEFAULT_STEPS, 0) if steps is None else steps if isinstance(steps, tuple) else (steps, 0)
    open_end = length is None and last > 0
    total = length or first + last + open_end
    few = min(total, first + last + 1) if steps is not None else total
    ranked = RankedNet(read(trace(cell, few)), total - few)
    return Drawing(UnrolledScene(Grid(ranked, _shown(few, steps), labels, open_end=open_end)).picture())


def _read(target: Any, steps: Any) -> tuple[RankedNet, list[int | None], Lengths]:
    """The net, the columns to show, and the lengths of rows; steps that are not drawn are neither read nor opened."""
    refuse_unrecorded(target, "unrolled")
    graph = opened_maps(target)
    masked = any(node.kind == "recurrent" or node.effect == "selects" for node in graph.nodes)
    lengths = lengths_of(target) if masked else {}
    shown = _shown(length_of(graph), steps)
    if None in shown:
        gap = shown.index(None)
        keep = max(gap, len(shown) - gap - 1) + 1
        short, left_out = few_steps(graph, target, keep)
        if left_out > 0:
            ranked = RankedNet(read(short), left_out)
            if ranked.total == 2 * keep:
                return ranked, [c if c is None or c < gap else c - left_out for c in shown], lengths
    ranked = RankedNet(read(all_steps(graph, target)))
    return ranked, _shown(ranked.total, steps), lengths


def _coloured(target: Any, steps: Any, labels: style.Labels, shade: Callable[[Measured], Shading], who: str) -> Drawing:
    """The picture with cells and states shaded by what was measured."""
    measured = Measured(target, who, constants=True)
    ranked = RankedNet(measured.net)
    grid = Grid(ranked, _shown(ranked.total, steps), labels, lengths_of(target))
    return Drawing(UnrolledScene(grid, shade(measured)).picture())


def _by_gradient(measured: Measured) -> Shading:
    """The norm of the loss's gradient at every state."""
    measured.sweep()
    values = {
        ((number, t), name): norm(None if source is None else measured.state_gradient(source))
        for number, layer in enumerate(measured.net.layers)
        for name, sources in states_of(measured.net, number).items()
        for t, source in zip(layer.steps, sources, strict=True)
    }
    return Shading(values, ColorScale(values.values(), "norm of the gradient", "grad_norm"), "h", "|d loss / d {}|")


def _by_activation(measured: Measured, of: str | None) -> Shading:
    """The mean size of a state or gate at every step, over units and the rows that run."""
    states = sorted({name for number in range(len(measured.named)) for name in states_of(measured.net, number)})
    names = {name for named in measured.named for name in named}
    of = of or ("h" if "h" in names else next(iter(states), "h"))
    values: dict[tuple[Step, str], float] = {}
    for number, layer in enumerate(measured.net.layers):
        lengths = measured.lengths(number)
        sources = measured.named[number].get(of, [None] * len(layer.steps))
        for k, (t, source) in enumerate(zip(layer.steps, sources, strict=True)):
            value = None if source is None else measured.value(source)
            if value is not None:
                run = value if lengths is None or len(lengths) != len(value) else value[lengths > k]
                values[(number, t), of] = float(np.abs(run).mean()) if run.size else 0.0
    if not values:
        known = ", ".join(sorted(names)) or "none"
        raise ValueError(f"{measured.who}, of={of!r}: no step has it, expected one of {known}")
    return Shading(values, ColorScale(values.values(), f"mean |{of}|", "activation", log=False), of, "mean |{}|")


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
