"""Whole sequences: fused ops on the kernels, and their expansions into primitives (ops/unrolled.py).

Letters: B batch, T time, D input, H units. Past a row's length outputs are 0, the state is copied forward, and the padding,
NaN included, has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..autodiff.node import Array, Shape
from ..autodiff.op import primitive
from ..autodiff.work import Work
from ..kernels import sequence_backward, sequence_forward
from .pointwise import relu, tanh
from .rearranging import reorder_blocks
from .shape import expand_dims
from .unrolled import (
    Step,
    expansion,
    gru_step,
    gru_step_reset_after,
    lstm_step,
    projected,
    rnn_step,
    without_padding,
)

STEP_OPERATIONS = {
    "rnn": (1, 2),
    "lstm": (4, 13),
    "gru": (3, 11),
}  # gates; elementwise operations a unit, without biases


def step_flops(cell_type: str, size: int, units: int, biases: int) -> int:
    """The operations of one step of a cell for one row, whose input is of this size."""
    gates, each = STEP_OPERATIONS[cell_type]
    return units * (2 * (size + units) * gates + each + biases * gates)


def count_biases(cell_type: str, units: int, read: Sequence[Shape]) -> int:
    """How many biases there are among the shapes of an op's inputs: each (G·H), or two in one (2, G·H)."""
    gates = STEP_OPERATIONS[cell_type][0]
    joined = gates > 1 and (2, gates * units) in read[3:]
    return 2 if joined else sum(len(shape) == 1 for shape in read)


def _over_time(cell_type: str) -> Work:
    def flops(read: Sequence[Shape], made: Sequence[Shape], options: dict[str, Any]) -> int:
        (*leading, units), lengths = made[0], options.get("lengths")
        steps = prod(leading) if lengths is None else int(np.sum(lengths))
        return steps * step_flops(cell_type, read[0][-1], units, count_biases(cell_type, units, read))

    return Work(flops)


def _save(recompute: bool, keep: bool, letters: str = "") -> Any:
    return "recompute" if keep and recompute else keep or bool(letters)


def two_biases(bias: Any, recurrent_bias: Any) -> tuple[Any, Any]:
    """The biases of x W and of h U: those given, or the rows of a bias (2, G·H)."""
    return (bias[0], bias[1]) if bias is not None and bias.ndim == 2 else (bias, recurrent_bias)


def backward(
    saved: Any,
    bias: Any,
    needs: tuple[bool, ...],
    g: Any,
    g_final: tuple[Any, ...],
    g_cells: Any = None,
    layer_axis: bool = False,
) -> tuple[Any, ...]:
    """The cotangents of the arrays and initial states, from those of the outputs and final states."""
    if layer_axis:
        g_final = tuple([None if part is None else part[0] for part in g_final])
    if bias is None or bias.ndim == 1:
        return sequence_backward(saved, g, g_final, needs, g_cells)
    wanted = (*needs[:4], needs[3], *needs[5:])
    dx, d_kernel, d_recurrent_kernel, db, dc, *d_initial = sequence_backward(saved, g, g_final, wanted, g_cells)
    d_bias = None
    if needs[3]:
        d_bias = np.empty(bias.shape, bias.dtype)
        d_bias[0], d_bias[1] = db, dc
    return dx, d_kernel, d_recurrent_kernel, d_bias, None, *d_initial


TORCH_ORDER = {"rnn": (0,), "lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}  # of PyTorch's gates; each is its own inverse


def from_torch(
    cell_type: str, kernel: Array, recurrent_kernel: Array, bias: Any, recurrent_bias: Any
) -> tuple[Any, ...]:
    """Weights in PyTorch's layout in ours: transposed, with the GRU's first two gates exchanged."""
    order = TORCH_ORDER.get(cell_type, (0,))
    if order != tuple(range(len(order))):
        kernel, recurrent_kernel = (reorder_blocks(w, order=order, axis=0) for w in (kernel, recurrent_kernel))
        bias, recurrent_bias = (None if b is None else reorder_blocks(b, order=order) for b in (bias, recurrent_bias))
    return kernel.T, recurrent_kernel.T, bias, recurrent_bias


def in_primitives(cell_type: str, weights: Sequence[Any], torch: bool) -> tuple[Any, ...]:
    """For expansions: kernel, recurrent_kernel, bias and recurrent_bias in our layout; only a GRU keeps a second bias."""
    kernel, recurrent_kernel, *biases = weights
    bias, recurrent_bias = two_biases(*biases)
    if torch:
        kernel, recurrent_kernel, bias, recurrent_bias = from_torch(
            cell_type, kernel, recurrent_kernel, bias, recurrent_bias
        )
    if cell_type != "gru" and recurrent_bias is not None:
        bias, recurrent_bias = recurrent_bias if bias is None else bias + recurrent_bias, None
    return kernel, recurrent_kernel, bias, recurrent_bias


def _letters(trace: str | None, cells: str, gates: str) -> str:
    """The letters whose arrays a fused op also returns."""
    if trace not in (None, "cells", "gates"):
        raise ValueError(f"trace is {trace!r}, expected None, 'cells' or 'gates'")
    return "" if trace is None else cells if trace == "cells" else cells + gates


def _states(final: tuple[Array, ...], layer_axis: bool) -> tuple[Array, ...]:
    """Final states as a fused op returns them."""
    return tuple([state[None] for state in final]) if layer_axis else final


def _expanded(
    step: Step, x: Array, initial: Any, letters: str, lengths: Any, reverse: bool, time_major: bool, layer_axis: bool
) -> tuple[Array, ...]:
    """The expansion of a fused op."""
    outputs, *rest = expansion(step, x, initial, letters, lengths, reverse, time_major)
    if layer_axis:
        n = len(initial)
        rest[:n] = [expand_dims(state, axis=0) for state in rest[:n]]
    return (outputs, *rest)


def _traced(saved: Any, letters: str) -> tuple[Any, ...]:
    if not letters:
        return ()
    arrays = saved.trace()
    return tuple(arrays[letter] for letter in letters)


# -- the fused ops -------------------------------------------------------------------------------------------------


def _samples(cell_type: str, **options: Any) -> Callable[[Any], list[Any]]:
    """Samples of a fused op: full and ragged (0 and T among the lengths), both directions, both layouts of sequences and of
    weights, with and without an axis of the layer; with one bias, with two, with both in one array and without."""
    gates, states = STEP_OPERATIONS[cell_type][0], 2 if cell_type == "lstm" else 1
    second = options.get("reset_after") is not False  # whether there can be a second bias

    def draw(r: Any) -> list[Any]:
        out = []
        for lengths, reverse, time_major, recompute, torch, biases in [
            (None, False, False, False, False, "one"),
            ([3, 0, 2], False, False, True, True, "two"),
            ([1, 3, 2], True, True, False, False, "joined"),
            (None, False, False, False, True, "none"),
        ]:
            n = 2 * gates
            weights = [r(n, 2), r(n, 2)] if torch else [r(2, n), r(2, n)]
            bias = None if biases == "none" else r(2, n) if biases == "joined" and second else r(n)
            recurrent_bias = r(n) if biases == "two" and second else None
            given = None if lengths is None else np.array(lengths)
            more = {
                "lengths": given,
                "reverse": reverse,
                "time_major": time_major,
                "recompute": recompute,
                "torch": torch,
                "layer_axis": torch,
            }
            initial = [r(3, 2) for _ in range(states)]
            out.append(r.call(r(3, 3, 2), *weights, bias, recurrent_bias, *initial, **options, **more))
        return out

    return draw


@primitive(
    label="RNN over time",
    work=_over_time("rnn"),
    several=True,
    materialize_grads=False,
    optional=("bias", "recurrent_bias", "h0"),
    samples=lambda r: [*_samples("rnn")(r), *_samples("rnn", activation="relu")(r)[:1]],
)
def rnn_sequence(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    recurrent_bias: Array,
    h0: Array,
    *,
    activation: str = "tanh",
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    recompute: bool = False,
    torch: bool = False,
    layer_axis: bool = False,
    keep: bool = False,
) -> Any:
    """h' = φ(x W + b + h U + b') over a whole sequence [Elman 1990]; returns (outputs, h).

    x (B, T, D), or (T, B, D) with time_major; kernel (D, H), recurrent_kernel (H, H); bias b and recurrent_bias b' (H), or
    both in one bias (2, H), None for 0; h0 (B, H) or None for 0; lengths (B) integers or None; outputs (B, T, H).
    activation: "tanh" or "relu". reverse: each row runs from its last step to its first. recompute: backward recomputes
    values instead of keeping them. torch: the weights are in PyTorch's layout, transposed. layer_axis: final states have an
    axis for the layer, (1, B, H), as PyTorch's nets return them. Raises ValueError and TypeError that name the argument.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> W, U, b = np.ones((4, 3)), np.eye(3), np.zeros(3)
    >>> outputs, h = tg.ops.rnn_sequence(tg.tensor(np.ones((2, 5, 4))), W, U, b, None, None, lengths=[5, 2])
    >>> outputs.shape, h.shape, bool((outputs[1, 2:] == 0).all())
    ((2, 5, 3), (2, 3), True)
    """
    arrays, save = (x, kernel, recurrent_kernel, *two_biases(bias, recurrent_bias)), _save(recompute, keep)
    outputs, final, saved = sequence_forward(
        "rnn", activation, arrays, (h0,), lengths, reverse, time_major, save, torch
    )
    results = (outputs, *_states(final, layer_axis))
    return (results, saved) if keep else results


@rnn_sequence.vjp
def _(
    g: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, recurrent_bias: Any, h0: Any, residuals: Any, needs: Any,
    *, activation: Any, lengths: Any, reverse: Any, time_major: Any, recompute: Any, torch: Any, layer_axis: Any,
) -> Any:  # fmt: skip
    return backward(residuals, bias, needs, g[0], (g[1],), None, layer_axis)


@rnn_sequence.expands
def _(
    x: Array, kernel: Array, recurrent_kernel: Array, bias: Array, recurrent_bias: Array, h0: Array,
    *, activation: str, lengths: Any, reverse: bool, time_major: bool, recompute: bool, torch: bool,
    layer_axis: bool,
) -> Any:  # fmt: skip
    W, U, b, _ = in_primitives("rnn", (kernel, recurrent_kernel, bias, recurrent_bias), torch)
    x = without_padding(x, lengths, 0 if time_major else 1)
    activate = {"tanh": tanh, "relu": relu}[activation]
    step = Step(U.shape[0], lambda x, h: rnn_step(projected(x, W, b), h, U, activate))
    return _expanded(step, x, (h0,), "", lengths, reverse, time_major, layer_axis)


@primitive(
    label="LSTM over time",
    work=_over_time("lstm"),
    several=True,
    materialize_grads=False,
    optional=("bias", "recurrent_bias", "c0", "h0"),
    samples=lambda r: [*_samples("lstm")(r), *_samples("lstm", trace="cells")(r)[:3]],
)
def lstm_sequence(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    recurrent_bias: Array,
    c0: Array,
    h0: Array,
    *,
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    recompute: bool = False,
    trace: str | None = None,
    torch: bool = False,
    layer_axis: bool = False,
    keep: bool = False,
) -> Any:
    """An LSTM over a whole sequence [Gers, Schmidhuber & Cummins 2000]; returns (outputs, c, h).

    i, f, g, o = split(x W + b + h U + b'); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c'). kernel (D, 4H), recurrent_kernel
    (H, 4H), biases (4H), c0 and h0 (B, H) or None for 0. trace: "cells" adds every c (B, T, H) to the results, "gates" also
    every i, f, g, o, which have no gradient. Otherwise as rnn_sequence.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> W, U, b = np.ones((4, 12)), np.ones((3, 12)), np.zeros(12)
    >>> outputs, c, h = tg.ops.lstm_sequence(tg.tensor(np.ones((2, 5, 4))), W, U, b, None, None, None)
    >>> outputs.shape, bool((outputs[:, -1] == h).all())
    ((2, 5, 3), True)
    """
    letters, arrays = _letters(trace, "c", "ifgo"), (x, kernel, recurrent_kernel, *two_biases(bias, recurrent_bias))
    save = _save(recompute, keep, letters)
    outputs, final, saved = sequence_forward("lstm", None, arrays, (c0, h0), lengths, reverse, time_major, save, torch)
    results = (outputs, *_states(final, layer_axis), *_traced(saved, letters))
    return (results, saved) if keep else results


@lstm_sequence.vjp
def _(
    g: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, recurrent_bias: Any, c0: Any, h0: Any, residuals: Any,
    needs: Any,
    *, lengths: Any, reverse: Any, time_major: Any, recompute: Any, trace: Any, torch: Any, layer_axis: Any,
) -> Any:  # fmt: skip
    return backward(residuals, bias, needs, g[0], (g[1], g[2]), g[3] if trace else None, layer_axis)


@lstm_sequence.expands
def _(
    x: Array, kernel: Array, recurrent_kernel: Array, bias: Array, recurrent_bias: Array, c0: Array, h0: Array,
    *, lengths: Any, reverse: bool, time_major: bool, recompute: bool, trace: str | None, torch: bool,
    layer_axis: bool,
) -> Any:  # fmt: skip
    W, U, b, _ = in_primitives("lstm", (kernel, recurrent_kernel, bias, recurrent_bias), torch)
    x = without_padding(x, lengths, 0 if time_major else 1)
    step = Step(U.shape[0], lambda x, c, h: lstm_step(projected(x, W, b), c, h, U))
    return _expanded(step, x, (c0, h0), _letters(trace, "c", "ifgo"), lengths, reverse, time_major, layer_axis)


@primitive(
    label="GRU over time",
    work=_over_time("gru"),
    several=True,
    materialize_grads=False,
    optional=("bias", "recurrent_bias", "h0"),
    samples=lambda r: [*_samples("gru", reset_after=False)(r), *_samples("gru", reset_after=True)(r)],
)
def gru_sequence(
    x: Array,
    kernel: Array,
    recurrent_kernel: Array,
    bias: Array,
    recurrent_bias: Array,
    h0: Array,
    *,
    reset_after: bool,
    lengths: Any = None,
    reverse: bool = False,
    time_major: bool = False,
    recompute: bool = False,
    trace: str | None = None,
    torch: bool = False,
    layer_axis: bool = False,
    keep: bool = False,
) -> Any:
    """A GRU over a whole sequence [Cho et al. 2014]; returns (outputs, h).

    h' = z h + (1 − z) n, with n = tanh(x Wn + bn + (r h) Un), or by reset_after n = tanh(x Wn + bn + r (h Un + b'n)).
    kernel (D, 3H), recurrent_kernel (H, 3H), bias (3H); recurrent_bias (3H) or None, with reset_after=True only; h0 (B,
    H) or None for 0. trace: "gates" adds every z, r, n (B, T, H), which have no gradient. torch: transposed and in the order
    r z n. Otherwise as rnn_sequence.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> W, U, b = np.ones((4, 9)), np.ones((3, 9)), np.zeros(9)
    >>> outputs, h = tg.ops.gru_sequence(tg.tensor(np.ones((2, 5, 4))), W, U, b, None, None, reset_after=True)
    >>> outputs.shape, h.shape
    ((2, 5, 3), (2, 3))
    """
    letters, arrays = _letters(trace, "", "zrn"), (x, kernel, recurrent_kernel, *two_biases(bias, recurrent_bias))
    save, initial = _save(recompute, keep, letters), (h0,)
    outputs, final, saved = sequence_forward(
        "gru", reset_after, arrays, initial, lengths, reverse, time_major, save, torch
    )
    results = (outputs, *_states(final, layer_axis), *_traced(saved, letters))
    return (results, saved) if keep else results


@gru_sequence.vjp
def _(
    g: Any, x: Any, kernel: Any, recurrent_kernel: Any, bias: Any, recurrent_bias: Any, h0: Any, residuals: Any, needs: Any,
    *, reset_after: Any, lengths: Any, reverse: Any, time_major: Any, recompute: Any, trace: Any, torch: Any, layer_axis: Any,
) -> Any:  # fmt: skip
    return backward(residuals, bias, needs, g[0], (g[1],), None, layer_axis)


@gru_sequence.expands
def _(
    x: Array, kernel: Array, recurrent_kernel: Array, bias: Array, recurrent_bias: Array, h0: Array,
    *, reset_after: bool, lengths: Any, reverse: bool, time_major: bool, recompute: bool, trace: str | None, torch: bool,
    layer_axis: bool,
) -> Any:  # fmt: skip
    W, U, b, second = in_primitives("gru", (kernel, recurrent_kernel, bias, recurrent_bias), torch)
    x = without_padding(x, lengths, 0 if time_major else 1)
    size = U.shape[0]
    if reset_after:
        step = Step(size, lambda x, h: gru_step_reset_after(projected(x, W, b), h, U, second))
    else:
        step = Step(size, lambda x, h: gru_step(projected(x, W, b), h, U))
    return _expanded(step, x, (h0,), _letters(trace, "", "zrn"), lengths, reverse, time_major, layer_axis)


def _first_steps(arrays: Any, options: dict[str, Any], steps: int) -> tuple[list[Array], dict[str, Any]]:
    x, *rest = arrays
    return [x[:steps] if options["time_major"] else x[:, :steps], *rest], {**options, "lengths": None}


for _op in (rnn_sequence, lstm_sequence, gru_sequence):
    _op.first_steps = _first_steps
